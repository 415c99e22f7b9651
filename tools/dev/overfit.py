"""Overfit four chips (sanity check): train on them and score on the same four.

A model that cannot overfit four chips is set up wrongly: boxes, labels, masks,
normalisation or decoding do not agree. Prints the scores and
exits with 1 if the main one is below --least.
"""

import argparse
from dataclasses import asdict

import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from geo_mm.catalog import CatalogEntry, LabelledScene, read_catalog
from geo_mm.classes import IGNORE
from geo_mm.datasets import chip_datasets
from geo_mm.engine.launch import build_runner, explained_config_errors, load_config
from geo_mm.errors import report_errors
from geo_mm.raster import Window


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--iters', type=int, default=300)
    parser.add_argument('--lr', type=float, default=5e-4, help='of AdamW')
    parser.add_argument('--chip-size', type=int, help="pixels (default: the config's)")
    parser.add_argument('--work-dir', default='work_dirs/overfit')
    parser.add_argument('--least', type=float, default=0.9, help='AP50, or IoU in 0..1')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    config.work_dir = args.work_dir
    _, scores = overfit(config, args.iters, args.lr, args.chip_size)
    print({key: round(value, 3) for key, value in scores.items()})
    main_score = scores.get('coco/bbox_mAP_50', scores.get('mIoU', 0) / 100)
    return int(main_score < args.least)


def overfit(
    config: Config, iters: int, lr: float, chip_size: int | None = None
) -> tuple[Runner, dict[str, float]]:
    """Trains on four chips, and scores the same four.

    Args:
        config: Of a run over our datasets, with a ``work_dir``; changed in place.
        iters: Iterations, with a batch of four each.
        lr: Learning rate of AdamW.
        chip_size: Side of the chips in pixels; None takes the config's.

    Returns:
        The runner, and the config's metrics.
    """
    init_default_scope(config.default_scope)
    if chip_size is not None:
        for loader in (config.train_dataloader, config.val_dataloader):
            loader.dataset.chip_size = chip_size
    with explained_config_errors():
        use_four_chips(config)
        use_short_schedule(config, iters, lr)
        runner = build_runner(config)
        runner.train()
    return runner, {key: float(value) for key, value in runner.val_loop.run().items()}


def use_four_chips(config: Config) -> None:
    """Cuts the first scene down to 2 x 2 chips that show something of every class."""
    chips = chip_datasets(DATASETS.build(config.train_dataloader.dataset))[0][1]
    entry = read_catalog(chips.scenes, root=chips.data_root or '', split=chips.split)[0]
    labelled = chips.labelled[0]
    height, width = (2 * side for side in chips.chip_size)
    x, y = best_corner(labelled, width, height, chips.objects)
    left, top, right, bottom = entry.area or (0, 0, 1, 1)
    # Fractions of the whole scene, which chips.labelled[0] may be a part of.
    full_width = labelled.scene.width / (right - left)
    full_height = labelled.scene.height / (bottom - top)
    left, top = left + x / full_width, top + y / full_height
    area = (left, top, min(left + width / full_width, 1), min(top + height / full_height, 1))
    part = asdict(CatalogEntry(**{**asdict(entry), 'area': area, 'split': None}))
    scenes = [{key: value for key, value in part.items() if value is not None}]
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.update(scenes=scenes, stride=chips.chip_size[0])
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
    config.train_dataloader.dataset.pipeline = config.test_dataloader.dataset.pipeline
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=False)


def best_corner(labelled: LabelledScene, width: int, height: int, objects: bool) -> tuple[int, int]:
    """Upper left corner of the window with the most of its rarest class, on a coarse grid."""
    scene = labelled.scene
    windows = [
        Window(x, y, width, height)
        for y in range(0, max(scene.height - height, 0) + 1, height // 4)
        for x in range(0, max(scene.width - width, 0) + 1, width // 4)
    ]
    counts = class_counts(labelled, windows, objects)
    counts = counts[:, counts.any(axis=0)]
    best = windows[max(range(len(windows)), key=lambda i: (counts[i].min(), counts[i].sum()))]
    return best.col_off, best.row_off


def class_counts(labelled: LabelledScene, windows: list[Window], objects: bool) -> np.ndarray:
    """Objects, or pixels, of each class ``(windows, classes)``."""
    if objects:
        points, classes = labelled.points()
        found = [
            classes[
                (points >= (w.col_off, w.row_off)).all(axis=1)
                & (points < (w.col_end, w.row_end)).all(axis=1)
            ]
            for w in windows
        ]
    else:
        found = [labelled.labels.classes(window).ravel() for window in windows]
    usable = [part[(part >= 0) & (part < IGNORE)] for part in found]
    return np.array([np.bincount(part, minlength=IGNORE) for part in usable])


def use_short_schedule(config: Config, iters: int, lr: float) -> None:
    config.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=iters, val_interval=iters, val_begin=iters
    )
    config.optim_wrapper.optimizer = dict(type='AdamW', lr=lr, weight_decay=0.0)
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=max(iters // 10, 1), by_epoch=False),
        dict(
            type='CosineAnnealingLR',
            begin=max(iters // 10, 1),
            end=iters,
            eta_min=0,
            by_epoch=False,
        ),
    ]
    config.default_hooks.checkpoint.interval = iters


if __name__ == '__main__':
    with report_errors():
        raise SystemExit(main())
