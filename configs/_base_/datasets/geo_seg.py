# Pixels of georeferenced scenes. A child sets `dataset` values of the three
# loaders: scenes, bands, gsd, chip_size, fill, metainfo, label_cfg.
meta_keys = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
    'flip_direction', 'scene_id', 'scene_size', 'window', 'crs', 'transform',
)  # yapf: disable
train_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipClasses'),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipClasses'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='geo_mm.RandomChipSampler', infinite=True),
    dataset=dict(type='geo_mm.GeoSegDataset', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='geo_mm.GridChipSampler'),
    dataset=dict(
        type='geo_mm.GeoSegDataset',
        split='val',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type='geo_mm.GridChipSampler'),
    dataset=dict(
        type='geo_mm.GeoSegDataset',
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
