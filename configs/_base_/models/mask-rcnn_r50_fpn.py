# Mask R-CNN (He et al. 2017, arXiv:1703.06870): Faster R-CNN with a branch
# that draws each object's outline. The dataset has to give masks, see
# ../datasets/geo_ins.py.
_base_ = './faster-rcnn_r50_fpn.py'

model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(pad_mask=True),  # with the images, or masks would shift
    roi_head=dict(
        type='geo_mm.StandardRoIHead',
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
            finest_scale=28,  # as for boxes
        ),
        mask_head=dict(
            type='FCNMaskHead',
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=0.5)),
)
