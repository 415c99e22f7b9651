# U-Net with a VGG-16 of a quarter of its width as encoder over the synthetic town:
# 4 bands, 5 classes, two UTM zones.
_base_ = [
    '../_base_/models/unet_vgg16.py',
    '../_base_/datasets/town_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 8  # per GPU
lr = 2e-3
max_iters = 2000
width = 16  # base_channels, 64 is the full VGG
# Scenes, bands and classes: ../_base_/datasets/town_seg.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    backbone=dict(in_channels=len(_base_.bands), base_channels=width),
    decode_head=dict(
        channels=width,
        num_classes=len(_base_.classes),
    ),
)
