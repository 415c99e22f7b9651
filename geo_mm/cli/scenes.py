"""``geo-mm catalog``, ``split``, ``audit``, ``doctor`` and ``export-chips``: scenes with labels."""

import argparse
from typing import TYPE_CHECKING

from geo_mm import env
from geo_mm.catalog.split_options import SplitOptions
from geo_mm.catalog.stac_search import StacSearch
from geo_mm.chip_export import ExportOptions
from geo_mm.cli.arguments import add_config, add_dask, add_overrides, bar, config_of, overrides
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.errors import ConfigError, GeoMMError, counted
from geo_mm.options import add_options, given

if TYPE_CHECKING:
    from geo_mm.catalog import CatalogEntry, SceneOptions
    from geo_mm.classes import ClassSet
    from geo_mm.labels import LabelOptions

    Source = tuple[list[CatalogEntry], ClassSet, SceneOptions, LabelOptions]


_OUT = 'catalog to write: .gpkg, .geojson, .parquet or .csv'


def catalog_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'scenes',
        nargs='*',
        help='folders, patterns, images, tables, STAC items or training sets of other programs',
    )
    add('-o', '--out', required=True, help=_OUT)
    add('--labels', help='labels of an image: {stem} is its name, * what its own * stands for')
    add(
        '--role',
        action='append',
        default=[],
        metavar='ROLE=FILES',
        help='files of a further role, as --labels; the images are those of the role `image`',
    )
    add(
        '--bands',
        nargs='+',
        metavar='BAND',
        help='what {band} stands for, in this order; of STAC items the assets to take',
    )
    add_dask(parser, 'open scenes')
    add_options(parser, StacSearch)


def catalog(args: argparse.Namespace) -> None:
    """Make a catalog of the scenes that one has: a table with a row for each, and a map.

    geo-mm catalog ortho -o catalog.gpkg
    geo-mm catalog 'images/*.tif' --labels 'masks/*.png' -o catalog.gpkg
    geo-mm catalog 's2/*_{band}.jp2' --bands B02 B03 B04 B08 -o catalog.gpkg
    geo-mm catalog 's2/*.tif' --role s1='s1/*.tif' -o catalog.gpkg
    geo-mm catalog items.json -o catalog.gpkg
    geo-mm catalog --stac https://earth-search.aws.element84.com/v1 --collections sentinel-2-l2a
        --bbox 85.5 27.6 85.6 27.7 --datetime 2024-11 --bands red green blue nir -o catalog.gpkg

    Each scene is opened once. The geometry of a row is the outline of its valid pixels;
    columns tell date, CRS, GSD, size, bands, data type, nodata and blocks.
    """
    from geo_mm.catalog.entries import write_catalog
    from geo_mm.catalog.inventory import describe_scenes, find_entries

    for text in args.role:
        if '=' not in text:
            raise GeoMMError(f'--role {text}', 'ROLE=FILES, such as s1=s1/*.tif')
    roles = dict(text.split('=', 1) for text in args.role)
    search = StacSearch(**given(args, StacSearch))
    if not args.scenes and search == StacSearch():
        raise GeoMMError('no scenes', 'folders, patterns, tables or STAC items; or --stac URL')
    found = find_entries(
        args.scenes,
        labels=args.labels,
        roles=roles,
        bands=args.bands,
        search=None if search == StacSearch() else search,
    )
    entries, outlines = describe_scenes(found, bar('opening scenes'), cluster=args.dask)
    path = write_catalog(entries, outlines, args.out)
    labelled = sum(entry.labels is not None for entry in entries)
    print(f'wrote {path}: {counted(len(entries), "scene")}, {labelled} of them with labels')


def split_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('scenes', nargs='+', help='catalog, images, patterns or training sets of other programs')
    add('-o', '--out', required=True, help=_OUT)
    add('--labels', help='labels of images; {stem} stands for the name of an image')
    add_options(parser, SplitOptions)


def split(args: argparse.Namespace) -> None:
    """Divide scenes among train, val and test so that no two splits share ground.

    geo-mm split catalog.csv -o splits.gpkg --by block --block-size 200
    geo-mm split 'ortho/*.tif' --labels roofs.gpkg -o splits.gpkg --fractions 0.8 0.2
    geo-mm split catalog.gpkg -o folds.gpkg --folds 5

    The catalog that is written names the split of each scene, or of each part of one:
    the geometry of a row is the ground that belongs to it, and nothing outside is
    learned from or scored. In a GIS it is a map of the splits.
    """
    from geo_mm.catalog.entries import read_catalog, write_catalog
    from geo_mm.catalog.splits import split_entries

    scenes: list = args.scenes
    if args.labels is not None:
        scenes = [{'image': image, 'labels': args.labels} for image in scenes]
    entries = read_catalog(scenes[0] if len(scenes) == 1 else scenes)
    found = split_entries(
        entries,
        SplitOptions(**given(args, SplitOptions)),
        progress=bar('opening scenes'),
    )
    path = write_catalog(found.entries, found.outlines, args.out)
    total = sum(found.areas) + found.left_out
    for name, area in zip(found.names, found.areas, strict=True):
        rows = sum(entry.split == name for entry in found.entries)
        print(f'{name}: {area / total:.1%}, {rows} scenes or parts of scenes')
    block = '' if found.block_size is None else f', blocks of {found.block_size:.4g} m'
    print(f'buffer of {found.buffer:.4g} m: {found.left_out / total:.1%} left out{block}')
    print(f'wrote {path}')


def audit_arguments(parser: argparse.ArgumentParser) -> None:
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


def audit(args: argparse.Namespace) -> int:
    """Measure what train, val and test of a config share on the ground.

    geo-mm audit configs/unet/unet_banepa.py -o audit
    geo-mm audit splits.gpkg --chip-size 256 --map 'country/*.tif'

    Scenes of any CRS and date are compared. The folder gets a map (audit.png, and
    audit.gpkg for a GIS) and all numbers (audit.json). The exit status is 1 if the
    model is scored on ground that it has learned from.
    """
    from pathlib import Path

    from geo_mm.catalog import read_catalog
    from geo_mm.catalog.audit import audit_splits, catalog_scenes
    from geo_mm.catalog.ground import read_ground
    from geo_mm.catalog.tables import SUFFIXES
    from geo_mm.visualization.audit_map import write_audit

    if Path(args.config).suffix.lower() in SUFFIXES:
        splits, chip = catalog_scenes(read_catalog(args.config), args.chip_size)
    else:
        config = config_of(args)
        from geo_mm.engine.config_data import audited_scenes

        splits, chip = audited_scenes(config)
    entries = read_catalog(args.map) if args.map else []
    places = [ground.outline for ground in map(read_ground, entries) if ground.outline is not None]
    audit = audit_splits(splits, chip, places)
    for name, scenes in audit.splits.items():
        print(f'{name}: {len(scenes)} scenes or parts, {audit.area(name):.4g} km2')
    for pair in audit.pairs:
        apart = '' if pair.distance is None else f'at least {pair.distance:.4g} m apart, '
        shift = '' if pair.shift is None else f', classes differ by {pair.shift:.1%}'
        overlaps = counted(len(pair.overlaps), 'overlap')
        print(f'{pair.first} and {pair.second}: {apart}{overlaps}{shift}')
    print('\n'.join(audit.findings()) or 'no findings')
    print(f'wrote {write_audit(audit, args.out)}')
    return int(audit.leaks)


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('config', metavar='source', help='config, catalog, folder, pattern, image or training set')
    add('--json', metavar='FILE', help='write the findings as JSON')
    add('--html', metavar='FILE', help='write a page with maps and plots (a file, or a folder)')
    add(
        '--fail-on',
        choices=('error', 'warning'),
        default='error',
        help='from which severity the exit status is 1 (default: error)',
    )
    add_dask(parser, 'look at scenes')
    add_overrides(parser)
    add_options(parser, DoctorOptions)


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong with data, before a model is trained on them.

    geo-mm doctor roofs.py --html doctor.html
    geo-mm doctor ortho --labels roofs.gpkg --class-column roof
    geo-mm doctor catalog.gpkg --json doctor.json --fail-on warning

    Images, labels and splits are checked, the worst is said first. The exit status
    is 1 if there is an error (or warning, see --fail-on), else 0.
    """
    import json
    import shutil

    from geo_mm.data_checks.diagnosis import doctor
    from geo_mm.paths import write_text

    source = config_of(args) if args.config.endswith('.py') else args.config
    options = DoctorOptions(**given(args, DoctorOptions))
    found = doctor(source, options, bar('looking at scenes'), cluster=args.dask)
    width = min(shutil.get_terminal_size().columns, 100)
    for finding in found.findings:
        print(f'{finding.text(width)}\n')
    print(found.summary())
    if args.json:
        print(f'wrote {write_text(args.json, json.dumps(found.to_dict(), indent=2))}')
    if args.html:
        from geo_mm.visualization.data_page import write_doctor_page

        print(f'wrote {write_doctor_page(found, args.html)}')
    return int(found.fails(args.fail_on))


def export_chips_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('source', nargs='?', help='config (.py), catalog, or training set of another program')
    add('--images', nargs='+', metavar='IMAGE', help='or images, or patterns in quotes')
    add('--labels', metavar='FILE', help='of --images; {stem} stands for the name of the image')
    add('--aoi', metavar='FILE', help='of --images: polygons inside which labels are complete')
    add('-o', '--out', required=True, help='folder to make')
    add('--split', help='split of the catalog to export (default: train of a config, else all)')
    add('--classes', nargs='+', metavar='NAME', help='classes (default: those of the labels)')
    add('--class-column', metavar='COLUMN', help='attribute of layers that holds the class')
    add('--bands', nargs='+', metavar='NAME', help='bands (default: all)')
    add('--gsd', type=float, metavar='METRES', help='metres per pixel (default: of each scene)')
    add_overrides(parser)
    add_options(parser, ExportOptions)


def export_chips(args: argparse.Namespace) -> None:
    """Cut labelled scenes into chips, and write them as ArcGIS, COCO, VOC or YOLO want them.

    geo-mm export-chips roofs.py -o chips --metadata-format RCNN_Masks
    geo-mm export-chips --images 'ortho/*.tif' --labels roofs.gpkg -o chips
    geo-mm export-chips catalog.csv -o chips --classes roof tree --class-column kind
    geo-mm export-chips arcgis/ -o coco --metadata-format COCO --tile-size-x 512 --tile-size-y 512

    An export that was interrupted goes on where it stopped when it is started again.
    """
    from rich.progress import track

    from geo_mm.chip_export import export_chips

    options = ExportOptions(**given(args, ExportOptions))
    if bool(args.source) == bool(args.images) or bool(args.images) != bool(args.labels):
        raise ConfigError('no data to cut', 'a config, a catalog, or --images with --labels')
    is_config = args.source and args.source.endswith('.py')
    entries, classes, scene_options, label_options = (
        _of_config(args) if is_config else _of_catalog(args, options)
    )
    result = export_chips(
        entries,
        classes,
        args.out,
        options,
        scene_options=scene_options,
        label_options=label_options,
        progress=lambda chips, count: track(chips, 'cutting', total=count, transient=True),
    )
    what = 'pixels' if options.of_pixels else 'objects'
    counts = ', '.join(f'{name} {count:,}' for name, count in result.objects.items())
    print(f'wrote {result.chips} chips to {result.folder}; {what}: {counts}')


def _of_config(args: argparse.Namespace) -> 'Source':
    env.require()
    from geo_mm.catalog import read_catalog
    from geo_mm.datasets.wrappers import chip_datasets
    from geo_mm.engine.config_data import build_dataset
    from geo_mm.engine.launch import load_config

    config = load_config(args.source, overrides(args.cfg_options))
    split = args.split or 'train'
    datasets = [found for _, found in chip_datasets(build_dataset(config, split))]
    first = datasets[0]
    entries = [
        entry
        for found in datasets
        for entry in read_catalog(found.scenes, root=found.data_root or '', split=found.split)
    ]
    return entries, first.classes, first.scene_options, first.label_options


def _of_catalog(args: argparse.Namespace, options: ExportOptions) -> 'Source':
    from geo_mm.catalog import SceneOptions, is_training_set, read_catalog, read_training_set
    from geo_mm.catalog.label_classes import find_classes
    from geo_mm.classes import ClassSet
    from geo_mm.labels import LabelOptions

    if args.images:
        row = {'labels': args.labels, 'aoi': args.aoi}
        entries = read_catalog([{'image': image, **row} for image in args.images])
    else:
        entries = read_catalog(args.source, split=args.split)
    scene_options = SceneOptions(args.bands, args.gsd)
    if args.classes:
        ground = 'background' if options.of_pixels and 'background' in args.classes else None
        known = ClassSet(tuple(args.classes), background=ground)
        return entries, known, scene_options, LabelOptions(class_column=args.class_column)
    if (
        args.source
        and is_training_set(args.source)
        and (classes := read_training_set(args.source).classes)
    ):
        return entries, classes, scene_options, LabelOptions()
    found = find_classes(entries, objects=not options.of_pixels, column=args.class_column)
    for note in filter(None, found.notes.values()):
        print(note)
    return entries, found.classes, scene_options, found.options
