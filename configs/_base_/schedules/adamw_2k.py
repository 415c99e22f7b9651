# 2000 iterations of AdamW with a one-cycle learning rate. Change max_iters in
# train_cfg *and* total_steps in param_scheduler.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=2000, pct_start=0.2, by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Scales the learning rate with --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=8)
