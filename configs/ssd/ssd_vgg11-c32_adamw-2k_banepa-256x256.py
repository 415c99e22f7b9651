# SSD on a VGG-11 of half width, small enough for a CPU, for buildings on the
# Banepa drone mosaic.
_base_ = [
    '../_base_/models/ssd_vgg16.py',
    '../_base_/datasets/banepa_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 4  # per GPU
lr = 4e-4  # VGG has no batch norm to bear more
max_iters = 2000
width = 32  # base_channels, 64 is the full VGG
# Scenes, bands and classes: ../_base_/datasets/banepa_det.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
channels = (8 * width, 16 * width, 8 * width, 4 * width, 4 * width)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(depth=11, in_channels=len(_base_.bands), base_channels=width),
    neck=dict(in_channels=channels[:2], out_channels=channels),
    bbox_head=dict(
        in_channels=channels,
        num_classes=len(_base_.classes),
        # geo-mm anchors
        anchor_generator=dict(
            min_sizes=[16, 22, 46, 41, 74],
            max_sizes=[43, 77, 119, 163, 554],
            ratios=[[2], [1.3, 1.9], [1.8, 2.2], [1.4, 2.2], [1.8]],
        ),
    ),
)
