# 2000 iterations of AdamW: warm-up, then cosine down to 0. For another number
# change max_iters in train_cfg *and* end in the second scheduler.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=50, end=2000, eta_min=0, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Scales the learning rate with --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=8)
