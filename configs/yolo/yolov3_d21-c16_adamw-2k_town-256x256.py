# YOLOv3 on a Darknet-21 of half width, small enough for a CPU, for buildings and
# trees of the synthetic town.
_base_ = [
    '../_base_/models/yolov3_d53.py',
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
width = 16  # base_channels, 32 is the full Darknet
# Scenes, bands and classes: ../_base_/datasets/town_det.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size, gsd=gsd))
val_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
test_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
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
        in_channels=[16 * width, 8 * width, 4 * width],
        out_channels=[32 * width, 16 * width, 8 * width],
        # geo-mm anchors
        anchor_generator=dict(
            base_sizes=[
                [(70, 103), (150, 95), (121, 219)],
                [(47, 40), (48, 64), (73, 49)],
                [(9, 8), (17, 16), (27, 28)],
            ]
        ),
    ),
)
