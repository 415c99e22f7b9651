# U-Net with ResNet-50 as its encoder, for a GPU, for building footprints on the
# Banepa drone mosaic.
_base_ = [
    '../_base_/models/unet_r18.py',
    '../_base_/datasets/banepa_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 512  # pixels
batch_size = 8  # per GPU
lr = 5e-4
max_iters = 2000
gsd = 0.15  # metres per pixel: as much ground as 256 pixels at 0.3
width = 32  # of the decoder at half the resolution
# Scenes, bands and classes: ../_base_/datasets/banepa_seg.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size, gsd=gsd))
val_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
test_dataloader = dict(dataset=dict(chip_size=chip_size, gsd=gsd))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(depth=50, in_channels=len(_base_.bands)),
    decode_head=dict(channels=width, num_classes=len(_base_.classes)),
)
