# Mask R-CNN with PointRend (Kirillov et al. 2020, arXiv:1912.08193): a coarse
# mask of 7 x 7, doubled in size `subdivision_steps` times, where uncertain points
# are decided one by one from the finest features.
_base_ = './mask-rcnn_r50_fpn.py'

model = dict(
    roi_head=dict(
        type='geo_mm.PointRendRoIHead',
        mask_roi_extractor=dict(featmap_strides=[4]),
        mask_head=dict(
            _delete_=True,
            type='CoarseMaskHead',
            num_fcs=2,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
        point_head=dict(
            type='MaskPointHead',
            num_fcs=3,
            in_channels=256,
            fc_channels=256,
            loss_point=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=196, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    # Masks of 112 x 112; 5 steps, as for everyday photographs, give 224 x 224.
    test_cfg=dict(rcnn=dict(subdivision_steps=4, subdivision_num_points=784, scale_factor=2)),
)
