# RetinaNet on ResNet-18, small enough for a CPU, for buildings and trees of the synthetic town.
_base_ = [
    '../_base_/models/retinanet_r18-c128_fpn.py',
    '../_base_/datasets/town_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
gsd = 0.25  # metres; finer than the data's 0.5: most trees fill less than two cells there
batch_size = 4  # per GPU
lr = 1e-3
max_iters = 2000
# Scenes, bands and classes: ../_base_/datasets/town_det.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size, gsd=gsd))
val_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
test_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(in_channels=len(_base_.bands)),
    bbox_head=dict(
        num_classes=len(_base_.classes),
        # geo-mm anchors
        anchor_generator=dict(octave_base_scale=2.0, ratios=[0.63, 1.03, 1.94]),
    ),
)
