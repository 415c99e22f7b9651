# Mask R-CNN of a size for two CPU cores: ResNet-18, a pyramid of 128 channels,
# fewer proposals and a mask branch of 2 layers of 64 channels, since what runs
# once per object takes the time there.
_base_ = './mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=1), out_channels=128
        ),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
        mask_roi_extractor=dict(
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1), out_channels=128
        ),
        mask_head=dict(in_channels=128, num_convs=2, conv_out_channels=64),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=800, max_per_img=400),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=800, max_per_img=500)),
)
