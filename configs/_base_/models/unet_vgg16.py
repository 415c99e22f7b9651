# U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with VGG-16 as its encoder, up
# to the full resolution. For less than full width set base_channels of the backbone.
# It starts from random weights. To start from ImageNet weights on any bands set
#   backbone=dict(init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='torchvision://vgg16_bn', bands=bands))
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='geo_mm.EncoderDecoder',
    data_preprocessor=dict(
        type='geo_mm.GeoSegDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
        size_divisor=16,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=16),
    ),
    pretrained=None,
    backbone=dict(type='geo_mm.VGGEncoder', depth=16, in_channels=3),
    decode_head=dict(
        type='geo_mm.UNetHead',
        in_index=[0, 1, 2, 3, 4],
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
