# Buildings of Banepa, as boxes.
_base_ = ['./geo_det.py', './banepa.py']

classes = ('building',)
palette = [(200, 60, 50)]
objects = dict(metainfo=dict(classes=classes, palette=palette), **_base_.chips)
train_dataloader = dict(dataset=dict(scenes=_base_.west, **objects))
val_dataloader = dict(dataset=dict(scenes=_base_.east, **objects))
test_dataloader = dict(dataset=dict(scenes=_base_.east, **objects))
