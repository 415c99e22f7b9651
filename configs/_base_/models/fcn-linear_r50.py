# A linear classifier of pixels on the features of all stages of ResNet-50: an FCN
# head (Long et al. 2015, arXiv:1411.4038) without hidden layers. With a frozen
# backbone it is a linear probe, which shows what is in the features.
# Say where the weights come from: init_cfg of the backbone, see docs/en/weights.md.
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
        type='ResNet',
        depth=50,
        in_channels=3,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
    ),
    decode_head=dict(
        type='FCNHead',
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=3840,  # of all stages: 256 + 512 + 1024 + 2048
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=2,
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
