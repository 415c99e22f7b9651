# U-Net on ResNet-18 up to a quarter of the input's resolution, refined from
# there by PointRend (Kirillov et al. 2020, arXiv:1912.08193).
_base_ = './unet_r18.py'

model = dict(
    type='geo_mm.PointRendSegmentor',
    refined_share=1 / 16,  # of all pixels, after each doubling of the resolution
    decode_head=dict(in_index=[2, 3, 4, 5], channels=64),
    point_head=dict(
        type='PointHead',
        in_index=[1, 2],
        channels=128,
        num_fcs=3,
        dropout_ratio=0,
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    train_cfg=dict(num_points=2048, oversample_ratio=3, importance_sample_ratio=0.75),
)
