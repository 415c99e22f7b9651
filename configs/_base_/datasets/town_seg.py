# Land cover of the synthetic town, 5 classes of pixels. Where features overlap,
# the class that stands later covers the others: trees hang over roads.
_base_ = ['./geo_seg.py', './town.py']

classes = ('background', 'building', 'road', 'tree', 'water')
palette = [(210, 200, 160), (213, 94, 0), (60, 60, 60), (0, 158, 115), (0, 114, 178)]
pixels = dict(
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class'),
    **_base_.chips,
)
train_dataloader = dict(dataset=pixels)
val_dataloader = dict(dataset=pixels)
test_dataloader = dict(dataset=pixels)
