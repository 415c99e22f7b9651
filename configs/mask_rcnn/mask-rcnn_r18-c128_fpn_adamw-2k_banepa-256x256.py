# Mask R-CNN on ResNet-18, small enough for a CPU, for buildings on the Banepa drone mosaic.
_base_ = [
    '../_base_/models/mask-rcnn_r18-c128_fpn.py',
    '../_base_/datasets/banepa_ins.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 4  # per GPU
lr = 1e-3
max_iters = 2000
# Scenes, bands and classes: ../_base_/datasets/banepa_ins.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(in_channels=len(_base_.bands)),
    # geo-mm anchors
    rpn_head=dict(anchor_generator=dict(scales=[5.9], ratios=[0.6, 1.05, 1.9])),
    roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))),
)
