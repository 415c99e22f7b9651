# Objects in georeferenced scenes, as boxes. A child sets `dataset` values of
# the three loaders: scenes, bands, gsd, chip_size, fill, metainfo, label_cfg.
meta_keys = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction',
    'scene_id', 'scene_size', 'window', 'crs', 'transform', 'instances',
)  # yapf: disable
train_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipObjects'),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipObjects', with_outlines=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='geo_mm.RandomChipSampler', infinite=True, positive_share=0.5),
    dataset=dict(type='geo_mm.GeoDetDataset', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='geo_mm.GridChipSampler'),
    dataset=dict(
        type='geo_mm.GeoDetDataset',
        split='val',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='geo_mm.GridChipSampler'),
    dataset=dict(
        type='geo_mm.GeoDetDataset',
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
# Ground truth comes with the chips, so there is no annotation file.
val_evaluator = dict(type='geo_mm.CocoMetric', metric='bbox', classwise=True)
test_evaluator = dict(type='geo_mm.CocoMetric', metric='bbox', classwise=True)
