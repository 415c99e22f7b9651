# U-Net on ResNet-50, pretrained on Sentinel-2 and fine-tuned, for water. The weights
# (CC-BY-4.0, Wang et al. 2022, arXiv:2211.07044) are downloaded.
_base_ = [
    '../_base_/models/unet_r18.py',
    '../_base_/datasets/sen1floods11_seg.py',
    '../_base_/transfer/fine_tuning.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 8  # per GPU
lr = 5e-4
max_iters = 2000
weights = 'ssl4eo-s12-moco-r50'  # others: geo-mm weights --sensor sentinel-2
# Scenes, bands and classes: ../_base_/datasets/sen1floods11_seg.py
# -----------------------------------------------------------------------------
mean, std = [0.0] * 13, [10000.0] * 13  # of the weights, not of the images

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
init_cfg = dict(type='geo_mm.AdaptedPretrained', checkpoint=weights, bands=_base_.bands)
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(depth=50, in_channels=len(_base_.bands), init_cfg=init_cfg),
    decode_head=dict(num_classes=len(_base_.classes)),
)
