# Land cover of the synthetic town, 5 classes of pixels. Where features overlap,
# the class that stands later covers the others: trees hang over roads.
_base_ = ['./geo_seg.py', './town.py']

classes = ('background', 'building', 'road', 'tree', 'water')
palette = [(210, 200, 160), (200, 60, 50), (90, 90, 90), (50, 130, 60), (50, 110, 190)]
pixels = dict(
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class'),
    **_base_.chips,
)
train_dataloader = dict(dataset=pixels)
val_dataloader = dict(dataset=pixels)
test_dataloader = dict(dataset=pixels)
