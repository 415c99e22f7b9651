"""Mixup of pixels: images by share, labels by chance."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from geo_mm.errors import ConfigError
from geo_mm.models.pixel_losses import CrossEntropyLoss
from geo_mm.models.preprocessors import GeoSegDataPreprocessor, PixelMixup


def chips(count, size=200):
    """Chip ``i`` is ``i`` everywhere, in its pixels and its labels."""
    inputs = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 2, size, size).float()
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, size, size), i)))
        for i in range(count)
    ]
    return inputs, samples


def labels_of(samples):
    return torch.stack([sample.gt_sem_seg.data for sample in samples])


def test_labels_are_drawn_as_often_as_their_image_counts():
    torch.manual_seed(0)
    inputs, samples = PixelMixup(alpha=1.0)(*chips(4))
    labels = labels_of(samples)
    assert inputs.shape == (4, 2, 200, 200)
    for number in range(4):
        before = (number - 1) % 4  # its neighbour
        assert set(labels[number].unique().tolist()) == {number, before}
        own = (inputs[number, 0, 0, 0].item() - before) / (number - before)
        assert 0 < own < 1
        assert (inputs[number] == inputs[number, 0, 0, 0]).all()
        # 40000 draws: 4 standard deviations are at most 0.01
        assert (labels[number] == number).float().mean().item() == pytest.approx(own, abs=0.01)


def test_the_loss_is_mixups():
    torch.manual_seed(3)
    scores = torch.randn(2, 2, 200, 200)
    inputs, samples = PixelMixup(alpha=1.0)(*chips(2))
    share = torch.stack([1 - inputs[0, 0, 0, 0], inputs[1, 0, 0, 0]])  # of its own label
    loss = CrossEntropyLoss()
    for number in range(2):
        own, other = (
            loss(scores[number : number + 1], torch.full((1, 200, 200), label))
            for label in (number, 1 - number)
        )
        mixed = loss(scores[number : number + 1], samples[number].gt_sem_seg.data)
        expected = share[number] * own + (1 - share[number]) * other
        assert mixed.item() == pytest.approx(expected.item(), abs=0.02)


def test_a_single_chip_stays_as_it_is():
    inputs, samples = chips(1, size=9)
    mixed, found = PixelMixup()(inputs, samples)
    assert torch.equal(mixed, inputs)
    assert not labels_of(found).any()


def test_alpha_is_positive():
    with pytest.raises(ConfigError, match='alpha=0'):
        PixelMixup(alpha=0)


def test_the_preprocessor_mixes_in_training_only():
    preprocessor = GeoSegDataPreprocessor(
        [0.0, 0.0],
        [1.0, 1.0],
        size_divisor=16,
        test_cfg={'size_divisor': 16},
        batch_augments=[{'type': 'geo_mm.PixelMixup', 'alpha': 1.0}],
    )

    def run(training):
        inputs, samples = chips(2, size=21)
        for sample in samples:
            sample.set_metainfo({'img_shape': (21, 21), 'ori_shape': (21, 21)})
        return preprocessor({'inputs': list(inputs), 'data_samples': samples}, training=training)

    mixed, plain = run(True), run(False)
    assert mixed['inputs'].shape == plain['inputs'].shape == (2, 2, 32, 32)
    assert 0 < mixed['inputs'][0, 0, 0, 0] < 1
    # Padding is ignored in both of a pair, hence in the mixture.
    assert (labels_of(mixed['data_samples'])[:, :, 21:] == 255).all()
    assert (plain['inputs'][1, :, :21, :21] == 1).all()
