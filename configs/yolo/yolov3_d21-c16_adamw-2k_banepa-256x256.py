# YOLOv3 on a Darknet-21 of half width, small enough for a CPU, for buildings on
# the Banepa drone mosaic.
_base_ = [
    '../_base_/models/yolov3_d53.py',
    '../_base_/datasets/banepa_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 4  # per GPU
lr = 1e-3
max_iters = 2000
width = 16  # base_channels, 32 is the full Darknet
# Scenes, bands and classes: ../_base_/datasets/banepa_det.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(depth=21, in_channels=len(_base_.bands), base_channels=width),
    neck=dict(
        in_channels=[32 * width, 16 * width, 8 * width],
        out_channels=[16 * width, 8 * width, 4 * width],
    ),
    bbox_head=dict(
        num_classes=len(_base_.classes),
        # geo-mm anchors
        anchor_generator=dict(
            base_sizes=[
                [(56, 30), (44, 86), (109, 64)],
                [(16, 22), (37, 20), (47, 41)],
                [(16, 14), (22, 20), (26, 33)],
            ]
        ),
        in_channels=[16 * width, 8 * width, 4 * width],
        out_channels=[32 * width, 16 * width, 8 * width],
    ),
)
