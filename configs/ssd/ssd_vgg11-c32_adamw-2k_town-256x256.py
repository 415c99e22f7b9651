# SSD on a VGG-11 of half width, small enough for a CPU, for buildings and trees
# of the synthetic town.
# Data: python -m geo_mm.synthetic data/town
_base_ = [
    '../_base_/models/ssd_vgg16.py',
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
width = 32  # base_channels, 64 is the full VGG
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
channels = (8 * width, 16 * width, 8 * width, 4 * width, 4 * width)
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(depth=11, in_channels=len(bands), base_channels=width),
    neck=dict(in_channels=channels[:2], out_channels=channels),
    bbox_head=dict(
        in_channels=channels,
        num_classes=len(classes),
        # Half of all trees are less than 10 pixels wide.
        anchor_generator=dict(
            min_sizes=[8, 20, 40, 80, 160],
            max_sizes=[20, 40, 80, 160, 256],
        ),
    ),
)
# VGG has no batch norm to bear the rate of the schedule.
optim_wrapper = dict(optimizer=dict(lr=4e-4))
