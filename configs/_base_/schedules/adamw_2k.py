# 2000 iterations of AdamW: warm-up, and cosine down to 0 at the end of the run,
# however long: set train_cfg.max_iters alone.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='geo_mm.WarmUpLR', start_factor=0.05, iters=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Scales the learning rate with --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=8)
