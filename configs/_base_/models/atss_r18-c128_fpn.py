# ATSS (Zhang et al. 2020, arXiv:1912.02424) of a size for two CPU cores: RetinaNet
# with one anchor per cell, where each object draws its own line between positives
# and negatives from the IoUs around it.
_base_ = './retinanet_r18-c128_fpn.py'

model = dict(
    type='ATSS',
    bbox_head=dict(
        _delete_=True,
        type='ATSSHead',
        num_classes=1,
        in_channels=128,
        stacked_convs=2,
        feat_channels=128,
        # Sides of 16 to 256 pixels.
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=2,
            scales_per_octave=1,
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='ATSSAssigner',
            topk=9,
            ignore_iof_thr=0.5,  # anchors on ignored objects are no background
        )
    ),
)
