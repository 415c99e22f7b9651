# U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with a ResNet as its encoder,
# up to half the input's resolution. For ResNet-50 set depth=50; for the full
# resolution put the image itself in front: in_index [0, 1, ...].
# It starts from random weights. To start from ImageNet weights on any bands set
#   backbone=dict(init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='torchvision://resnet18', bands=bands))
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='geo_mm.EncoderDecoder',
    data_preprocessor=dict(
        type='geo_mm.GeoSegDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
        size_divisor=32,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=32),
    ),
    pretrained=None,
    backbone=dict(
        type='geo_mm.ResNetEncoder',
        depth=18,
        in_channels=3,
        norm_cfg=norm_cfg,
        norm_eval=False,
    ),
    decode_head=dict(
        type='geo_mm.UNetHead',
        in_index=[1, 2, 3, 4, 5],  # the stem and stages 1 to 4
        channels=32,  # at the finest level, twice as many at each coarser
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
