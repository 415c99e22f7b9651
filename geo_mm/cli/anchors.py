"""Print how large a config's objects are, and fit the model's anchors to them.

Reads training chips as training sees them. An object has a good anchor if one
of those on its chip reaches the IoU that the config asks of a positive. The
fit raises the share of such objects and the mean of the objects' best IoUs,
where all classes count alike.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from geo_mm.cli.arguments import add_config, overrides

if TYPE_CHECKING:
    from geo_mm.engine.config_data import AnchorReport

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, help='config file of a detector with anchors')
    parser.add_argument('-n', '--number', type=int, default=400, help='chips to read')
    parser.add_argument('--write', metavar='FILE', help='a config with the fitted anchors')


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from rich.progress import track

    from geo_mm.engine.config_data import fit_config_anchors
    from geo_mm.engine.launch import load_config

    report = fit_config_anchors(
        load_config(args.config, overrides(args.cfg_options)),
        args.number,
        lambda chips: track(chips, description='reading', transient=True),
    )
    objects = report.objects
    count = f'{len(objects.boxes)} objects on {objects.chips} training chips'
    print(f'{args.config}\n{count}, {objects.empty} of which are empty\n')
    _print_sizes(objects)
    _print_shares(report)
    _print_cells(report)
    text = _override(report)
    print(f'\n{text}', end='')
    if args.write:
        _write(Path(args.write), Path(args.config), len(objects.boxes), text)


def _print_sizes(objects) -> None:
    import numpy as np

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


def _print_shares(report: 'AnchorReport') -> None:
    import numpy as np

    objects, good = report.objects, report.good_iou
    grids = report.before, report.after
    print(f'\nobjects with a good anchor, of IoU >= {good}')
    print(f'{"":24}  before   after  objects')
    best = np.stack([grid.iou(objects.boxes, objects.extents).max(axis=1) for grid in grids])
    rows = {objects.names[label]: objects.labels == label for label in np.unique(objects.labels)}
    for name, chosen in {**rows, 'all': np.ones(len(objects.labels), bool)}.items():
        shares = (f'{share:8.1%}' for share in (best[:, chosen] >= good).mean(axis=1))
        print(''.join([f'{name[:23]:24}', *shares, f'{chosen.sum():9}']))
    means = best @ objects.weights
    print(f'{"mean IoU, classes alike":24}{means[0]:8.3f}{means[1]:8.3f}')


def _print_cells(report: 'AnchorReport') -> None:
    cell = report.before.strides.min()
    small = (report.objects.pixels.min(axis=1) < 2 * cell).mean()
    print(
        f'\n{small:.0%} are less than {2 * cell:g} pixels wide or high, two cells of the finest '
        'level: no anchor fits\nthem well. A finer gsd makes them larger in pixels.'
    )


def _override(report: 'AnchorReport') -> str:
    """The part of a config that replaces the anchors."""
    lines = ''.join(
        f'            {key}={_literal(value)},\n' for key, value in report.settings.items()
    )
    return (
        f'model = dict(\n    {report.head}=dict(\n        anchor_generator=dict(\n{lines}'
        '        ),\n    ),\n)\n'
    )


def _literal(value: object) -> str:
    """As Python, one level of the model per line."""
    if not isinstance(value, list) or not isinstance(value[0], list):
        return repr(value)
    rows = ''.join(f'                {row!r},\n' for row in value)
    return f'[\n{rows}            ]'


def _write(path: Path, config: Path, count: int, text: str) -> None:
    base = Path(os.path.relpath(config, path.parent)).as_posix()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'# Anchors fitted to {count} objects by geo-mm anchors.\n_base_ = {base!r}\n\n{text}'
    )
    print(f'\nwritten to {path}')
