"""Make a catalog of the scenes that one has: a table with a row for each, and a map.

geo-mm catalog ortho -o catalog.gpkg
geo-mm catalog 'images/*.tif' --labels 'masks/*.png' -o catalog.gpkg
geo-mm catalog 's2/*_{band}.jp2' --bands B02 B03 B04 B08 -o catalog.gpkg
geo-mm catalog 's2/*.tif' --role s1='s1/*.tif' -o catalog.gpkg
geo-mm catalog items.json -o catalog.gpkg

Each scene is opened once. The geometry of a row is the outline of its valid pixels;
columns tell date, CRS, GSD, size, bands, data type, nodata and blocks.
"""

import argparse

from geo_mm.errors import GeoMMError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'scenes',
        nargs='+',
        help='folders, patterns, images, tables, STAC items or training sets of other programs',
    )
    add('-o', '--out', required=True, help='catalog to write: .gpkg, .geojson or .csv')
    add('--labels', help='labels of an image: {stem} is its name, * what its own * stands for')
    add(
        '--role',
        action='append',
        default=[],
        metavar='ROLE=FILES',
        help='files of a further role, as --labels; the images are those of the role `image`',
    )
    add('--bands', nargs='+', metavar='BAND', help='what {band} stands for, in this order')


def run(args: argparse.Namespace) -> None:
    from rich.progress import track

    from geo_mm.catalog.entries import write_catalog
    from geo_mm.catalog.inventory import describe_scenes, find_scenes

    for text in args.role:
        if '=' not in text:
            raise GeoMMError(f'--role {text}', 'ROLE=FILES, such as s1=s1/*.tif')
    roles = dict(text.split('=', 1) for text in args.role)
    found = find_scenes(args.scenes, labels=args.labels, roles=roles, bands=args.bands)
    entries, outlines = describe_scenes(
        found, lambda items: track(items, description='opening scenes', transient=True)
    )
    path = write_catalog(entries, outlines, args.out)
    labelled = sum(entry.labels is not None for entry in entries)
    print(f'wrote {path}: {len(entries)} scenes, {labelled} of them with labels')
