# A classifier of single pixels, for rasters whose bands are features already, such
# as embeddings: an FCN head (Long et al. 2015, arXiv:1411.4038) of 1x1 convolutions
# with a hidden layer, which num_convs=0 with channels=len(bands) leaves out.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='geo_mm.EncoderDecoder',
    data_preprocessor=dict(
        type='geo_mm.GeoSegDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
        size_divisor=1,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=1),
    ),
    pretrained=None,
    backbone=dict(type='geo_mm.IdentityBackbone'),
    decode_head=dict(
        type='FCNHead',
        channels=64,  # of the hidden layer
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
