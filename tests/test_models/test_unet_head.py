"""The U-Net head: resolution, skips, pyramid."""

import pytest
import torch

from geo_mm.errors import ConfigError
from geo_mm.models.segmentors import UNetHead


def make_head(**kwargs):
    settings = {'in_channels': [4, 6, 8], 'in_index': [1, 2, 3], 'channels': 5, 'num_classes': 3}
    torch.manual_seed(0)
    return UNetHead(**(settings | {'dropout_ratio': 0} | kwargs)).eval()


def levels(*sizes, channels=(2, 4, 6, 8)):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, width, *size, generator=generator).requires_grad_()
        for width, size in zip(channels, sizes, strict=True)
    ]


@pytest.mark.parametrize('pool_scales', [(), (1, 2, 3, 6), (1, 5)])
def test_classes_come_at_the_finest_levels_size(pool_scales):
    features = levels((40, 60), (20, 30), (10, 15), (5, 8))
    assert make_head(pool_scales=pool_scales)(features).shape == (2, 3, 20, 30)


def test_sizes_need_not_double():
    assert make_head()(levels((97, 130), (49, 65), (25, 33), (13, 17))).shape[2:] == (49, 65)


def test_neighbours_of_one_size():
    # As the stages of a dilated backbone.
    assert make_head()(levels((40, 40), (20, 20), (5, 5), (5, 5))).shape[2:] == (20, 20)


def test_every_chosen_level_is_used_and_no_other():
    features = levels((40, 60), (20, 30), (10, 15), (5, 8))
    make_head()(features)[..., 7, 11].sum().backward()
    assert features[0].grad is None
    assert all(level.grad.any() for level in features[1:])


def test_the_pyramid_sees_the_whole_chip():
    def reach(**kwargs):
        features = levels((320, 320), (160, 160), (80, 80), (40, 40))
        make_head(**kwargs)(features)[..., 3, 3].sum().backward()
        return features[3].grad[..., -1, -1].any()

    assert not reach()
    assert reach(pool_scales=(1,))


def test_channels_double_with_each_level():
    head = make_head(pool_scales=(1, 2, 3, 6), num_convs=1)
    # coarsest first, after the pyramid's 20 = 5 << 2 channels
    assert [step[0].conv.in_channels for step in head.steps] == [20 + 6, 10 + 4]
    assert [step[0].conv.out_channels for step in head.steps] == [10, 5]
    assert [branch[1].conv.out_channels for branch in head.pyramid] == [5] * 4


@pytest.mark.parametrize('wrong', [{'in_channels': [4, 6]}, {'in_channels': [4], 'in_index': [0]}])
def test_levels_that_do_not_fit(wrong):
    with pytest.raises(ConfigError, match='at least two levels'):
        make_head(**wrong)
