# PSPNet refined by PointRend (Kirillov et al. 2020, arXiv:1912.08193): where its
# prediction at an eighth of the resolution is uncertain, pixels are decided one
# by one from the fine features of the stem and of stage 1.
_base_ = './pspnet_r50-d8.py'

model = dict(
    type='geo_mm.PointRendSegmentor',
    refined_share=1 / 16,  # of all pixels, after each doubling of the resolution
    backbone=dict(type='geo_mm.ResNetEncoder', deep_stem=True),
    decode_head=dict(in_index=5),
    auxiliary_head=dict(in_index=4),
    point_head=dict(
        type='PointHead',
        in_index=[1, 2],
        channels=256,
        num_fcs=3,
        dropout_ratio=0,
        align_corners=False,
        loss_decode=dict(type='geo_mm.CrossEntropyLoss'),
    ),
    train_cfg=dict(num_points=2048, oversample_ratio=3, importance_sample_ratio=0.75),
)
