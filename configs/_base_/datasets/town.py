# The synthetic town: four scenes in two UTM zones, two to train, one each to
# validate and to test. Make it with: geo-mm synthetic data/town
# What the tasks share; inherit town_det.py, town_ins.py or town_seg.py.
data_root = 'data/town/'
bands = ('red', 'green', 'blue', 'nir')
gsd = 0.5  # metres per pixel
mean = [1254.0, 1305.0, 1203.0, 2336.0]  # geo-mm statistics
std = [858.0, 755.0, 777.0, 1429.0]
chips = dict(scenes='catalog.csv', data_root=data_root, bands=bands, gsd=gsd, fill=mean)
