# Buildings and trees of the synthetic town, as boxes.
_base_ = ['./geo_det.py', './town.py']

classes = ('building', 'tree')
palette = [(213, 94, 0), (0, 158, 115)]
objects = dict(
    metainfo=dict(classes=classes, palette=palette),
    label_cfg=dict(class_column='class', class_map=dict(road=None, water=None)),
    **_base_.chips,
)
train_dataloader = dict(dataset=objects)
val_dataloader = dict(dataset=objects)
test_dataloader = dict(dataset=objects)
