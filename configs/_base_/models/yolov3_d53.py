# YOLOv3 (Redmon and Farhadi 2018, arXiv:1804.02767) on Darknet-53. It starts
# from random weights: batch norm learns. To start from ImageNet weights on any
# bands set
#   backbone=dict(norm_eval=True, init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint='open-mmlab://darknet53', bands=bands))
# For less than full width set base_channels=c of the backbone, in_channels of
# the neck to (32c, 16c, 8c), its out_channels and the head's in_channels to
# half of that.
# Losses are sums over the batch, as upstream: gradients are clipped, and the
# learning rate holds for the batch size it was found with.
model = dict(
    type='YOLOV3',
    data_preprocessor=dict(
        type='geo_mm.GeoDetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='geo_mm.Darknet',
        depth=53,
        in_channels=3,
        out_indices=(3, 4, 5),
        norm_eval=False,
    ),
    neck=dict(
        type='YOLOV3Neck',
        num_scales=3,
        in_channels=[1024, 512, 256],
        out_channels=[512, 256, 128],
    ),
    bbox_head=dict(
        type='geo_mm.YOLOV3Head',  # the library's learns ignored objects as background
        num_classes=1,
        in_channels=[512, 256, 128],
        out_channels=[1024, 512, 256],
        # Width and height in pixels: those of COCO at half their size.
        anchor_generator=dict(
            type='YOLOAnchorGenerator',
            base_sizes=[
                [(58, 45), (78, 99), (187, 163)],
                [(15, 30), (31, 22), (30, 60)],
                [(5, 7), (8, 15), (17, 12)],
            ],
            strides=[32, 16, 8],
        ),
        bbox_coder=dict(type='YOLOBBoxCoder'),
        featmap_strides=[32, 16, 8],
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0, reduction='sum'),
        loss_conf=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0, reduction='sum'),
        loss_xy=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0, reduction='sum'),
        loss_wh=dict(type='MSELoss', loss_weight=2.0, reduction='sum'),
    ),
    train_cfg=dict(
        assigner=dict(type='GridAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        conf_thr=0.005,
        nms=dict(type='nms', iou_threshold=0.45),
        max_per_img=300,
    ),
)
