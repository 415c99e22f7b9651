"""Cut labelled scenes into chips, and write them as ArcGIS, COCO, VOC or YOLO want them.

geo-mm export-chips roofs.py -o chips --metadata-format RCNN_Masks
geo-mm export-chips catalog.csv -o chips --classes roof tree --class-column kind
geo-mm export-chips arcgis_export -o coco --metadata-format COCO --tile-size-x 512 --tile-size-y 512

An export that was interrupted goes on where it stopped when it is started again.
"""

import argparse
from typing import TYPE_CHECKING

from geo_mm.chip_export import ExportOptions
from geo_mm.cli.arguments import add_options, add_overrides, given, overrides
from geo_mm.errors import ConfigError

if TYPE_CHECKING:
    from geo_mm.catalog import CatalogEntry, SceneOptions
    from geo_mm.classes import ClassSet
    from geo_mm.labels import LabelOptions

    Source = tuple[list[CatalogEntry], ClassSet, SceneOptions, LabelOptions]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('source', help='config (.py), catalog, or training set of another program')
    add('-o', '--out', required=True, help='folder to make')
    add('--split', help='split of the catalog to export (default: train of a config, else all)')
    add('--classes', nargs='+', metavar='NAME', help='classes of a catalog')
    add('--class-column', metavar='COLUMN', help='attribute of its layers that holds the class')
    add('--bands', nargs='+', metavar='NAME', help='bands of a catalog (default: all)')
    add('--gsd', type=float, metavar='METRES', help='of a catalog (default: that of each scene)')
    add_overrides(parser)
    add_options(parser, ExportOptions)


def run(args: argparse.Namespace) -> None:
    from rich.progress import track

    from geo_mm.chip_export import export_chips

    options = ExportOptions(**given(args, ExportOptions))
    entries, classes, scene_options, label_options = (
        _of_config(args) if args.source.endswith('.py') else _of_catalog(args, options)
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
    from geo_mm import env

    env.require()
    from geo_mm.catalog import read_catalog
    from geo_mm.datasets.chips import chip_datasets
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
    from geo_mm.classes import ClassSet
    from geo_mm.labels import LabelOptions

    entries = read_catalog(args.source, split=args.split)
    found = read_training_set(args.source).classes if is_training_set(args.source) else None
    if args.classes:
        ground = 'background' if options.of_pixels and 'background' in args.classes else None
        found = ClassSet(tuple(args.classes), background=ground)
    if found is None:
        raise ConfigError(
            f'{args.source} does not say which classes there are',
            '--classes NAME ...',
            'give also --class-column if there are several',
        )
    scene_options = SceneOptions(args.bands, args.gsd)
    return entries, found, scene_options, LabelOptions(class_column=args.class_column)
