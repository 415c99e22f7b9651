_base_ = './default_runtime.py'

default_scope = 'mmdet'
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
visualizer = dict(
    type='geo_mm.GeoLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer',
)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=False)
