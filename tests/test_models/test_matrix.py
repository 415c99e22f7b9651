"""Every model of configs/_base_/models, narrow, on 4 and 13 bands and odd chips."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from tests.data.narrow import NARROW, PIXELS, narrow_config

HEIGHT, WIDTH = 75, 101  # divided by no stride of any model
BOXES = torch.tensor([[3.0, 5.0, 25.0, 22.0], [40.0, 30.0, 90.0, 70.0], [60.0, 2.0, 70.0, 12.0]])

# Where nothing is found, these have nothing to push but the score of background.
EMPTY_LOSSES = {
    'faster-rcnn_r50_fpn': ('loss_rpn_cls', 'loss_cls'),
    'mask-rcnn_r50_fpn': ('loss_rpn_cls', 'loss_cls'),
    'mask-rcnn_r50_fpn_point-rend': ('loss_rpn_cls', 'loss_cls'),
    'retinanet_r50_fpn': ('loss_cls',),
    'ssd_vgg16': ('loss_cls',),
    'yolov3_d53': ('loss_conf',),
    'cascade-rcnn_r18-c128_fpn': ('loss_rpn_cls', 's0.loss_cls', 's1.loss_cls', 's2.loss_cls'),
    'fcos_r18-c128_fpn': ('loss_cls',),
    'atss_r18-c128_fpn': ('loss_cls',),
}
every_model = pytest.mark.parametrize('name', NARROW)
every_pixel_model = pytest.mark.parametrize('name', PIXELS)
every_detector = pytest.mark.parametrize('name', EMPTY_LOSSES)
bands_4_and_13 = pytest.mark.parametrize('bands', [4, 13])


def build(name, bands, seed=0):
    config = narrow_config(name, bands)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmseg' if name in PIXELS else 'mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    return model


def chip(name, bands, seed, objects=True, size=(HEIGHT, WIDTH)):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(bands, *size, generator=generator) * 200
    boxes = BOXES if objects else BOXES[:0]
    labels = torch.arange(len(boxes)) % 2
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    meta = {'img_shape': size, 'ori_shape': size, 'scale_factor': (1.0, 1.0)}
    if name in PIXELS:
        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=masks.sum(0, keepdim=True).clamp(max=1).long())
    else:
        sample = DetDataSample(metainfo=meta | {'img_id': seed})
        sample.gt_instances = InstanceData(
            bboxes=boxes.clone(),
            labels=labels,
            masks=BitmapMasks(masks.numpy(), *size),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return image, sample


def batch(name, bands, objects=True):
    images, samples = zip(*(chip(name, bands, seed, objects) for seed in (1, 2)), strict=True)
    return {'inputs': list(images), 'data_samples': list(samples)}


def step(model, data):
    """One step of SGD; the losses before it."""
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    return {key: float(value) for key, value in log.items()}


def check_finite(model, losses):
    assert losses['loss'] > 0
    assert all(torch.tensor(value).isfinite() for value in losses.values())
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
        assert value.grad is None or value.grad.isfinite().all(), name


def results(name, model, bands):
    model.eval()
    with torch.no_grad():
        found = model.test_step(batch(name, bands))
    if name in PIXELS:
        return [{'classes': r.pred_sem_seg.data, 'logits': r.seg_logits.data} for r in found]
    return [dict(r.pred_instances.items()) for r in found]


@bands_4_and_13
@every_model
def test_learns_from_objects(name, bands):
    model = build(name, bands).train()
    check_finite(model, step(model, batch(name, bands)))
    stem = next(v for v in model.backbone.parameters() if v.ndim == 4)
    assert stem.shape[1] == bands
    # Every band is looked at, and the first layer learns.
    assert (stem.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


@every_model
def test_chips_without_objects_give_finite_losses(name):
    model = build(name, 4).train()
    check_finite(model, step(model, batch(name, 4, objects=False)))


@every_detector
def test_chips_without_objects_are_true_negatives(name):
    model = build(name, 4).train()
    losses = step(model, batch(name, 4, objects=False))
    for key in EMPTY_LOSSES[name]:
        assert losses[key] > 0, key
    boxes = [key for key in losses if 'bbox' in key or '_xy' in key or '_wh' in key]
    assert boxes
    assert all(losses[key] == 0 for key in boxes)


@bands_4_and_13
@every_model
def test_a_saved_model_predicts_the_same(tmp_path, name, bands):
    model = build(name, bands).train()
    step(model, batch(name, bands))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = build(name, bands, seed=1)
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True))
    ours, theirs = results(name, model, bands), results(name, other, bands)
    for a, b in zip(ours, theirs, strict=True):
        assert all(len(value) for value in a.values())
        for key, value in a.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b[key])), key


@every_model
def test_predictions_lie_in_the_chip(name):
    for result in results(name, build(name, 4), 4):
        if name in PIXELS:
            assert result['classes'].shape == (1, HEIGHT, WIDTH)
            assert result['logits'].shape == (2, HEIGHT, WIDTH)
            continue
        boxes = result['bboxes']
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes[:, 0::2] <= WIDTH).all()
        assert (boxes[:, 1::2] <= HEIGHT).all()
        assert set(result['labels'].tolist()) <= {0, 1}
        if 'masks' in result:
            assert result['masks'].shape == (len(boxes), HEIGHT, WIDTH)


@every_pixel_model
def test_chips_without_labels_have_no_loss(name):
    model = build(name, 4).train()
    data = batch(name, 4)
    for sample in data['data_samples']:
        sample.gt_sem_seg.data[:] = 255
    data = model.data_preprocessor(data, training=True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert total == 0
    for key, value in model.named_parameters():
        assert value.grad is None or not value.grad.any(), key


@pytest.mark.parametrize('size', [97, 130, 255])
@every_pixel_model
def test_predictions_have_the_chips_size(name, size):
    model = build(name, 4).eval()
    image, sample = chip(name, 4, seed=1, size=(size, size))
    with torch.no_grad():
        (found,) = model.test_step({'inputs': [image], 'data_samples': [sample]})
    assert found.pred_sem_seg.shape == (size, size)
    assert found.seg_logits.data.isfinite().all()
