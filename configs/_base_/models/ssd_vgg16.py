# SSD (Liu et al. 2015, arXiv:1512.02325) on VGG-16, for chips of any size: all
# extra levels halve the one before, with padding, so none vanishes as those of
# SSD300 and SSD512 do at other sizes. For less than full width set
# base_channels=c of the backbone, and in_channels and out_channels of the neck
# and in_channels of the head to (8c, 16c, ...).
# VGG has no batch norm: from scratch keep the learning rate low and the
# warm-up; to start from ImageNet weights on any bands set
#   backbone=dict(init_cfg=[dict(type='Kaiming', layer='Conv2d'), dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='torchvision://vgg16', bands=bands,
#       least=0.7)])
# since SSD's fc6 and fc7 are not among those weights.
channels = (512, 1024, 512, 256, 256)
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='geo_mm.GeoDetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
        pad_size_divisor=16,
    ),
    backbone=dict(type='geo_mm.SSDVGG', depth=16, in_channels=3, ceil_mode=True),
    neck=dict(
        type='SSDNeck',
        in_channels=channels[:2],
        out_channels=channels,
        level_strides=(2, 2, 2),
        level_paddings=(1, 1, 1),
        l2_norm_scale=20,
    ),
    bbox_head=dict(
        type='geo_mm.SSDHead',  # the library's cannot predict
        in_channels=channels,
        num_classes=1,
        # Sides in pixels, of each level and between it and the next.
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64, 128],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2]],
            min_sizes=[12, 24, 48, 96, 160],
            max_sizes=[24, 48, 96, 160, 256],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type='geo_mm.MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=0.5,  # anchors on ignored objects are no background
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=300,
    ),
)
