# YOLOv3 on Darknet-53, for a GPU, for buildings on the Banepa drone mosaic.
_base_ = [
    '../_base_/models/yolov3_d53.py',
    '../_base_/datasets/banepa_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 512  # pixels
batch_size = 8  # per GPU
lr = 5e-4
max_iters = 2000
gsd = 0.15  # metres per pixel: as much ground as 256 pixels at 0.3
# Scenes, bands and classes: ../_base_/datasets/banepa_det.py
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
        anchor_generator=dict(
            base_sizes=[
                [(114, 62), (97, 109), (177, 133)],
                [(67, 49), (48, 73), (78, 76)],
                [(27, 26), (47, 28), (38, 49)],
            ]
        ),
    ),
)
