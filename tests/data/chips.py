"""Datasets, loaders and tiny configs over small scenes, for tests."""

import os
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

META_KEYS = ('img_id', 'ori_shape', 'img_shape', 'scene_id', 'window', 'crs', 'transform')
SEG_PIPELINE = (
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipClasses'),
    dict(type='PackSegInputs', meta_keys=META_KEYS),
)
DET_PIPELINE = (
    dict(type='geo_mm.LoadChip'),
    dict(type='geo_mm.LoadChipObjects'),
    dict(type='PackDetInputs', meta_keys=(*META_KEYS, 'instances', 'flip', 'flip_direction')),
)


@contextmanager
def scope(task: str) -> Iterator[None]:
    """The library that bare type names are taken from, as a config's default_scope."""
    with DefaultScope.overwrite_default_scope('mmseg' if task == 'seg' else 'mmdet'):
        yield


def dataset_cfg(task: str, scenes, classes: Sequence[str] = ('building',), **kwargs) -> dict:
    """A dataset's config; ``task`` is 'seg' or 'det'."""
    if task == 'seg':
        classes = ('background', *classes)
    return {
        'type': 'geo_mm.GeoSegDataset' if task == 'seg' else 'geo_mm.GeoDetDataset',
        'scenes': scenes,
        'metainfo': {'classes': tuple(classes)},
        'pipeline': list(SEG_PIPELINE if task == 'seg' else DET_PIPELINE),
        'chip_size': 32,
        **kwargs,
    }


def build_dataset(task: str, scenes, classes: Sequence[str] = ('building',), **kwargs):
    with scope(task):
        return DATASETS.build(dataset_cfg(task, scenes, classes, **kwargs))


def build_loader(
    task: str,
    dataset: Mapping,
    sampler: Mapping,
    *,
    workers: int = 0,
    batch: int = 4,
    seed: int = 0,
    **options,
):
    """The DataLoader that MMEngine's Runner makes of a config."""
    config = dict(
        dataset=dict(dataset),
        sampler=dict(sampler),
        batch_size=batch,
        num_workers=workers,
        **options,
    )
    with scope(task):
        return Runner.build_dataloader(config, seed=seed)


@contextmanager
def fresh_mmengine() -> Iterator[None]:
    """A Runner as in a process of its own: MMEngine keeps loggers, scopes and counters.

    One thread, since more of them slow a network of this size down.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    managers = (MMLogger, MessageHub, Visualizer, *Visualizer.__subclasses__(), DefaultScope)
    before = [manager._instance_dict.copy() for manager in managers]
    for manager in managers:
        manager._instance_dict.clear()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for manager, instances in zip(managers, before, strict=True):
            manager._instance_dict.clear()
            manager._instance_dict.update(instances)


def run_tool(tool: str, *args: object) -> None:
    """Runs ``tools/<tool>`` in this process, as if from the command line."""
    path = CONFIGS.parent / 'tools' / tool
    argv, environment = sys.argv, dict(os.environ)
    sys.argv = [str(path), *map(str, args)]
    try:
        with fresh_mmengine():
            runpy.run_path(str(path), run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)


CONFIGS = Path(__file__).parents[2] / 'configs'

TINY_SEG = """
_base_ = {bases}
classes = ('background', 'building')
chips = dict(
    data_root={root!r},
    scenes=[dict(image='scene.tif', labels='labels.gpkg')],
    metainfo=dict(classes=classes),
    label_cfg=dict(class_column='class'),
    chip_size=64,
    fill=[100.0, 100.0, 100.0],
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=chips, sampler=dict(type='geo_mm.RandomChipSampler', infinite=True, num_chips=4))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(stride=64, **chips))
test_dataloader = dict(num_workers=0, dataset=dict(stride=64, **chips))
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
model = dict(
    data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3),
    backbone=dict(in_channels=3, base_channels=4),
    decode_head=dict(in_channels=4, channels=4, num_classes=2),
    auxiliary_head=dict(in_channels=8, channels=4, num_classes=2),
)
{more}
"""


def write_scene(folder: Path) -> None:
    """``scene.tif`` of 160 x 128 pixels, 3 bands, and two buildings in ``labels.gpkg``."""
    write_raster(folder / 'scene.tif', noise((3, 128, 160)))
    shapes = [box(10, 10, 50, 60), box(90, 70, 130, 100)]
    write_labels(folder / 'labels.gpkg', shapes, ['building'] * 2)


def write_seg_config(folder: Path, more: str = '') -> Path:
    """A U-Net of base width 4 on chips of 64 pixels, two iterations.

    Args:
        folder: Where ``scene.tif`` and ``labels.gpkg`` are; the config is written there.
        more: Python lines to append.
    """
    bases = [
        str(CONFIGS / '_base_' / name)
        for name in (
            'models/unet.py',
            'datasets/geo_seg.py',
            'schedules/adamw_2k.py',
            'seg_runtime.py',
        )
    ]
    path = folder / 'tiny.py'
    path.write_text(TINY_SEG.format(bases=bases, root=str(folder), more=more))
    return path
