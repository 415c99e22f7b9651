# What every run shares. Inherit det_runtime.py or seg_runtime.py.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # Validation scores over iterations, as losses, also in TensorBoard.
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Also after the first 50 iterations, and when training is stopped by Ctrl-C or SIGTERM.
    checkpoint=dict(
        type='geo_mm.CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2, first=50
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Image, ground truth and prediction of some chips at every validation.
    visualization=dict(type='geo_mm.ChipVisualizationHook'),
    # Writes into each checkpoint what predict.py has to feed the model.
    input_spec=dict(type='geo_mm.InputSpecHook'),
    channels_last=dict(type='geo_mm.ChannelsLastHook'),
    # Makes sure that the weights of load_from fit.
    start_weights=dict(type='geo_mm.StartWeightsHook'),
    # And that --resume continues the run that was interrupted.
    same_run=dict(type='geo_mm.SameRunHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='forkserver', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # geo-mm train takes gloo where there is no GPU
)
randomness = dict(seed=0)

vis_backends = [dict(type='LocalVisBackend')]
log_level = 'INFO'
load_from = None
resume = False
