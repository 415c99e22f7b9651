# Land cover of the synthetic town with augmentation of its radiometry: another
# sun, haze, another sensor, and now and then a band that is missing. In place of
# town_seg.py among the bases.
_base_ = './town_seg.py'

train_pipeline = [
    dict(type='geo_mm.LoadChip'),
    dict(
        type='geo_mm.RandomRadiometry',
        value_range=(0, 5000),  # reflectance times 10000 of usual ground
        haze_spectrum=(0.7, 0.85, 1.0, 0.3),  # red, green, blue, nir
    ),
    dict(type='geo_mm.RandomBandDropout', prob=0.1),
    dict(type='geo_mm.LoadChipClasses'),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackSegInputs', meta_keys={{_base_.meta_keys}}),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
