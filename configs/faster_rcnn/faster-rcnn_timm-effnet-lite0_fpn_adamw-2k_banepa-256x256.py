# Faster R-CNN on EfficientNet-Lite0 of timm, for buildings on the Banepa drone
# mosaic; pip install 'geo_mm[timm]'.
_base_ = [
    '../_base_/models/faster-rcnn_timm_fpn.py',
    '../_base_/datasets/banepa_det.py',
    '../_base_/transfer/from_scratch.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
chip_size = 256  # pixels
batch_size = 4  # per GPU
lr = 1e-3
max_iters = 2000
# To start from weights: take ../_base_/transfer/fine_tuning.py above, and
#   model.backbone.init_cfg=dict(
#       type='geo_mm.AdaptedPretrained', checkpoint=FILE, bands=_base_.bands)
# Scenes, bands and classes: ../_base_/datasets/banepa_det.py
# -----------------------------------------------------------------------------
# What EfficientNet-Lite's published weights take; see pretrained_cfg of other networks.
mean = std = [127.5, 127.5, 127.5]

train_dataloader = dict(batch_size=batch_size, dataset=dict(chip_size=chip_size))
val_dataloader = dict(dataset=dict(chip_size=chip_size))
test_dataloader = dict(dataset=dict(chip_size=chip_size))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_iters=max_iters)
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(in_channels=len(_base_.bands)),
    roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))),
)
