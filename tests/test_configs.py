"""Every config loads, and its model can be built: no data needed."""

from importlib.util import find_spec
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
    if config.model.backbone.type == 'geo_mm.TimmBackbone' and not find_spec('timm'):
        pytest.skip("needs pip install 'geo_mm[timm]'")
    model = build_model(config)
    loader = config.train_dataloader
    first = next(weight for weight in model.parameters() if weight.ndim == 4)
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


def test_what_every_run_shares():
    for path in FILES:
        config = load_config(path)
        # A copy of a process in which GDAL has threads may hang.
        assert config.env_cfg.mp_cfg.mp_start_method == 'forkserver'
        assert config.default_hooks.checkpoint.type == 'geo_mm.CheckpointHook'
        detector = config.default_scope == 'mmdet'
        best = 'coco/bbox_mAP' if detector else 'mIoU'
        assert config.default_hooks.checkpoint.save_best == best
        # AP of each class.
        assert not detector or config.val_evaluator.classwise


def test_random_radiometry_is_in_use():
    config = load_config(CONFIGS / '_base_' / 'datasets' / 'town_seg_radiometry.py')
    steps = config.train_dataloader.dataset.pipeline
    names = [step.type for step in steps]
    assert names[1:3] == ['geo_mm.RandomRadiometry', 'geo_mm.RandomBandDropout']
    assert len(steps[1].haze_spectrum) == len(config.bands)
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert all(TRANSFORMS.build(step) for step in steps)
