# U-Net for land cover from 12 Sentinel-2 bands; every patch lies in a UTM zone
# of its own and is read there. Label rasters with class values.
_base_ = [
    '../_base_/models/unet.py',
    '../_base_/datasets/geo_seg.py',
    '../_base_/schedules/adamw_2k.py',
    '../_base_/seg_runtime.py',
]

# ---- frequently changed -----------------------------------------------------
data_root = 'data/terramesh_a/'
classes = ('water', 'trees', 'flooded', 'crops', 'built', 'bare', 'snow', 'rangeland')
palette = [
    (65, 155, 223),
    (57, 125, 73),
    (122, 135, 198),
    (228, 150, 53),
    (196, 40, 27),
    (165, 155, 143),
    (179, 212, 240),
    (227, 226, 195),
]
# Value in the label raster to class; 0 is unlabelled.
class_map = {0: None, **dict(zip((1, 2, 3, 4, 5, 6, 7, 9), classes, strict=True))}
chip_size = 128  # pixels
# tools/analysis_tools/band_statistics.py
mean = [1951, 1996, 2041, 2163, 2486, 2939, 3080, 3283, 3239, 3204, 1959, 1478]
std = [2747, 2814, 2456, 2559, 2478, 2252, 2124, 2320, 2018, 1891, 1329, 1120]
num_bands = len(mean)
width = 16  # base_channels
# -----------------------------------------------------------------------------

chips = dict(
    scenes=[dict(image='S2L2A/*.tif', labels='LULC/{stem}.tif')],
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_map=class_map),
    chip_size=chip_size,
    fill=mean,
)
train_dataloader = dict(dataset=chips)
val_dataloader = dict(dataset=dict(stride=chip_size, **chips))
test_dataloader = dict(dataset=dict(stride=chip_size, **chips))
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(in_channels=num_bands, base_channels=width),
    decode_head=dict(in_channels=width, channels=width, num_classes=len(classes)),
    auxiliary_head=dict(in_channels=2 * width, channels=width, num_classes=len(classes)),
)
