# Land cover from 12 Sentinel-2 bands; every patch is in a UTM zone of its own
# and is read there. Label rasters with class values. Four patches, no split: it
# scores its training data. The imagery does not come with geo_mm.
_base_ = './geo_seg.py'

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
bands = tuple(range(1, 13))  # by number: the files give no names
# Value in the label raster to class; 0 is unlabelled.
class_map = {0: None, **dict(zip((1, 2, 3, 4, 5, 6, 7, 9), classes, strict=True))}
# geo-mm statistics
mean = [1951, 1996, 2041, 2163, 2486, 2939, 3080, 3283, 3239, 3204, 1959, 1478]
std = [2747, 2814, 2456, 2559, 2478, 2252, 2124, 2320, 2018, 1891, 1329, 1120]

pixels = dict(
    scenes=[dict(image='S2L2A/*.tif', labels='LULC/{stem}.tif')],
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_map=class_map),
    bands=bands,
    fill=mean,
)
train_dataloader = dict(dataset=pixels)
val_dataloader = dict(dataset=pixels)
test_dataloader = dict(dataset=pixels)
