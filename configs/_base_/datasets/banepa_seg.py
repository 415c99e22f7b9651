# Building footprints of Banepa, as pixels.
_base_ = ['./geo_seg.py', './banepa.py']

classes = ('background', 'building')
palette = [(210, 200, 160), (200, 60, 50)]
pixels = dict(metainfo=dict(classes=classes, palette=palette), **_base_.chips)
train_dataloader = dict(dataset=dict(scenes=_base_.west, **pixels))
val_dataloader = dict(dataset=dict(scenes=_base_.east, **pixels))
test_dataloader = dict(dataset=dict(scenes=_base_.east, **pixels))
