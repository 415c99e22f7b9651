"""``geo-mm evaluate``."""

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from geo_mm.cli.arguments import add_dask
from geo_mm.errors import LabelError
from geo_mm.options import KeyValues

if TYPE_CHECKING:
    from geo_mm.evaluation import ObjectSettings, PixelSettings


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('pred', help='what was predicted: file or pattern in quotes')
    add('truth', help='ground truth: file or pattern in quotes')
    add('-o', '--out', help='folder for metrics.json, report.html and matches.gpkg')
    add('--aoi', help='polygons (or a raster: its footprint) inside which results count')
    add(
        '--area',
        nargs=4,
        type=float,
        metavar=('LEFT', 'TOP', 'RIGHT', 'BOTTOM'),
        help='part of each scene, as fractions 0..1 of it, inside which results count: what '
        'configs call area',
    )
    add_dask(parser, 'compare scenes')
    add('--class-column', help="attribute with the class (default: 'class')")
    add(
        '--class-map',
        nargs='+',
        action=KeyValues,
        default={},
        metavar='VALUE=CLASS',
        help="classes of values of the ground truth; 'VALUE=ignore' excludes areas",
    )
    add(
        '--classes',
        nargs='+',
        help='objects: the only classes to compare; '
        'rasters: their names, from 0 on or as 1=water 2=land',
    )
    objects = parser.add_argument_group('objects')
    add = objects.add_argument
    add(
        '--iou',
        type=float,
        default=0.5,
        help='least intersection over union of a true positive (default: 0.5)',
    )
    add('--coco', action='store_true', help='also average over IoU 0.50, 0.55 ... 0.95')
    add(
        '--truth-class-column',
        help='attribute with the class in the ground truth, if called otherwise',
    )
    add('--one-class', action='store_true', help='take all objects as one class')
    add('--score-column', default='score', help="attribute with the confidence (default: 'score')")
    add('--no-score', action='store_true', help='take no confidences')
    add('--min-score', type=float, help='least confidence of predictions that are counted')
    add('--boxes', action='store_true', help='compare bounding boxes instead of outlines')
    add(
        '--size-classes',
        metavar='M2,M2',
        help='limits between size classes in m2 on the ground, such as 50,200',
    )
    add('--point-size', type=float, help='metres: points are squares of this side')
    add('--image', help='scene (or pattern) to draw the map on')
    rasters = parser.add_argument_group('rasters')
    add = rasters.add_argument
    add('--truth-classes', nargs='+', help='names in the true raster, if its numbers differ')
    add('--ignore', nargs='+', type=int, default=[], help='class numbers to leave out besides 255')
    add('--background', type=int, default=0, help='class of pixels under no true polygon')


def evaluate(args: argparse.Namespace) -> None:
    """Compare results with ground truth, on the map.

    Objects (GeoPackage, GeoJSON, ...) are matched one to one; class rasters are
    compared pixel by pixel, with a raster or a vector layer as ground truth. Patterns
    such as 'out/*.gpkg' evaluate several scenes, paired by file name.

        geo-mm evaluate out/town_3.gpkg labels/town_3.gpkg -o out/evaluation
        geo-mm evaluate out/town_3.tif labels/town_3.gpkg --aoi test_area.gpkg
        geo-mm evaluate out/banepa_a.gpkg banepa_a_buildings.geojson --area 0.667 0 1 1
    """
    logging.basicConfig(format='%(levelname)s: %(message)s', level=logging.WARNING)
    from geo_mm.evaluation.objects import ObjectEvaluation
    from geo_mm.evaluation.report import write_report
    from geo_mm.evaluation.scenes import backdrops, evaluate_files
    from geo_mm.evaluation.tables import show

    result = evaluate_files(
        args.pred,
        args.truth,
        _object_settings(args),
        _pixel_settings(args),
        aoi=args.aoi,
        area=args.area,
        progress=_started,
        cluster=args.dask,
    )
    images = None
    if args.image and args.out and isinstance(result, ObjectEvaluation):
        images = backdrops(result, args.pred, args.image)
    show(result)
    if args.out:
        title = f'{args.pred} against {args.truth}'
        for path in write_report(result, args.out, title=title, images=images):
            print(f'  {path}')


def _pixel_settings(args: argparse.Namespace) -> 'PixelSettings':
    from geo_mm.evaluation import PixelSettings
    from geo_mm.evaluation.records import parse_class_names

    return PixelSettings(
        class_names=parse_class_names(args.classes) if args.classes else None,
        truth_names=parse_class_names(args.truth_classes) if args.truth_classes else None,
        ignore=args.ignore,
        class_column=args.class_column or 'class',
        class_map=args.class_map,
        background=args.background,
    )


def _object_settings(args: argparse.Namespace) -> 'ObjectSettings':
    from geo_mm.evaluation import ObjectSettings

    return ObjectSettings(
        iou=args.iou,
        coco=args.coco,
        class_column=args.class_column or 'class',
        truth_class_column=args.truth_class_column,
        one_class=args.one_class,
        class_map=args.class_map,
        classes=args.classes,
        score_column=None if args.no_score else args.score_column,
        min_score=args.min_score,
        boxes=args.boxes,
        size_limits=_size_limits(args.size_classes),
        point_size=args.point_size,
    )


def _size_limits(text: str | None) -> list[float]:
    try:
        return [float(limit) for limit in text.split(',')] if text else []
    except ValueError:
        raise LabelError(
            f'--size-classes {text}', 'areas in m2 separated by commas, such as 50,200'
        ) from None


def _started(name: str) -> None:
    print(f'{name} ...', file=sys.stderr)
