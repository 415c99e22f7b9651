"""Every config loads, and its model can be built: no data needed."""

from pathlib import Path

import pytest
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS, DefaultScope

from geo_mm.engine.launch import build_model, load_config
from tests.data.chips import CONFIGS

FILES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


def config_name(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


@pytest.mark.parametrize('path', FILES, ids=config_name)
def test_config(path):
    config = load_config(path)
    model = build_model(config)
    loader = config.train_dataloader
    first = next(weight for weight in model.backbone.parameters() if weight.ndim == 4)
    bands = first.shape[1]
    # What must agree, in one place or another.
    assert len(model.data_preprocessor.mean) == len(model.data_preprocessor.std) == bands
    assert len(loader.dataset.fill) == bands
    assert len(loader.dataset.get('bands') or loader.dataset.fill) == bands
    classes = loader.dataset.metainfo.classes
    assert len(loader.dataset.metainfo.palette) == len(classes)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        for split in ('train', 'val', 'test'):
            dataset = config[f'{split}_dataloader'].dataset
            assert all(TRANSFORMS.build(step) for step in dataset.pipeline)
            assert DATA_SAMPLERS.get(config[f'{split}_dataloader'].sampler.type)
            assert dataset.get('test_mode', False) == (split != 'train')
    # A user's config is at most this long.
    assert len(path.read_text().splitlines()) <= 60


def test_there_are_configs_for_both_tasks():
    scopes = {load_config(path).default_scope for path in FILES}
    assert scopes == {'mmdet', 'mmseg'}
