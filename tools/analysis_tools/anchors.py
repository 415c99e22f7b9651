"""Print how large a config's objects are, and fit the model's anchors to them.

Reads training chips as training sees them. An object has a good anchor if one
of those on its chip reaches the IoU that the config asks of a positive. The
fit raises the share of such objects and the mean of the objects' best IoUs,
where all classes count alike.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track

from geo_mm import env
from geo_mm.errors import ConfigError, report_errors

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST = 2000
"""Objects of a class that anchors are fitted to: more take longer and change little."""


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a detector with anchors')
    parser.add_argument('-n', '--number', type=int, default=400, help='chips to read')
    parser.add_argument('--write', metavar='FILE', help='a config with the fitted anchors')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    return parser.parse_args()


def main() -> None:
    env.require()
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from geo_mm.datasets import object_sizes
    from geo_mm.engine.launch import explained_config_errors, load_config
    from geo_mm.models import anchor_grid, fit_anchors

    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    head = head_with_anchors(config.model)
    init_default_scope(config.get('default_scope', 'mmengine'))
    with explained_config_errors():
        loader_config = dict(config.train_dataloader, num_workers=0)
        loader_config.pop('persistent_workers', None)
        loader = Runner.build_dataloader(
            loader_config, seed=config.get('randomness', {}).get('seed', 0)
        )
    objects = object_sizes(
        loader, args.number, lambda chips: track(chips, description='reading', transient=True)
    )
    divisor = config.model.data_preprocessor.get('pad_size_divisor', 1)
    objects = replace(objects, extents=np.ceil(objects.extents / divisor) * divisor)
    generator = config.model[head].anchor_generator
    some = objects.some(MOST, np.random.default_rng(0))
    good = good_iou(config.model.train_cfg)
    settings = fit_anchors(generator, some.boxes, some.extents, some.weights, good)
    before, after = anchor_grid(generator), anchor_grid({**generator, **settings})
    count = f'{len(objects.boxes)} objects on {objects.chips} training chips'
    print(f'{args.config}\n{count}, {objects.empty} of which are empty\n')
    print_sizes(objects)
    print_shares(objects, good, before, after)
    print_cells(objects, before)
    text = override(head, settings)
    print(f'\n{text}', end='')
    if args.write:
        write(Path(args.write), Path(args.config), len(objects.boxes), text)


def head_with_anchors(model: dict) -> str:
    """The part of a model that has an anchor generator."""
    for head in ('rpn_head', 'bbox_head'):
        if head in model and 'anchor_generator' in model[head]:
            return head
    raise ConfigError(f'{model.type} has no anchors', 'a detector with an anchor_generator')


def print_sizes(objects) -> None:
    print(''.join([f'{"percentile":24}', *(f'{p:>8}' for p in PERCENTILES)]))
    rows = {}
    for unit, sizes in (('pixels', objects.pixels), ('metres', objects.metres)):
        if np.isfinite(sizes).all():
            rows[f'width, {unit}'] = sizes[:, 0]
            rows[f'height, {unit}'] = sizes[:, 1]
            rows[f'side, {unit}'] = np.sqrt(sizes.prod(axis=1))
    side = np.sqrt(objects.pixels.prod(axis=1))
    for label in np.unique(objects.labels):
        rows[f'side, pixels: {objects.names[label]}'] = side[objects.labels == label]
    rows['height / width'] = objects.pixels[:, 1] / objects.pixels[:, 0]
    for name, values in rows.items():
        cells = (f'{value:8.3g}' for value in np.percentile(values, PERCENTILES))
        print(''.join([f'{name[:23]:24}', *cells]))


def good_iou(train_cfg: dict) -> float:
    """From which IoU the config takes an anchor for a positive; 0.5 if it does not say."""
    return train_cfg.get('rpn', train_cfg).assigner.get('pos_iou_thr', 0.5)


def print_shares(objects, good: float, *grids) -> None:
    print(f'\nobjects with a good anchor, of IoU >= {good}')
    print(f'{"":24}  before   after  objects')
    best = np.stack([grid.iou(objects.boxes, objects.extents).max(axis=1) for grid in grids])
    rows = {objects.names[label]: objects.labels == label for label in np.unique(objects.labels)}
    for name, chosen in {**rows, 'all': np.ones(len(objects.labels), bool)}.items():
        shares = (f'{share:8.1%}' for share in (best[:, chosen] >= good).mean(axis=1))
        print(''.join([f'{name[:23]:24}', *shares, f'{chosen.sum():9}']))
    means = best @ objects.weights
    print(f'{"mean IoU, classes alike":24}{means[0]:8.3f}{means[1]:8.3f}')


def print_cells(objects, grid) -> None:
    cell = grid.strides.min()
    small = (objects.pixels.min(axis=1) < 2 * cell).mean()
    print(
        f'\n{small:.0%} are less than {2 * cell:g} pixels wide or high, two cells of the finest '
        'level: no anchor fits\nthem well wherever they lie. A finer gsd makes them larger.'
    )


def override(head: str, settings: dict) -> str:
    lines = ''.join(f'            {key}={literal(value)},\n' for key, value in settings.items())
    return (
        f'model = dict(\n    {head}=dict(\n        anchor_generator=dict(\n{lines}'
        '        ),\n    ),\n)\n'
    )


def literal(value: object) -> str:
    """As Python, one level of the model per line."""
    if not isinstance(value, list) or not isinstance(value[0], list):
        return repr(value)
    rows = ''.join(f'                {row!r},\n' for row in value)
    return f'[\n{rows}            ]'


def write(path: Path, config: Path, count: int, text: str) -> None:
    base = Path(os.path.relpath(config, path.parent)).as_posix()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'# Anchors fitted to {count} objects by tools/analysis_tools/anchors.py.\n'
        f'_base_ = {base!r}\n\n{text}'
    )
    print(f'\nwritten to {path}')


if __name__ == '__main__':
    with report_errors():
        main()
