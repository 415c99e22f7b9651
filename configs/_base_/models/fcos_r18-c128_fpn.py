# FCOS (Tian et al. 2019, arXiv:1904.01355) of a size for two CPU cores: every cell
# predicts the distances to the sides of the object it is in; no anchors.
# It has no means to ignore objects: those that the chip's edge cuts are learned as
# background.
_base_ = './retinanet_r18-c128_fpn.py'

model = dict(
    type='FCOS',
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=1,
        in_channels=128,
        stacked_convs=2,
        feat_channels=128,
        strides=[8, 16, 32, 64, 128],
        # Longest distance to a side, in pixels, that each level predicts: a quarter
        # of what suits everyday photographs.
        regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 128), (128, 1e8)),
        center_sampling=True,
        center_sample_radius=1.5,
        norm_on_bbox=True,
        centerness_on_reg=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=None,
)
