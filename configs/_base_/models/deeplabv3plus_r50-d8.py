# DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611) on ResNet-50: dilated convolutions
# of several rates side by side in place of PSPNet's pooling, and one skip from the
# first stage. Everything else is PSPNet's.
_base_ = './pspnet_r50-d8.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    )
)
