# PSPNet on a ResNet-18 of half width, small enough for a CPU, over the synthetic
# town: 4 bands, 5 classes, two UTM zones.
# Data: python -m geo_mm.synthetic data/town
_base_ = [
    '../_base_/models/pspnet_r50-d8.py',
    '../_base_/datasets/geo_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/town/'
classes = ('background', 'building', 'road', 'tree', 'water')
palette = [(210, 200, 160), (200, 60, 50), (90, 90, 90), (50, 130, 60), (50, 110, 190)]
bands = ('red', 'green', 'blue', 'nir')
gsd = 0.5  # metres per pixel
chip_size = 256  # pixels
mean = [1254.0, 1305.0, 1203.0, 2336.0]  # tools/analysis_tools/band_statistics.py
std = [858.0, 755.0, 777.0, 1429.0]
width = 32  # base_channels, 64 is the full ResNet
# -----------------------------------------------------------------------------

chips = dict(
    scenes='catalog.csv',
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class'),
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
    backbone=dict(depth=18, in_channels=len(bands), base_channels=width, stem_channels=width),
    decode_head=dict(in_channels=8 * width, channels=2 * width, num_classes=len(classes)),
    auxiliary_head=dict(in_channels=4 * width, channels=width, num_classes=len(classes)),
)
