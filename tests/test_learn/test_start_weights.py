"""Filters of another model's bands."""

import torch

from geo_mm.classes import ClassSet
from geo_mm.inputspec import InputSpec
from geo_mm.learn.start_weights import _adapted


def filters(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def spec(*bands: str, wavelengths: tuple[float, ...] | None = None) -> InputSpec:
    ones = (1.0,) * len(bands)
    return InputSpec(
        task='objects',
        classes=ClassSet(('a',)),
        bands=bands,
        gsd=1.0,
        dtype='uint8',
        nodata=None,
        mean=ones,
        std=ones,
        chip_size=(64, 64),
        wavelengths=wavelengths,
    )


def test_bands_without_names_keep_their_order():
    names = spec('B1', 'B2', 'B3'), spec('red', 'green', 'blue')
    for before, after in (names, names[::-1]):
        found, note = _adapted(filters(1, 2, 3), before, after)
        assert found.flatten().tolist() == [1, 2, 3]
        assert 'in the order of' in note


def test_known_bands_keep_their_filters_and_another_gets_a_part_of_the_mean():
    found, note = _adapted(
        filters(1, 2, 6), spec('red', 'green', 'blue'), spec('Blue', 'red', 'green', 'nir')
    )
    assert found.flatten().tolist() == [6, 1, 2, 1]
    assert 'nir   <- mean of all' in note


def test_numbers_of_an_unknown_sensor_are_the_same_in_both():
    found, _ = _adapted(filters(1, 2, 6), spec('B5', 'B6', 'B7'), spec('B7', 'B6', 'B5'))
    assert found.flatten().tolist() == [6, 2, 1]


def test_wavelengths_of_the_scenes_tell_the_bands():
    other = spec('B5', 'B6', wavelengths=(0.865, 1.61))
    found, _ = _adapted(filters(1, 2), spec('swir16', 'nir08'), other)
    assert found.flatten().tolist() == [2, 1]
