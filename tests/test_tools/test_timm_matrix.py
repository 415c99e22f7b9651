"""Families of timm under a detector and a U-Net; tools/dev/timm_matrix.py makes a table of it."""

import importlib.util
import sys

import pytest

from tests.data.chips import CONFIGS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason="needs pip install 'geo_mm[timm]'"
)


@pytest.fixture(scope='module')
def matrix():
    path = CONFIGS.parent / 'tools' / 'dev' / 'timm_matrix.py'
    spec = importlib.util.spec_from_file_location('timm_matrix', path)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.mark.parametrize('check', ['step', 'freeze', 'decay'])
def test_a_plain_vit_under_a_detector(matrix, check):
    matrix.CHECKS[check](matrix.Cell('ViT, DeiT', 'Faster R-CNN'))


@pytest.mark.slow
def test_every_family(matrix):
    pytest.importorskip('onnxruntime')
    for family in matrix.FAMILIES:
        for task in matrix.TASKS:
            assert set(matrix.examine(family, task).values()) == {'yes'}, (family, task)
