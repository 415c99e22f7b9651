# Mask R-CNN with PointRend of a size for two CPU cores, see
# mask-rcnn_r50_fpn_point-rend.py: masks of 56 x 56.
_base_ = './mask-rcnn_r18-c128_fpn.py'

model = dict(
    roi_head=dict(
        type='geo_mm.PointRendRoIHead',
        mask_roi_extractor=dict(featmap_strides=[4]),
        mask_head=dict(
            _delete_=True,
            type='CoarseMaskHead',
            num_fcs=2,
            in_channels=128,
            conv_out_channels=64,
            fc_out_channels=256,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
        point_head=dict(
            type='MaskPointHead',
            num_fcs=3,
            in_channels=128,
            fc_channels=64,
            loss_point=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=196, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    test_cfg=dict(rcnn=dict(subdivision_steps=3, subdivision_num_points=784, scale_factor=2)),
)
