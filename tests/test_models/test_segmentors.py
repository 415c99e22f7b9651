"""PointRend: what is refined, and where there is nothing to refine."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import find_latest_checkpoint
from mmengine.structures import InstanceData

from geo_mm.engine.launch import build_model, build_runner, load_config
from geo_mm.errors import ConfigError
from geo_mm.inference import TrainedModel
from geo_mm.models.detection_heads import PointRendRoIHead
from geo_mm.models.segmentors import PointRendSegmentor
from geo_mm.raster import Scene, tile_plan
from tests.data.chips import CONFIGS, fresh_mmengine, write_scene

CLASSES = 3


def make_segmentor(stride=2, share=0.25, out_channels=None, **head):
    """A model whose coarse scores are the average of the image's first bands."""
    point_head = {
        'type': 'PointHead',
        'in_channels': [4],
        'in_index': [0],
        'channels': 8,
        'num_fcs': 1,
        'dropout_ratio': 0,
        'num_classes': CLASSES,
    }
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = PointRendSegmentor(
            point_head=point_head,
            refined_share=share,
            backbone={'type': 'geo_mm.ResNetEncoder', 'depth': 18, 'base_channels': 4,
                      'in_channels': 4, 'stem_channels': 4},
            decode_head={
                'type': 'FCNHead',
                'in_channels': 4,
                'in_index': 0,
                'channels': 4,
                'num_convs': 0,
                'concat_input': False,
                'dropout_ratio': 0,
                'num_classes': CLASSES if out_channels is None else 2,
                'out_channels': out_channels,
                **head,
            },
            train_cfg={'num_points': 50, 'oversample_ratio': 3, 'importance_sample_ratio': 0.75},
            test_cfg={'mode': 'whole'},
        )  # fmt: skip
    head = model.decode_head
    if out_channels is None:
        head.conv_seg.weight.data[:] = torch.eye(CLASSES, 4)[:, :, None, None]
        head.conv_seg.bias.data[:] = 0
        forward = head.forward
        head.forward = lambda x: torch.nn.functional.avg_pool2d(forward(x), stride)
    return model.eval()


def always(model, number):
    """Lets the point head answer with one class, wherever it is asked."""
    model.point_head.fc_seg.weight.data[:] = 0
    model.point_head.fc_seg.bias.data[:] = torch.eye(CLASSES)[number] * 99


def image(height, width):
    """The left half is surely of class 0, the right of 1; between them nothing is sure."""
    x = torch.zeros(1, 4, height, width)
    ramp = torch.linspace(-1, 1, width) * 10
    x[:, 0], x[:, 1] = -ramp, ramp
    x[:, 2] = -90
    return x


def predict(model, x):
    metas = [{'img_shape': x.shape[2:]}] * len(x)
    with torch.no_grad():
        return model.encode_decode(x, metas).argmax(1)


@pytest.mark.parametrize('size', [(32, 48), (64, 32)])
def test_the_share_of_pixels_that_is_refined(size):
    model = make_segmentor()
    always(model, 2)
    assert (predict(model, image(*size)) == 2).float().mean() == 0.25


def test_the_uncertain_pixels_are_refined():
    model = make_segmentor()
    always(model, 2)
    found = predict(model, image(32, 48))[0]
    # A quarter of 48 columns, around the middle.
    assert torch.equal((found == 2).any(dim=0).nonzero().flatten(), torch.arange(18, 30))
    assert (found[:, :18] == 0).all()
    assert (found[:, 30:] == 1).all()


@pytest.mark.parametrize('stride', [2, 4, 8])
def test_scores_are_doubled_up_to_the_inputs_size(stride):
    model = make_segmentor(stride, share=1.0)
    always(model, 1)
    # Bilinear enlargement alone would leave class 0 on the left.
    assert (predict(model, image(32, 48)) == 1).all()


def test_the_tensor_mode_gives_the_same_scores():
    model = make_segmentor()
    x = image(32, 48)
    with torch.no_grad():
        scores = model(x)
    assert torch.equal(scores.argmax(1), predict(model, x))


def test_a_head_with_nothing_to_refine():
    with pytest.raises(ConfigError, match='leave the finest levels out'):
        predict(make_segmentor(stride=1), image(32, 48))


def test_one_channel_has_no_second_best():
    with pytest.raises(ConfigError, match='a channel per class'):
        make_segmentor(out_channels=1, threshold=0.5)


@pytest.mark.parametrize('share', [0, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(ConfigError, match='refined_share'):
        make_segmentor(share=share)


def roi_head():
    config = Config.fromfile(CONFIGS / '_base_/models/mask-rcnn_r18-c128_fpn_point-rend.py')
    cfg = config.model.roi_head
    cfg.pop('type')
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = PointRendRoIHead(
            **cfg, train_cfg=config.model.train_cfg.rcnn, test_cfg=config.model.test_cfg.rcnn
        )
        head.init_weights()
    return head.eval()


@pytest.mark.parametrize('counts', [(2, 0), (0, 2), (0, 0)])
def test_masks_where_some_chip_has_no_object(counts):
    pyramid = [torch.randn(2, 128, 64 // 2**i, 64 // 2**i) for i in range(5)]
    boxes = torch.tensor([[10.0, 20.0, 90.0, 70.0], [100.0, 30.0, 140.0, 200.0]])
    found = [
        InstanceData(
            bboxes=boxes[:count],
            labels=torch.zeros(count, dtype=torch.int64),
            scores=torch.ones(count),
        )
        for count in counts
    ]
    meta = {'img_shape': (256, 256), 'ori_shape': (256, 256), 'scale_factor': (1.0, 1.0)}
    with torch.no_grad():
        results = roi_head().predict_mask(pyramid, [meta] * 2, found)
    assert [tuple(r.masks.shape) for r in results] == [(count, 256, 256) for count in counts]


def test_every_weight_has_a_gradient_without_objects():
    # Distributed training waits for all of them.
    head = roi_head().train()
    coarse = head.mask_head(torch.zeros(0, 128, 14, 14))
    losses = head._mask_point_loss([], [], coarse, [])
    losses['loss_point'].backward()
    assert losses['loss_point'] == 0
    assert all(value.grad is not None for value in head.point_head.parameters())


CONFIG = """
_base_ = {bases}
chips = dict(
    data_root={root!r},
    scenes=[dict(image='scene.tif', labels='labels.gpkg')],
    metainfo=dict(classes=('background', 'building')),
    label_cfg=dict(class_column='class'),
    chip_size=50,
    fill=[100.0, 100.0, 100.0],
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=chips, **loader)
val_dataloader = dict(dataset=dict(stride=50, **chips), **loader)
test_dataloader = dict(num_workers=0, dataset=dict(stride=50, **chips))
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
model = dict(
    data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3),
    backbone=dict(in_channels=3, base_channels=8, stem_channels=8),
    decode_head=dict(in_channels=[8, 16, 32, 64], channels=4),
    point_head=dict(in_channels=[8, 8], channels=8),
)
default_hooks = dict(checkpoint=dict(interval=2))
work_dir = {root!r}
"""


def write_config(folder):
    write_scene(folder)
    bases = (
        'models/unet_r18_point-rend.py',
        'datasets/geo_seg.py',
        'schedules/adamw_2k.py',
        'seg_runtime.py',
    )
    path = folder / 'config.py'
    path.write_text(
        CONFIG.format(bases=[str(CONFIGS / '_base_' / base) for base in bases], root=str(folder))
    )
    return path


def test_from_training_to_prediction(tmp_path):
    path = write_config(tmp_path)
    with fresh_mmengine():
        runner = build_runner(load_config(path))
        runner.train()
        weights = find_latest_checkpoint(str(tmp_path))
        model = TrainedModel(checkpoint=weights, config=load_config(path), device='cpu')
    assert model.spec.classes.names == ('background', 'building')
    scene = Scene.open(tmp_path / 'scene.tif')
    tile = tile_plan(scene.width, scene.height, 70, 10)[0]
    data, valid = scene.read(tile.window)
    inputs = model.prepare(scene, tile.window, data, valid)
    (found,) = model.predict([inputs])
    assert found.seg_logits.shape == valid.shape == (70, 70)
    assert np.isfinite(found.seg_logits.data.numpy()).all()


def test_classes_must_agree_in_every_head(tmp_path):
    path = write_config(tmp_path)
    with fresh_mmengine():
        options = {'model.point_head.num_classes': 3}
        with pytest.raises(ConfigError, match=r'point_head of the model has num_classes=3'):
            build_runner(load_config(path, options)).train()


WIDTHS = {
    'unet': (
        dict(backbone=dict(base_channels=4)),
        dict(
            decode_head=dict(in_channels=4, channels=4),
            auxiliary_head=dict(in_channels=8, channels=4, num_classes=5),
        ),
    ),
    'unet_vgg16': (
        dict(backbone=dict(base_channels=4)),
        dict(decode_head=dict(in_channels=[4, 8, 16, 32, 32], channels=32)),
    ),
    'fpn_r50': (
        dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512])),
        dict(decode_head=dict(in_channels=[256] * 4)),
    ),
}


@pytest.mark.parametrize('name', WIDTHS)
def test_heads_take_widths_and_classes_from_one_place(name):
    """What a config leaves out is what one would write; written out it holds."""
    given, written = WIDTHS[name]
    path = CONFIGS / '_base_' / 'models' / f'{name}.py'
    shapes = []
    for more in ({}, written):
        config = load_config(path, {})
        config.default_scope = 'mmseg'
        config.merge_from_dict(dict(model=given))
        config.merge_from_dict(dict(model=dict(decode_head=dict(num_classes=5))))
        config.merge_from_dict(dict(model=more))
        model = build_model(config)
        assert model.training
        shapes.append({key: tuple(value.shape) for key, value in model.state_dict().items()})
    assert shapes[0] == shapes[1]
    if model.with_auxiliary_head:
        assert model.auxiliary_head.num_classes == 5
