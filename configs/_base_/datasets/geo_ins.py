# Objects in georeferenced scenes, as boxes and outlines. A child sets `dataset`
# values of the three loaders: scenes, bands, gsd, chip_size, fill, metainfo,
# label_cfg.
_base_ = './geo_det.py'

train_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipObjects', with_mask=True),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackDetInputs', meta_keys={{_base_.meta_keys}}),
]
test_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipObjects', with_mask=True, with_outlines=True),
    dict(type='PackDetInputs', meta_keys={{_base_.meta_keys}}),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = dict(metric=['bbox', 'segm'])
