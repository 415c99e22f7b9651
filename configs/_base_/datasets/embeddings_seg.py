# Land cover from embeddings as bands: 64 of int8, named and stored as those of
# AlphaEarth, of the synthetic town. Make them with:
#   geo-mm synthetic data/embeddings --embeddings
_base_ = './geo_seg.py'

data_root = 'data/embeddings/'
classes = ('background', 'building', 'road', 'tree', 'water')
palette = [(210, 200, 160), (213, 94, 0), (60, 60, 60), (0, 158, 115), (0, 114, 178)]
bands = tuple(f'A{i:02}' for i in range(64))
# Values are from -127 to 127, and 0 stands for nothing in particular: fixed ones will do.
mean, std = [0.0] * 64, [40.0] * 64
pixels = dict(
    scenes='embeddings.csv',
    data_root=data_root,
    bands=bands,
    fill=mean,
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class'),
)
train_dataloader = dict(dataset=pixels)
val_dataloader = dict(dataset=pixels)
test_dataloader = dict(dataset=pixels)
