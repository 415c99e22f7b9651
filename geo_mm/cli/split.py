"""Divide scenes among train, val and test so that no two splits share ground.

geo-mm split catalog.csv -o splits.gpkg --by block --block-size 200
geo-mm split 'ortho/*.tif' --labels roofs.gpkg -o splits.gpkg --fractions 0.8 0.2
geo-mm split catalog.gpkg -o folds.gpkg --folds 5

The catalog that is written names the split of each scene, or of each part of one:
the geometry of a row is the ground that belongs to it, and nothing outside is
learned from or scored. In a GIS it is a map of the splits.
"""

import argparse

from geo_mm.catalog.split_options import SplitOptions
from geo_mm.cli.arguments import add_options, given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('scenes', nargs='+', help='catalog, images, patterns or training sets of other programs')
    add('-o', '--out', required=True, help='catalog to write: .gpkg, .geojson or .csv')
    add('--labels', help='labels of images; {stem} stands for the name of an image')
    add_options(parser, SplitOptions)


def run(args: argparse.Namespace) -> None:
    from rich.progress import track

    from geo_mm.catalog.entries import read_catalog, write_catalog
    from geo_mm.catalog.splits import split_entries

    scenes: list = args.scenes
    if args.labels is not None:
        scenes = [{'image': image, 'labels': args.labels} for image in scenes]
    entries = read_catalog(scenes[0] if len(scenes) == 1 else scenes)
    found = split_entries(
        entries,
        SplitOptions(**given(args, SplitOptions)),
        progress=lambda items: track(items, description='opening scenes', transient=True),
    )
    path = write_catalog(found.entries, found.outlines, args.out)
    total = sum(found.areas) + found.left_out
    for name, area in zip(found.names, found.areas, strict=True):
        rows = sum(entry.split == name for entry in found.entries)
        print(f'{name}: {area / total:.1%}, {rows} scenes or parts of scenes')
    block = '' if found.block_size is None else f', blocks of {found.block_size:.4g} m'
    print(f'buffer of {found.buffer:.4g} m: {found.left_out / total:.1%} left out{block}')
    print(f'wrote {path}')
