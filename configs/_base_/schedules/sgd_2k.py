# 2000 iterations of SGD with warm-up and two steps, at 70 % and 90 % of the run,
# however long: the usual one for detectors.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='geo_mm.WarmUpLR', start_factor=0.01, iters=200, by_epoch=False),
    dict(type='geo_mm.MultiStepLR', milestones=[0.7, 0.9], gamma=0.1, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Scales the learning rate with --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=4)
