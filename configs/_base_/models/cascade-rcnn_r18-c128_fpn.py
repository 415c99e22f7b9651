# Cascade R-CNN (Cai and Vasconcelos 2018, arXiv:1712.00726) of a size for two CPU
# cores: Faster R-CNN with three box heads in a row, each trained with a higher
# IoU than the one before.
_base_ = './faster-rcnn_r18-c128_fpn.py'

stage_stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
stage_ious = (0.5, 0.6, 0.7)
model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        _delete_=True,
        type='geo_mm.CascadeRoIHead',
        num_classes=1,
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=1),
            out_channels=128,
            featmap_strides=[4, 8, 16, 32],
            finest_scale=28,  # of objects pooled from the finest level
        ),
        bbox_head=[
            dict(
                type='Shared2FCBBoxHead',
                in_channels=128,
                fc_out_channels=512,
                roi_feat_size=7,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=stds,
                ),
                reg_class_agnostic=True,
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='L1Loss', loss_weight=1.0),
            )
            for stds in stage_stds
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    type='geo_mm.MaxIoUAssigner',
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=0.5,  # proposals on ignored objects are no background
                ),
                sampler=dict(
                    type='RandomSampler',
                    num=128,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                pos_weight=-1,
                debug=False,
            )
            for iou in stage_ious
        ]
    ),
)
