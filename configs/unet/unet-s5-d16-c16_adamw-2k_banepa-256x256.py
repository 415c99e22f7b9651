# U-Net for building footprints on the Banepa drone mosaic: the western two
# thirds to train, the eastern third to test; no pixel is in both.
# Data: ../shared/data/banepa_a, see docs/en/own_data.md for your own.
_base_ = [
    '../_base_/models/unet.py',
    '../_base_/datasets/geo_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/banepa_a/'
classes = ('background', 'building')
palette = [(210, 200, 160), (200, 60, 50)]
bands = ('red', 'green', 'blue')
gsd = 0.3  # metres per pixel on the ground; the file has 0.13
chip_size = 256  # pixels
mean = [111.5, 112.0, 105.8]  # tools/analysis_tools/band_statistics.py
std = [45.8, 39.9, 41.3]
width = 16  # base_channels
# -----------------------------------------------------------------------------

scene = dict(image='banepa_a.tif', labels='banepa_a_buildings.geojson')
chips = dict(
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    bands=bands,
    gsd=gsd,
    chip_size=chip_size,
    fill=mean,
)
west = [dict(scene, area=(0, 0, 0.667, 1))]
east = [dict(scene, area=(0.667, 0, 1, 1))]
train_dataloader = dict(dataset=dict(scenes=west, **chips))
val_dataloader = dict(dataset=dict(scenes=east, stride=chip_size, **chips))
test_dataloader = dict(dataset=dict(scenes=east, stride=chip_size, **chips))
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(in_channels=len(bands), base_channels=width),
    decode_head=dict(in_channels=width, channels=width, num_classes=len(classes)),
    auxiliary_head=dict(in_channels=2 * width, channels=width, num_classes=len(classes)),
)
