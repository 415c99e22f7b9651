"""Commands that look into a config: ``browse statistics class-weights anchors print-config``."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from geo_mm import env
from geo_mm.cli.arguments import add_config, add_dask, add_overrides, bar, config_of, overrides
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.errors import counted
from geo_mm.new_config.python_text import assignment
from geo_mm.options import add_options, given

if TYPE_CHECKING:
    from geo_mm.engine.config_data import AnchorReport

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def browse_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add = parser.add_argument
    add('-o', '--output', default='work_dirs/browse', help='folder for the PNG')
    add('-n', '--number', type=int, default=16, help='chips to draw')
    add('--split', choices=('train', 'val', 'test'), default='train')
    add('--columns', type=int, default=4, help='chips per row')


def browse(args: argparse.Namespace) -> None:
    """Draw chips of a config as model input, with labels and valid area.

    Magenta is what takes no part: pixels without data, and boxes of ignored objects.
    """
    config = config_of(args)
    from geo_mm.visualization.chips import browse_chips

    sheet = browse_chips(config, args.split, args.number, args.columns)
    path = Path(args.output, f'{Path(args.config).stem}_{args.split}.png')
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    height, width = sheet.info['size']
    print(f'{sheet.info["number"]} chips of {width} x {height} pixels: {path}')


def statistics_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('config', metavar='source', help='config, catalog, folder, pattern, image or training set')
    add('--json', metavar='FILE', help='write all numbers as JSON, which a config can have as base')
    add('--html', metavar='FILE', help='write a page with plots (a file, or a folder)')
    add_dask(parser, 'read scenes')
    add_overrides(parser)
    add_options(parser, DoctorOptions)


def statistics(args: argparse.Namespace) -> None:
    """Print mean and standard deviation of the scenes to learn from, band by band.

    geo-mm statistics roofs.py --json statistics.json --html statistics.html
    geo-mm statistics ortho --labels roofs.gpkg

    A config that has the JSON among its bases reads both from it:
    mean=_base_.statistics.bands.mean, std=_base_.statistics.bands.std
    """
    import json

    from geo_mm.data_checks.statistics import data_statistics
    from geo_mm.paths import write_text

    source = config_of(args) if args.config.endswith('.py') else args.config
    statistics = data_statistics(
        source, DoctorOptions(**given(args, DoctorOptions)), bar('reading'), cluster=args.dask
    )
    found = statistics.bands
    for name, low, mean, high in zip(found.names, found.min, found.mean, found.max, strict=True):
        print(f'# {name}: {low:g} to {high:g}, mean {mean:g}')
    print(f'mean = [{", ".join(f"{value:.4g}" for value in found.mean)}]')
    print(f'std = [{", ".join(f"{value:.4g}" for value in found.std)}]')
    if args.json:
        print(f'wrote {write_text(args.json, json.dumps(statistics.to_dict(), indent=2))}')
    if args.html:
        from geo_mm.visualization.data_page import write_statistics_page

        print(f'wrote {write_statistics_page(statistics, args.html)}')


class_weights_arguments = add_config


def class_weights(args: argparse.Namespace) -> None:
    """Print how often a config's classes occur in training, and for pixels weights for the loss."""
    config = config_of(args)
    from geo_mm.engine.config_data import train_frequencies

    found = train_frequencies(config, bar('reading'))
    if isinstance(found, dict):
        for name, count in found.items():
            print(f'{name}: {counted(count, "object")}')
        return
    total = max(found.pixels.sum(), 1)
    for name, pixels in zip(found.names, found.pixels, strict=True):
        print(f'# {name}: {pixels / total:.2%} of {total} labelled pixels')
    print(f'class_weight = [{", ".join(f"{weight:.3g}" for weight in found.weights())}]')


def anchors_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, help='config file of a detector with anchors')
    parser.add_argument('-n', '--number', type=int, default=400, help='chips to read')
    parser.add_argument('--write', metavar='FILE', help='a config with the fitted anchors')


def anchors(args: argparse.Namespace) -> None:
    """Print how large a config's objects are, and fit the model's anchors to them.

    Reads training chips as training sees them. An object has a good anchor if one
    of those on its chip reaches the IoU that the config asks of a positive. The
    fit raises the share of such objects and the mean of the objects' best IoUs,
    where all classes count alike.
    """
    config = config_of(args)
    from geo_mm.engine.config_data import fit_config_anchors

    report = fit_config_anchors(config, args.number, bar('reading'))
    objects = report.objects
    count = f'{counted(len(objects.boxes), "object")} on {objects.chips} training chips'
    print(f'{args.config}\n{count}, {objects.empty} of which are empty\n')
    _print_sizes(objects)
    _print_shares(report)
    _print_cells(report)
    text = assignment('model', {report.head: {'anchor_generator': report.settings}})
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


def _write(path: Path, config: Path, count: int, text: str) -> None:
    base = Path(os.path.relpath(config, path.parent)).as_posix()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'# Anchors fitted to {count} objects by geo-mm anchors.\n_base_ = {base!r}\n\n{text}'
    )
    print(f'\nwritten to {path}')


def print_config_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, help='config file, or checkpoint')


def print_config(args: argparse.Namespace) -> None:
    """Print a config with its bases merged and its overrides applied.

    Of a checkpoint (.pth, .safetensors) it prints the config that the model was trained with.
    Variables that only help to write the file are left out.
    """
    env.require()
    from geo_mm.engine.embedded_config import unchecked_config_of
    from geo_mm.engine.launch import load_config, settings_of
    from geo_mm.models.checkpoints import WEIGHTS, read_checkpoint

    config = args.config
    if config.endswith(WEIGHTS):
        config = unchecked_config_of(read_checkpoint(config), config)
    config = load_config(config, overrides(args.cfg_options), name=args.config)
    print(settings_of(config).pretty_text)
