# Faster R-CNN on ResNet-18, small enough for a CPU, for buildings on the
# Banepa drone mosaic: western two thirds to train, eastern third to test.
_base_ = [
    '../_base_/models/faster-rcnn_r18-c128_fpn.py',
    '../_base_/datasets/geo_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/banepa_a/'
classes = ('building',)
palette = [(200, 60, 50)]
bands = ('red', 'green', 'blue')
gsd = 0.3  # metres per pixel on the ground; the file has 0.13
chip_size = 256  # pixels
mean = [111.5, 112.0, 105.8]  # tools/analysis_tools/band_statistics.py
std = [45.8, 39.9, 41.3]
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
    backbone=dict(in_channels=len(bands)),
    roi_head=dict(bbox_head=dict(num_classes=len(classes))),
)
# Learns from random weights much faster with AdamW than with the usual SGD.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
