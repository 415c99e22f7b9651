# Faster R-CNN for street trees in Santa Monica: labels are points, complete
# only inside the AOI polygons; 92 % of the scene is nodata; 4 bands with NIR.
_base_ = [
    '../_base_/models/faster-rcnn_r18-c128_fpn.py',
    '../_base_/datasets/geo_det.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/det_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/trees_santa_monica/'
classes = ('tree',)
palette = [(50, 160, 70)]
bands = ('red', 'green', 'blue', 'nir')
gsd = 0.6  # metres per pixel
point_size = 6.0  # metres: side of the box around a point
chip_size = 256  # pixels
mean = [119.6, 121.6, 115.4, 111.1]  # tools/analysis_tools/band_statistics.py
std = [41.9, 35.7, 36.8, 39.8]
# -----------------------------------------------------------------------------

scene = dict(
    image='santa_monica_2020.tif',
    labels='santa_monica_2020_trees.gpkg',
    aoi='santa_monica_2020_chips.geojson',
)
chips = dict(
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(point_size=point_size),
    bands=bands,
    gsd=gsd,
    chip_size=chip_size,
    fill=mean,
)
west = [dict(scene, area=(0, 0, 0.667, 1))]
east = [dict(scene, area=(0.667, 0, 1, 1))]
train_dataloader = dict(sampler=dict(min_valid=0.5), dataset=dict(scenes=west, **chips))
val_dataloader = dict(dataset=dict(scenes=east, stride=chip_size, **chips))
test_dataloader = dict(dataset=dict(scenes=east, stride=chip_size, **chips))
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    # Trees are 10 pixels wide: anchors of 8 pixels and up.
    rpn_head=dict(anchor_generator=dict(scales=[2])),
    backbone=dict(in_channels=len(bands)),
    roi_head=dict(bbox_head=dict(num_classes=len(classes))),
)
# Learns from random weights much faster with AdamW than with the usual SGD.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
