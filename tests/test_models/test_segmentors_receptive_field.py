"""Effective receptive field: exact for filters whose field is known."""

import pytest
import torch
from torch import nn

from geo_mm.models.segmentors import receptive_radius


class Filter(nn.Module):
    """Sums what is in a square around each pixel, as a segmentor with one class."""

    def __init__(self, side):
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, side, padding=side // 2)
        nn.init.ones_(self.convolution.weight)

    def encode_decode(self, images, _):
        return self.convolution(images)


class WholeImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def encode_decode(self, images, _):
        return images * 0 + self.weight * images.mean(dim=(1, 2, 3), keepdim=True)


# 29 x 29 pixels are 0.88 of 31 x 31, which is not enough.
@pytest.mark.parametrize(('side', 'radius'), [(1, 0), (3, 1), (11, 5), (31, 15)])
def test_a_square_filter(side, radius):
    assert receptive_radius(Filter(side), 3, 64) == radius


def test_what_hardly_counts_is_left_out():
    with torch.no_grad():
        model = Filter(31)
        model.convolution.weight[:] = 0.001  # 961 pixels of 3 bands: 2.9
        model.convolution.weight[:, :, 12:19, 12:19] = 1.0  # 49 of 3 bands: 147
    assert receptive_radius(model, 3, 64) == 3


def test_a_model_that_sees_all_of_an_image():
    assert receptive_radius(WholeImage(), 3, 64) == 31


def test_gradients_of_the_weights_are_left_alone():
    model = Filter(3)
    receptive_radius(model, 3, 64)
    assert model.convolution.weight.grad is None


def test_where_gradients_are_switched_off():
    model = Filter(5)
    with torch.no_grad():
        assert receptive_radius(model, 3, 64) == 2
