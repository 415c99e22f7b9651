"""``geo-mm evaluate``."""

import argparse
import logging
import os
import sys

from geo_mm.errors import LabelError


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
    add('--class-column', help="attribute with the class (default: 'class')")
    add(
        '--class-map',
        nargs='+',
        default=[],
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
    from geo_mm.evaluation.report import write_report
    from geo_mm.evaluation.scenes import pair_scenes
    from geo_mm.evaluation.tables import show
    from geo_mm.raster.handles import is_raster

    pairs = pair_scenes(args.pred, args.truth)
    rasters = [is_raster(pred) for _, pred, _ in pairs]
    if all(rasters):
        result, images = _evaluate_rasters(args, pairs), None
    else:
        _refuse_rasters(pairs)
        result = _evaluate_vectors(args, pairs)
        images = _backdrops(args, result)
    show(result)
    if args.out:
        title = f'{args.pred} against {args.truth}'
        for path in write_report(result, args.out, title=title, images=images):
            print(f'  {path}')


def _evaluate_rasters(args: argparse.Namespace, pairs: list):
    from geo_mm.evaluation import PixelSettings, evaluate_pixels
    from geo_mm.evaluation.records import parse_class_names

    settings = PixelSettings(
        class_names=parse_class_names(args.classes) if args.classes else None,
        truth_names=parse_class_names(args.truth_classes) if args.truth_classes else None,
        ignore=args.ignore,
        class_column=args.class_column or 'class',
        class_map=_class_map(args.class_map),
        background=args.background,
    )
    return evaluate_pixels(pairs, settings, aoi=args.aoi, area=args.area, progress=_started)


def _evaluate_vectors(args: argparse.Namespace, pairs: list):
    from geo_mm.evaluation import ObjectSettings, evaluate_objects

    settings = ObjectSettings(
        iou=args.iou,
        coco=args.coco,
        class_column=args.class_column or 'class',
        truth_class_column=args.truth_class_column,
        one_class=args.one_class,
        class_map=_class_map(args.class_map),
        classes=args.classes,
        score_column=None if args.no_score else args.score_column,
        min_score=args.min_score,
        boxes=args.boxes,
        size_limits=_size_limits(args.size_classes),
        point_size=args.point_size,
    )
    if args.aoi is None and args.area is None:
        _warn_of_windows(pairs)
    return evaluate_objects(pairs, settings, aoi=args.aoi, area=args.area, progress=_started)


def _warn_of_windows(pairs: list) -> None:
    """Says so where objects are looked for outside what was predicted."""
    from geo_mm.evaluation.records import Record

    for _, pred, _ in pairs:
        record = Record.of(pred)
        if record is not None and record.is_part:
            logging.warning(
                '%s was predicted in a window of its scene; true objects outside count as false '
                'negatives, unless --area or --aoi leaves them out',
                pred,
            )


def _refuse_rasters(pairs: list) -> None:
    from geo_mm.raster.handles import is_raster

    for _, *paths in pairs:
        for path in paths:
            if is_raster(path):
                raise LabelError(
                    f'{path} is a raster, but not everything compared is',
                    'a class raster as prediction (the ground truth may be either), or objects in '
                    'both',
                    'vectorise the raster first, or evaluate rasters and layers in turn',
                )


def _class_map(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if '=' not in text]
    if wrong:
        raise LabelError(f'--class-map {" ".join(wrong)}', 'VALUE=CLASS')
    return dict(text.rsplit('=', 1) for text in texts)


def _size_limits(text: str | None) -> list[float]:
    try:
        return [float(limit) for limit in text.split(',')] if text else []
    except ValueError:
        raise LabelError(
            f'--size-classes {text}', 'areas in m2 separated by commas, such as 50,200'
        ) from None


def _backdrops(args: argparse.Namespace, result) -> dict | None:
    """The scenes to draw the maps on, as far as they were scored."""
    if not args.image or not args.out:
        return None
    from geo_mm.evaluation.area import window_of
    from geo_mm.evaluation.maps import Backdrop
    from geo_mm.evaluation.scenes import pair_scenes
    from geo_mm.raster import Scene
    from geo_mm.visualization.rgb import to_rgb

    images = {}
    areas = {scene.name: scene.areas for scene in result.scenes}
    for name, _, path in pair_scenes(args.pred, args.image):
        scene = Scene.open(path)
        part = window_of([area.onto(scene) for area in areas[name]], scene.grid)
        scene = scene.crop(part) if part.area else scene
        data, valid, grid = scene.read_overview(1600)
        picture = to_rgb(data, valid, scene.band_names)
        picture[~valid] = 255
        images[name] = Backdrop(picture, grid, os.path.abspath(path))
    return images


def _started(name: str) -> None:
    print(f'{name} ...', file=sys.stderr)
