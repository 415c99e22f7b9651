# Water from 13 Sentinel-2 bands of int16, in geographic coordinates; the label
# raster has -1 where nobody labelled. The western two thirds of one scene to
# train, the eastern third to validate and test. The imagery (Bonafilia et al.
# 2020) does not come with geo_mm.
_base_ = './geo_seg.py'

data_root = 'data/sen1floods11/'
classes = ('land', 'water')
palette = [(210, 200, 160), (50, 110, 190)]
bands = ('B1', 'B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8A', 'B9', 'B10', 'B11', 'B12')
class_map = {-1: None, 0: 'land', 1: 'water'}  # value in the label raster to class
# geo-mm statistics
mean = [1523, 1328, 1354, 1362, 1557, 1964, 2277, 2094, 2374, 378.6, 11.2, 1660, 1015]
std = [156, 264, 334, 475, 421, 602, 715, 714, 838, 123, 1.39, 830, 605]

scene = dict(image='Spain_7370579_S2Hand.tif', labels='Spain_7370579_LabelHand.tif')
west = [dict(scene, area=(0, 0, 0.667, 1))]  # left, top, right, bottom
east = [dict(scene, area=(0.667, 0, 1, 1))]
pixels = dict(
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_map=class_map),
    bands=bands,
    fill=mean,
)
train_dataloader = dict(dataset=dict(scenes=west, **pixels))
val_dataloader = dict(dataset=dict(scenes=east, **pixels))
test_dataloader = dict(dataset=dict(scenes=east, **pixels))
