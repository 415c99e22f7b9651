# SSD on a VGG-11 of half width, small enough for a CPU, for buildings and trees
# of the synthetic town.
_base_ = [
    '../_base_/models/ssd_vgg16.py',
    '../_base_/datasets/town_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
gsd = 0.25  # metres; finer than the data's 0.5: most trees fill less than two cells there
batch_size = 4  # per GPU
lr = 4e-4  # VGG has no batch norm to bear more
max_iters = 2000
width = 32  # base_channels, 64 is the full VGG
# Scenes, bands and classes: ../_base_/datasets/town_det.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size, gsd=gsd))
val_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
test_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
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
        anchor_generator=dict(
            min_sizes=[14, 36, 60, 95, 160],
            max_sizes=[36, 60, 95, 160, 256],
        ),
    ),
)
