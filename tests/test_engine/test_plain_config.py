import math

import pytest
from mmengine.config import Config

from geo_mm.engine import plain_config
from geo_mm.engine.launch import load_config
from tests.data.chips import CONFIGS

OURS = sorted(
    path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts and path.name[0] != '_'
)


@pytest.mark.parametrize('path', OURS, ids=lambda path: path.stem)
def test_our_configs_come_back_from_their_text(path):
    config = load_config(path)
    assert Config(plain_config.parse(config.pretty_text)).to_dict() == config.to_dict()


def test_what_plain_data_looks_like():
    text = """
a = dict(x=-1.5, y=[1, (2, 'b')], z=None)
b = dict({'k-1': True, 2: {3, 4}})
c = [inf, -inf]
"""
    assert plain_config.parse(text) == {
        'a': {'x': -1.5, 'y': [1, (2, 'b')], 'z': None},
        'b': {'k-1': True, 2: {3, 4}},
        'c': [math.inf, -math.inf],
    }


@pytest.mark.parametrize(
    'line',
    [
        'import os',
        "a = __import__('os').system('true')",
        "a = open('x', 'w')",
        "a = dict(b=print('x'))",
        'a = dict(**b)',
        "a = {**b, 'c': 1}",
        'a = [x for x in (1, 2)]',
        'a.b = 1',
        'a, b = 1, 2',
        'a = other',
        "a = f'{1}'",
        "print('x')",
    ],
)
def test_whatever_would_run_is_refused(line):
    with pytest.raises(ValueError, match='line 2'):
        plain_config.parse(f'x = 1\n{line}\n')
