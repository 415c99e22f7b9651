# Street trees in Santa Monica, as boxes: labels are points, complete only inside
# the AOI polygons; 92 % of the scene is nodata; 4 bands with NIR. The imagery
# does not come with geo_mm.
_base_ = './geo_det.py'

data_root = 'data/trees_santa_monica/'
classes = ('tree',)
palette = [(50, 160, 70)]
bands = ('red', 'green', 'blue', 'nir')
gsd = 0.6  # metres per pixel
point_size = 6.0  # metres: side of the box around a point
mean = [119.6, 121.6, 115.4, 111.1]  # geo-mm statistics
std = [41.9, 35.7, 36.8, 39.8]

scene = dict(
    image='santa_monica_2020.tif',
    labels='santa_monica_2020_trees.gpkg',
    aoi='santa_monica_2020_chips.geojson',
)
west = [dict(scene, area=(0, 0, 0.667, 1))]  # left, top, right, bottom
east = [dict(scene, area=(0.667, 0, 1, 1))]
objects = dict(
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(point_size=point_size),
    bands=bands,
    gsd=gsd,
    fill=mean,
)
train_dataloader = dict(sampler=dict(min_valid=0.5), dataset=dict(scenes=west, **objects))
val_dataloader = dict(dataset=dict(scenes=east, **objects))
test_dataloader = dict(dataset=dict(scenes=east, **objects))
