# A drone mosaic of Banepa, Nepal, with building outlines in another CRS: the
# western two thirds to train, the eastern third to validate and test; no pixel
# is in both. The imagery does not come with geo_mm.
# What the tasks share; inherit banepa_det.py, banepa_ins.py or banepa_seg.py.
data_root = 'data/banepa_a/'
bands = ('red', 'green', 'blue')
gsd = 0.3  # metres per pixel on the ground; the file has 0.13
mean = [111.5, 112.0, 105.8]  # geo-mm statistics
std = [45.8, 39.9, 41.3]
chips = dict(data_root=data_root, bands=bands, gsd=gsd, fill=mean)
scene = dict(image='banepa_a.tif', labels='banepa_a_buildings.geojson')
west = [dict(scene, area=(0, 0, 0.667, 1))]  # left, top, right, bottom
east = [dict(scene, area=(0.667, 0, 1, 1))]
