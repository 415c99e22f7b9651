# Land cover from 64 bands of embeddings, pixel by pixel.
_base_ = [
    '../_base_/models/fcn-pixels.py',
    '../_base_/datasets/embeddings_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 128  # pixels
batch_size = 8  # per GPU
lr = 2e-3
max_iters = 2000
# Scenes, bands and classes: ../_base_/datasets/embeddings_seg.py
# -----------------------------------------------------------------------------

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=_base_.mean, std=_base_.std),
    decode_head=dict(in_channels=len(_base_.bands), num_classes=len(_base_.classes)),
)
