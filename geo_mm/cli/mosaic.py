"""``geo-mm mosaic``."""

import argparse
import sys

from geo_mm.mosaics.options import MosaicOptions
from geo_mm.options import add_options, given


def mosaic_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('folder', metavar='OUT', help='folder of the results, as given with -o to predict')
    add(
        '-o',
        '--out',
        required=True,
        metavar='MAP',
        help='what to write, without a suffix, such as city; the suffix of a layer (.gpkg, '
        '.parquet, .fgb, .geojson) chooses the format of layers',
    )
    add_options(parser, MosaicOptions)


def mosaic(args: argparse.Namespace) -> None:
    """Make one map of the results of many scenes that touch or overlap.

        geo-mm mosaic out -o city

    Objects that several scenes see, or that their borders cut, become one; rasters
    one raster. city_scenes.gpkg has the footprints and what was found in each.
    """
    from rich.progress import Progress

    from geo_mm.inference.status import prediction_status
    from geo_mm.mosaics import mosaic

    status = prediction_status(args.folder)
    if status.counts['done'] < status.total:
        print(
            f'{status.total - status.counts["done"]:,} of {status.total:,} scenes have no result '
            f'yet: geo-mm status {args.folder}',
            file=sys.stderr,
        )
    with Progress(transient=True) as bar:
        task = bar.add_task('raster', total=None)
        written = mosaic(
            args.folder,
            args.out,
            MosaicOptions(**given(args, MosaicOptions)),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for path in written:
        print(f'wrote {path}')
