"""Filters of another model's bands."""

import torch

from geo_mm.learn.start_weights import _about_bands, _adapted


def filters(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def test_bands_without_names_keep_their_order():
    names = ('B1', 'B2', 'B3'), ('red', 'green', 'blue')
    for before, after in (names, names[::-1]):
        assert _adapted(filters(1, 2, 3), before, after).flatten().tolist() == [1, 2, 3]
        assert 'in the order of' in _about_bands(before, after, ['conv1.weight'])


def test_known_bands_keep_their_filters_and_others_get_the_mean():
    found = _adapted(filters(1, 2, 6), ('red', 'green', 'blue'), ('Blue', 'red', 'nir', 'swir'))
    # A third of a band and green, which is lost, over two new bands.
    assert found.flatten().tolist() == [6, 1, 2, 2]
