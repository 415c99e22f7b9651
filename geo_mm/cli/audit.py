"""Measure what train, val and test of a config share on the ground.

geo-mm audit configs/unet/unet_banepa.py -o audit
geo-mm audit splits.gpkg --chip-size 256 --map 'country/*.tif'

Scenes of any CRS and date are compared. The folder gets a map (audit.png, and
audit.gpkg for a GIS) and all numbers (audit.json). The exit status is 1 if the
model is scored on ground that it has learned from.
"""

import argparse

from geo_mm.cli.arguments import add_config, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, help='config file, or catalog with splits')
    add = parser.add_argument
    add('-o', '--out', default='work_dirs/audit', help='folder to write to')
    add(
        '--map',
        nargs='+',
        default=[],
        metavar='SCENE',
        help='scenes that will be predicted: are they farther from training than validation is?',
    )
    add(
        '--chip-size',
        type=int,
        default=256,
        metavar='PIXELS',
        help='side of a chip, of a catalog; a config has its own (default: 256)',
    )


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from geo_mm.catalog import read_catalog
    from geo_mm.catalog.audit import audit_splits, catalog_scenes
    from geo_mm.catalog.ground import read_ground
    from geo_mm.catalog.tables import SUFFIXES
    from geo_mm.visualization.audit_map import write_audit

    if Path(args.config).suffix.lower() in SUFFIXES:
        splits, chip = catalog_scenes(read_catalog(args.config), args.chip_size)
    else:
        from geo_mm import env

        env.require()
        from geo_mm.engine.config_data import audited_scenes
        from geo_mm.engine.launch import load_config

        splits, chip = audited_scenes(load_config(args.config, overrides(args.cfg_options)))
    entries = read_catalog(args.map) if args.map else []
    places = [ground.outline for ground in map(read_ground, entries) if ground.outline is not None]
    audit = audit_splits(splits, chip, places)
    for name, scenes in audit.splits.items():
        print(f'{name}: {len(scenes)} scenes or parts, {audit.area(name):.4g} km2')
    for pair in audit.pairs:
        apart = '' if pair.distance is None else f'at least {pair.distance:.4g} m apart, '
        shift = '' if pair.shift is None else f', classes differ by {pair.shift:.1%}'
        print(f'{pair.first} and {pair.second}: {apart}{len(pair.overlaps)} overlaps{shift}')
    print('\n'.join(audit.findings()) or 'no findings')
    print(f'wrote {write_audit(audit, args.out)}')
    return int(audit.leaks)
