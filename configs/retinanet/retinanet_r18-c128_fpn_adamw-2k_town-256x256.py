# RetinaNet on ResNet-18 for buildings and trees of the synthetic town.
# Data: python -m geo_mm.synthetic data/town
_base_ = [
    '../_base_/models/retinanet_r18-c128_fpn.py',
    '../_base_/datasets/geo_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/town/'
classes = ('building', 'tree')
palette = [(200, 60, 50), (50, 130, 60)]
bands = ('red', 'green', 'blue', 'nir')
gsd = 0.5  # metres per pixel
chip_size = 256  # pixels
mean = [1254.0, 1305.0, 1203.0, 2336.0]  # tools/analysis_tools/band_statistics.py
std = [858.0, 755.0, 777.0, 1429.0]
# -----------------------------------------------------------------------------

chips = dict(
    scenes='catalog.csv',
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class', class_map=dict(road=None, water=None)),
    bands=bands,
    gsd=gsd,
    chip_size=chip_size,
    fill=mean,
)
train_dataloader = dict(dataset=chips)
val_dataloader = dict(dataset=dict(stride=chip_size, **chips))
test_dataloader = dict(dataset=dict(stride=chip_size, **chips))
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(in_channels=len(bands)),
    # Half of all trees are less than 10 pixels wide: anchors of 8 pixels and up.
    bbox_head=dict(num_classes=len(classes), anchor_generator=dict(octave_base_scale=1)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
