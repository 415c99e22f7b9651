"""``geo-mm weights``."""

import argparse

from geo_mm.errors import ConfigError
from geo_mm.new_config.weights import (
    WeightsOptions,
    about_weights,
    find_weights,
    weights_config,
    weights_markdown,
    weights_rows,
)
from geo_mm.options import add_options, given


def weights_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('name', nargs='?', help='say all about these weights, with the lines of a config')
    add_options(parser, WeightsOptions)
    add('--download', action='store_true', help='download the weights that are named')
    add('--json', action='store_true', help='print facts as JSON')
    add('--markdown', action='store_true', help='print the table of the documentation')


def weights(args: argparse.Namespace) -> None:
    """List published weights to start from, or say all about some.

        geo-mm weights --bands B2 B3 B4 B8 --sensor sentinel-2
        geo-mm weights ssl4eo-s12-moco-r50 --bands red green blue nir

    They are downloaded when training first needs them, or with --download, into the
    folder GEO_MM_WEIGHTS, else that of PyTorch Hub.
    """
    import json

    from geo_mm.models.pretrained import fetch_weights, pretrained_set

    if args.markdown:
        print(weights_markdown())
        return
    options = WeightsOptions(**given(args, WeightsOptions))
    if args.download and not args.name:
        raise ConfigError('--download without a name', 'one of the names that are listed')
    chosen = [pretrained_set(args.name)] if args.name else find_weights(options)
    if args.download:
        path = fetch_weights(chosen[0])
    rows = weights_rows(chosen, options)
    if args.json:
        print(json.dumps(rows))
    elif args.download:
        print(path)
    elif args.name:
        print(args.name)
        for label, text in about_weights(chosen[0]):
            print(f'  {label:12}  {text}')
        if chosen[0].loads:
            print(f'\n{weights_config(chosen[0], options.bands, options.sensor)}', end='')
    else:
        _print_table(rows, options)


def _print_table(rows: list[dict], options: WeightsOptions) -> None:
    lines = [('name', 'backbone', 'sensor', 'bands', 'GSD', 'licence', 'MB', 'here')]
    for row in rows:
        bands = str(len(row['bands']) or 'any')
        if options.bands and row['bands']:
            bands = f'{len(row["matches"])} of {len(options.bands)}, {bands} in all'
        size = f'{row["parameters"] * 4 / 1e6:.0f}' if row['parameters'] else ''
        gsd = f'{row["gsd"]:g} m' if row['gsd'] else ''
        licence = row['licence'].partition(' (')[0]
        here = 'yes' if row['here'] else ''
        lines.append(
            (row['name'], row['arch'], row['sensor'], bands, gsd, licence, size, here),
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            '  '.join(f'{cell:<{width}}' for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    if not rows:
        print('none match: leave out an option, or add --all')
