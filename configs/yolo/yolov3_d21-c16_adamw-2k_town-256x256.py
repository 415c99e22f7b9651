# YOLOv3 on a Darknet-21 of half width, small enough for a CPU, for buildings and
# trees of the synthetic town.
# Data: python -m geo_mm.synthetic data/town
_base_ = [
    '../_base_/models/yolov3_d53.py',
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
width = 16  # base_channels, 32 is the full Darknet
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
    backbone=dict(depth=21, in_channels=len(bands), base_channels=width),
    neck=dict(
        in_channels=[32 * width, 16 * width, 8 * width],
        out_channels=[16 * width, 8 * width, 4 * width],
    ),
    bbox_head=dict(
        num_classes=len(classes),
        in_channels=[16 * width, 8 * width, 4 * width],
        out_channels=[32 * width, 16 * width, 8 * width],
        # Trees are 3 to 20 pixels wide, most buildings 15 to 60.
        anchor_generator=dict(
            base_sizes=[
                [(64, 64), (110, 60), (60, 110)],
                [(20, 20), (28, 33), (40, 28)],
                [(5, 5), (10, 10), (15, 15)],
            ]
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
