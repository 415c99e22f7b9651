# Faster R-CNN with any network of timm as its backbone: EfficientNet-Lite0 here, which
# is small. Needs pip install 'geo_mm[timm]'. Change backbone.name only: the pyramid
# takes its last four levels. For plain vision transformers, whose features all have one
# stride, set neck=dict(type='geo_mm.SimpleFPN').
# It starts from random weights. For pretrained ones set
#   backbone=dict(init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='weights.pth', bands=bands))
_base_ = './faster-rcnn_r18-c128_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='geo_mm.TimmBackbone',
        name='tf_efficientnet_lite0',
        in_channels=3,
    ),
    neck=dict(
        _delete_=True,
        type='FPN',  # in_channels are those of the backbone
        out_channels=128,
        num_outs=5,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
)
