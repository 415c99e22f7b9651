# Faster R-CNN of a size for two CPU cores: ResNet-18, a pyramid of 128
# channels, and fewer proposals, since pooling them is what takes the time there.
_base_ = './faster-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=1), out_channels=128
        ),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=800, max_per_img=400),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=800, max_per_img=500)),
)
