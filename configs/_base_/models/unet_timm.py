# U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with any network of timm as its
# encoder: EfficientNet-Lite0 here, which is small. Needs pip install 'geo_mm[timm]'.
# Change backbone.name; in_index then says which of its levels are used, and
# python -c "import geo_mm; print(geo_mm.timm_levels('NAME'))" lists them.
# It starts from random weights. For pretrained ones set
#   backbone=dict(init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='weights.pth', bands=bands))
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
        type='geo_mm.TimmBackbone',
        name='tf_efficientnet_lite0',
        in_channels=3,
        out_indices=(0, 1, 2, 3, 4),  # strides 2 to 32; with_image=True adds the image itself
    ),
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
