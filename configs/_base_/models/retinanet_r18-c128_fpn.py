# RetinaNet of a size for two CPU cores: ResNet-18, and a pyramid and head of
# 128 channels.
_base_ = './retinanet_r50_fpn.py'

model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    bbox_head=dict(in_channels=128, feat_channels=128, stacked_convs=2),
)
