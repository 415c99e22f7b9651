# PSPNet with a decoder that learns: pyramid pooling of the dilated features,
# then up to half the input's resolution with skips from ResNet-50, as U-Net
# does, in place of one bilinear enlargement by eight.
_base_ = './pspnet_r50-d8.py'

model = dict(
    backbone=dict(type='geo_mm.ResNetEncoder', deep_stem=True),
    decode_head=dict(
        _delete_=True,
        type='geo_mm.UNetHead',
        in_index=[1, 2, 3, 5],  # strides 2, 4, 8 and, dilated, 8; 0 is the image itself
        channels=64,  # at the finest level, twice as many at each coarser
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    auxiliary_head=dict(in_index=4),  # stage 3; auxiliary_head=None leaves it out
)
