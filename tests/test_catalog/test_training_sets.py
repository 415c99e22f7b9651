"""Training sets of other programs as catalogs: read, opened, placed."""

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import rasterio
import shapely

from geo_mm.catalog import SceneOptions, open_labelled, read_catalog, read_training_set
from geo_mm.catalog.entries import write_catalog
from geo_mm.catalog.set_description import describe_set
from geo_mm.catalog.split_options import SplitOptions
from geo_mm.catalog.splits import split_entries
from geo_mm.classes import ClassSet
from geo_mm.cli import main
from geo_mm.errors import CatalogError, LabelError
from geo_mm.formats.training import find_format
from geo_mm.labels import LabelOptions
from geo_mm.raster import Window
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster

ROOT = os.environ.get('GEO_MM_DATA_ROOT')
needs_data = pytest.mark.skipif(not ROOT, reason='GEO_MM_DATA_ROOT is not set')
PALMS = Path(ROOT or 'unset', 'arcgis_palms_voc_a')

TREES = [{'Value': 1, 'Name': 'Palm', 'Color': [0, 200, 0]}, {'Value': 7, 'Name': 'Date palm'}]


def opened(entry, classes, gsd=None, objects=True, **options):
    options = LabelOptions(**options)
    return open_labelled(entry, classes, SceneOptions(gsd=gsd), options, objects=objects)


def bounds(item):
    return shapely.bounds(item.labels.geometries).round(2).tolist()


def voc(*objects):
    boxes = ''.join(
        f'<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
        f'<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
        for name, box in objects
    )
    size = '<size><width>60</width><height>40</height><depth>2</depth></size>'
    return f'<?xml version="1.0"?><annotation>{size}{boxes}</annotation>'


@pytest.fixture
def export(tmp_path):
    """Three chips: the first two overlap, the third is 400 m further east."""
    folder = tmp_path / 'export'
    (folder / 'images').mkdir(parents=True)
    (folder / 'labels').mkdir()
    for number, col in enumerate((0, 30, 800)):
        write_raster(
            folder / 'images' / f'00000000{number}.tif',
            noise((2, 40, 60)),
            transform=TRANSFORM @ rasterio.Affine.translation(col, 0),
        )
    emd = {'Framework': 'e.g. CNTK', 'ImageHeight': 'e.g. 256', 'Classes': TREES}
    (folder / 'esri_model_definition.emd').write_text(json.dumps(emd))
    (folder / 'map.txt').write_text('images\\000000000.tif  labels\\000000000.xml \r\n')
    return folder


def with_mode(export, mode):
    stats = {'MetaDataMode': mode, 'TileSizeX': 60, 'TileSizeY': 40, 'Classes': [{}]}
    (export / 'esri_accumulated_stats.json').write_text(json.dumps(stats))
    return export


@needs_data
def test_all_boxes_of_a_real_export_arrive_with_their_class_name():
    found = read_training_set(PALMS)
    assert (found.format, found.kind) == ('ArcGIS PASCAL_VOC_rectangles', 'boxes')
    assert found.classes == ClassSet(('Palm',), ((255, 0, 0),))
    assert found.chip_size == (448, 448) and 0.079 < found.gsd < 0.081
    assert len(found.entries) == 70
    labels = [opened(entry, ('other', 'Palm')).labels for entry in found.entries]
    assert Counter(np.concatenate([item.labels for item in labels])) == {1: 223}
    assert shapely.bounds(labels[0].geometries).round(2).tolist() == [[444.62, 373.2, 448, 403.87]]
    assert {entry.group for entry in found.entries} == {'arcgis_palms_voc_a-1'}


def test_boxes_have_the_names_of_their_values_and_chips_without_are_kept(export):
    with_mode(export, 'PASCAL_VOC_rectangles')
    (export / 'labels' / '000000000.xml').write_text(
        voc(('1', (10.5, 20, 60, 40)), ('Date palm', (0, 0, 4, 5.25)))
    )
    (export / 'labels' / '000000001.xml').write_text(voc())
    found = read_training_set(export)
    assert found.classes.names == ('Palm', 'Date palm')
    assert found.classes.colours[0] == (0, 200, 0)
    items = [opened(entry, found.classes.names) for entry in found.entries]
    assert bounds(items[0]) == [[10.5, 20, 60, 40], [0, 0, 4, 5.25]]
    assert items[0].labels.labels.tolist() == [0, 1]
    assert [len(item.labels) for item in items] == [2, 0, 0]


def test_a_training_set_is_described(export, capsys):
    with_mode(export, 'PASCAL_VOC_rectangles')
    (export / 'labels' / '000000000.xml').write_text(
        voc(('1', (10.5, 20, 60, 40)), ('Date palm', (0, 0, 4, 5.25)))
    )
    found = describe_set(export)
    assert found.objects == {'Palm': 1, 'Date palm': 1} and found.empty == 2
    assert (found.images, found.groups, found.chip_size) == (3, 2, (40, 60))
    assert main(['describe', str(export)]) == 0
    printed = capsys.readouterr().out
    assert '3 images of 60 x 40 pixels' in printed and '2 objects; 2 images have none' in printed
    assert f'geo-mm new MODEL --arcgis {export}' in printed


def test_a_folder_that_is_none_is_not_said_to_be_missing(tmp_path, capsys):
    (tmp_path / 'town.tif').touch()
    with pytest.raises(SystemExit):
        main(['describe', str(tmp_path)])
    assert 'a folder with town.tif' in capsys.readouterr().err


def test_boxes_follow_the_pixels_to_another_gsd(export):
    (export / 'labels' / '000000000.xml').write_text(voc(('1', (10, 20, 30, 40))))
    entry = read_training_set(export).entries[0]
    item = opened(entry, ('Palm',), gsd=1.0)
    assert item.scene.width == 30 and bounds(item) == [[5, 10, 15, 20]]


def test_overlapping_chips_are_of_one_group(export):
    (export / 'labels' / '000000000.xml').write_text(voc())
    groups = [entry.group for entry in read_training_set(export).entries]
    assert groups[0] == groups[1] != groups[2]


def test_world_files_place_the_chips_as_gdal_does(tmp_path):
    folder = tmp_path / 'export'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    turned = TRANSFORM @ rasterio.Affine.rotation(30)
    for number, col in enumerate((0, 59, 61)):
        path = folder / 'images' / f'{number}.png'
        transform = turned @ rasterio.Affine.translation(col, 5)
        write_raster(path, noise((3, 40, 60)), crs=None, transform=None, driver='PNG')
        a, b, c, d, e, f, *_ = transform @ rasterio.Affine.translation(0.5, 0.5)
        path.with_suffix('.pgw').write_text('\n'.join(map(repr, (a, d, b, e, c, f))))
        (folder / 'labels' / f'{number}.xml').write_text(voc(('1', (0, 0, 1, 1))))
    with_mode(folder, 'PASCAL_VOC_rectangles')
    found = read_training_set(folder)
    assert found.chip_size == (40, 60)
    # Neighbours by one column overlap, but not those of a chip's width and more.
    groups = [entry.group for entry in found.entries]
    assert groups[0] == groups[1] == groups[2]  # the second hangs together with both
    (folder / 'images' / '1.png').unlink()
    groups = [entry.group for entry in read_training_set(folder).entries]
    assert groups[0] != groups[1]


def test_several_exports_are_one_training_set(export, tmp_path):
    (export / 'labels' / '000000000.xml').write_text(voc(('1', (10, 20, 30, 40))))
    shutil.copytree(export, tmp_path / 'second')
    # The same value stands for another class, and the chips are on the same ground.
    emd = {'Classes': [{'Value': 1, 'Name': 'Oak'}]}
    (tmp_path / 'second' / 'esri_model_definition.emd').write_text(json.dumps(emd))
    found = read_training_set([export, tmp_path / 'second'])
    assert found.classes.names == ('Palm', 'Date palm', 'Oak')
    items = [opened(found.entries[number], found.classes.names) for number in (0, 3)]
    assert [item.labels.labels.tolist() for item in items] == [[0], [2]]
    assert len({entry.name for entry in found.entries}) == 6
    groups = [entry.group for entry in found.entries]
    assert groups[:3] == groups[3:] and groups[0] != groups[2]
    assert read_catalog(['export', 'second'], root=tmp_path) == list(found.entries)
    shutil.rmtree(tmp_path / 'second' / 'labels')
    (tmp_path / 'second' / 'labels' / 'Oak').mkdir(parents=True)
    with pytest.raises(CatalogError, match=r'second: .*RCNN_Masks\), .*export: .*PASCAL_VOC'):
        read_training_set([export, tmp_path / 'second'])


@pytest.mark.parametrize('mode', ['PASCAL_VOC_rectangles', 'Classified_Tiles'])
def test_chips_are_split_by_what_is_labelled_in_them(export, mode):
    """Each split gets one of the two chips with date palms."""
    with_mode(export, mode)
    for number in range(3):
        place = TRANSFORM @ rasterio.Affine.translation(2000 * (number + 1), 0)
        path = export / 'images' / f'00000001{number}.tif'
        write_raster(path, noise((2, 40, 60)), transform=place)
    for path in (export / 'images').glob('*.tif'):
        kind = 7 if path.stem in ('000000002', '000000012') else 1
        if mode == 'Classified_Tiles':
            write_raster(export / 'labels' / path.name, np.full((40, 60), kind, 'uint8'), crs=None)
        else:
            label = export / 'labels' / f'{path.stem}.xml'
            label.write_text(voc((kind, (1, 1, 9, 9))))
    entries = read_training_set(export).entries
    options = SplitOptions(by='scene', fractions=(0.5, 0.5), stratify=True, chip_size=32)
    split = {entry.name: entry.split for entry in split_entries(entries, options).entries}
    assert split['000000002'] != split['000000012']
    assert split['000000000'] == split['000000001']


def test_a_catalog_takes_a_folder_in_place_of_its_images(export, tmp_path):
    (export / 'labels' / '000000000.xml').write_text(voc(('1', (10, 20, 30, 40))))
    entries = read_catalog('export', root=tmp_path)
    assert entries == list(read_training_set(export).entries)
    mixed = read_catalog([{'image': 'export', 'split': 'val'}], root=tmp_path, split='val')
    assert [entry.name for entry in mixed] == ['000000000', '000000001', '000000002']


def test_a_catalog_file_of_a_training_set_moves_with_it(export, tmp_path):
    (export / 'labels' / '000000000.xml').write_text(voc(('1', (10, 20, 30, 40))))
    entries = read_catalog('export', root=tmp_path)
    write_catalog(entries, [None] * 3, tmp_path / 'c.csv')
    assert read_catalog(tmp_path / 'c.csv') == entries
    (tmp_path / 'new #1').mkdir()
    for name in ('export', 'c.csv'):
        shutil.move(tmp_path / name, tmp_path / 'new #1' / name)
    entry, *_ = read_catalog(tmp_path / 'new #1' / 'c.csv')
    assert bounds(opened(entry, ('Palm',))) == [[10, 20, 30, 40]]
    shutil.rmtree(tmp_path / 'new #1' / 'export' / 'labels')
    (tmp_path / 'c.csv').write_text(f'image,labels\n{entry.image},arcgis:gone#images/0.tif\n')
    with pytest.raises(
        LabelError, match=r'arcgis:gone#images/0\.tif: there is no such training set'
    ):
        read_catalog(tmp_path / 'c.csv')


def test_a_voc_file_beside_any_image(export, tmp_path):
    (tmp_path / 'boxes.xml').write_text(voc(('1', (10, 20, 30, 40))))
    (entry,) = read_catalog(
        {'image': 'export/images/000000000.tif', 'labels': 'boxes.xml'}, root=tmp_path
    )
    with pytest.raises(LabelError, match=r'boxes.xml has 1 value without a class: 1 \(1\)'):
        opened(entry, ('palm',))
    assert bounds(opened(entry, ('palm',), class_map={1: 'palm'})) == [[10, 20, 30, 40]]


def test_kitti(export):
    with_mode(export, 'KITTI_rectangles')
    (export / 'labels' / '000000000.txt').write_text(
        '7 0.0 0 0.0 10.50 20.00 60.00 40.00 0.0 0.0 0.0 0.0 0.0 0.0 0.0\n'
        'Date palm 0 0 0 1 2 3 4 0 0 0 0 0 0 0\n\n'
    )
    item = opened(read_training_set(export).entries[0], ('Palm', 'Date palm'))
    assert bounds(item) == [[10.5, 20, 60, 40], [1, 2, 3, 4]]
    assert item.labels.labels.tolist() == [1, 1]
    (export / 'labels' / '000000001.txt').write_text('7 0.0 0 0.0 10 20 x 40\n')
    with pytest.raises(LabelError, match=r'000000001.txt: line 1 .*\n.*15 columns'):
        opened(read_training_set(export).entries[1], ('Palm', 'Date palm'))


def test_a_labelled_tile_is_a_box_around_the_chip(export):
    with_mode(export, 'Labeled_Tiles')
    (export / 'labels' / '000000000.xml').write_text(voc(('7', (0, 0, 1, 1))))
    item = opened(read_training_set(export).entries[0], ('Palm', 'Date palm'))
    assert bounds(item) == [[0, 0, 60, 40]] and item.labels.labels.tolist() == [1]


@pytest.mark.parametrize('folders', [('Palm', 'Date palm'), ('1', '7')])
def test_masks_of_objects_in_folders_by_name_or_value(export, folders):
    with_mode(export, 'RCNN_Masks')
    masks = np.zeros((2, 2, 40, 60), np.uint8)
    masks[0, 0, 5:10, 10:20] = 1
    masks[0, 0, 10:12, 10:12] = 2  # touches the first
    masks[0, 1, 8:12, 18:30] = 1  # overlaps it, so in another band
    masks[1, 0, 0, 0] = masks[1, 0, 3, 3] = 200  # one object in two parts
    for folder, mask in zip(folders, masks, strict=True):
        (export / 'labels' / folder).mkdir()
        write_raster(export / 'labels' / folder / '000000000.tif', mask, crs=None)
    found = read_training_set(export)
    assert found.kind == 'instances'
    item = opened(found.entries[0], found.classes.names)
    assert bounds(item) == [[10, 5, 20, 10], [10, 10, 12, 12], [18, 8, 30, 12], [0, 0, 4, 4]]
    assert item.labels.labels.tolist() == [0, 0, 0, 1]
    drawn = item.labels.objects(Window(0, 0, 60, 40)).masks()
    assert (drawn[:2].sum(0) == (masks[0, 0] > 0)).all() and (drawn[3] == (masks[1, 0] > 0)).all()
    assert len(opened(found.entries[1], found.classes.names).labels) == 0


def test_classified_tiles(export):
    with_mode(export, 'Classified_Tiles')
    classes = np.zeros((1, 40, 60), np.uint8)
    classes[0, 5:10, 10:20], classes[0, 20:, :] = 1, 7
    for number in range(3):
        # As pictures, whose only georeference is the image's; 0 may be declared as nodata.
        write_raster(
            export / 'labels' / f'00000000{number}.png',
            classes,
            crs=None,
            nodata=0 if number else None,
        )
    found = read_training_set(export)
    assert found.kind == 'pixels'
    assert found.classes.names == ('background', 'Palm', 'Date palm')
    assert found.classes.background == 'background'
    expected = np.where(classes[0] == 7, 2, classes[0])
    for entry in found.entries:
        item = opened(entry, found.classes.names, objects=False)
        assert (item.labels.classes(Window(0, 0, 60, 40)) == expected).all()
    item = opened(found.entries[0], ('palm', 'Date palm'), objects=False, class_map={1: 'palm'})
    assert set(np.unique(item.labels.classes(Window(0, 0, 60, 40)))) == {0, 1, 255}


def test_no_background_where_the_classes_cover_all_pixels(export):
    with_mode(export, 'Classified_Tiles')
    stats = {'NumTiles': 3, 'TileSizeX': 60, 'TileSizeY': 40, 'MetaDataMode': 'Classified_Tiles'}
    stats['ClassPixelStats'] = {'NumPixelsPerClass': [7000, 200]}
    (export / 'esri_accumulated_stats.json').write_text(json.dumps(stats))
    write_raster(export / 'labels' / '000000000.tif', np.ones((1, 40, 60), np.uint8))
    assert read_training_set(export).classes.names == ('Palm', 'Date palm')


@needs_data
def test_metadata_of_a_real_export_of_classes():
    from geo_mm.formats.training.arcgis import read_info

    info = read_info(Path(ROOT, 'arcgis_meta_classified_tiles'))
    assert info.mode == 'Classified_Tiles' and info.chip_size == (400, 400)
    assert info.names == {1: '1', 2: '2'} and info.colours == {} and info.unlabelled is False


def test_what_is_not_read_is_named(export, tmp_path):
    with_mode(export, 'CycleGAN')
    with pytest.raises(CatalogError, match=r'format CycleGAN\n.*PASCAL_VOC_rectangles, KITTI'):
        read_catalog(str(export))
    with pytest.raises(CatalogError, match=r'(?s)with export/\n.*ArcGIS export: .*give .*export'):
        read_catalog(str(tmp_path))


@pytest.fixture
def chip(tmp_path):
    """A georeferenced chip of two bands of 16 bits in a folder ``images``."""
    (tmp_path / 'images').mkdir()
    return write_raster(tmp_path / 'images' / 'a.tif', noise((2, 40, 60), 'uint16'))


def coco(path, annotations, file_name='a.tif', **more):
    data = {
        'images': [{'id': 3, 'file_name': file_name, 'width': 60, 'height': 40}],
        'categories': [{'id': 5, 'name': 'roof'}, {'id': 2, 'name': 'tree', 'color': [1, 2, 3]}],
        'annotations': [{'id': n, 'image_id': 3, **item} for n, item in enumerate(annotations)],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data | more))
    return path


def test_coco_boxes_polygons_run_lengths_and_crowds(tmp_path, chip):
    rings = [[1.5, 2, 11.5, 2, 11.5, 12.25], [20, 20, 24, 20, 24, 24]]
    mask = np.zeros((40, 60), np.uint8)
    mask[3:6, 50:55] = 1
    compressed = pycocotools.mask.encode(np.asfortranarray(mask))
    plain = [50 * 40 + 3, *[3, 37] * 4, 3, 34 + 5 * 40]  # down the columns
    path = coco(
        tmp_path / 'labels.json',
        [
            {'category_id': 5, 'bbox': [0.5, 1.25, 10, 20]},
            {'category_id': 2, 'bbox': [0, 0, 1, 1], 'segmentation': rings},
            {'category_id': 2, 'segmentation': {'size': [40, 60], 'counts': plain}, 'iscrowd': 1},
            {
                'category_id': 5,
                'segmentation': {'size': [40, 60], 'counts': compressed['counts'].decode()},
            },
        ],
    )
    for source in (path, tmp_path):
        found = read_training_set(source)
        assert (found.format, found.kind, found.classes.names) == (
            'COCO',
            'instances',
            ('roof', 'tree'),
        )
        assert found.classes.colours[1] == (1, 2, 3)
        item = opened(found.entries[0], found.classes.names)
        assert item.scene.dtype == 'uint16' and item.scene.crs == 'EPSG:32617'
        run = [50, 3, 55, 6]
        assert bounds(item) == [[0.5, 1.25, 10.5, 21.25], [1.5, 2, 24, 24], run, run]
        assert item.labels.labels.tolist() == [0, 1, -1, 0]
        assert item.labels.geometries[1].area == pytest.approx(10 * 10.25 / 2 + 8)
    assert read_catalog('labels.json', root=tmp_path)[0].image == str(chip)


def test_the_splits_of_a_coco_folder(tmp_path, chip):
    folder = tmp_path / 'annotations'
    coco(folder / 'instances_train2017.json', [{'category_id': 5, 'bbox': [0, 0, 5, 5]}])
    coco(folder / 'instances_val2017.json', [])
    coco(folder / 'captions_val2017.json', [])
    found = read_training_set(tmp_path)
    assert [entry.split for entry in found.entries] == ['train', 'val']
    assert [len(opened(entry, ('roof', 'tree')).labels) for entry in found.entries] == [1, 0]


@pytest.mark.parametrize(
    'annotation',
    [
        {'category_id': 9, 'bbox': [0, 0, 1, 1]},
        {'category_id': 5, 'bbox': [0, 0, 1]},
        {'category_id': 5},
        {'category_id': 5, 'segmentation': [[0, 0, 1, 1]]},
        {'category_id': 5, 'segmentation': {'size': [40, 60], 'counts': [3, 4]}},
        {'category_id': 5, 'segmentation': {'size': [2, 2], 'counts': [3, 1]}},
    ],
)
def test_coco_annotations_that_cannot_be_read_are_named(tmp_path, chip, annotation):
    path = coco(tmp_path / 'labels.json', [annotation])
    (entry,) = read_training_set(path).entries
    with pytest.raises(LabelError, match=r'annotation 0 of a.tif'):
        opened(entry, ('roof', 'tree'))


def test_a_missing_image_of_coco_is_named_with_the_places_looked_at(tmp_path, chip):
    path = coco(tmp_path / 'labels.json', [], 'b.tif')
    with pytest.raises(CatalogError, match=r'the image b.tif is in none of .*images'):
        read_training_set(path)


def test_yolo_boxes_and_polygons(tmp_path):
    for split, text in (('train', '1 0.5 0.5 0.2 0.1\n'), ('val', '0 0 0 0.5 0 0.5 0.25\n')):
        for kind in ('images', 'labels'):
            (tmp_path / kind / split).mkdir(parents=True)
        write_raster(tmp_path / 'images' / split / 'a.png', noise((3, 40, 60)), crs=None)
        (tmp_path / 'labels' / split / 'a.txt').write_text(text)
    write_raster(tmp_path / 'images' / 'val' / 'b.png', noise((3, 40, 60)), crs=None)
    (tmp_path / 'data.yaml').write_text(
        'path: /home/a/data\ntrain: images/train\nval: [images/val]\nnames: {0: roof, 1: tree}\n'
    )
    found = read_training_set(tmp_path)
    assert (found.format, found.kind, found.classes.names) == (
        'YOLO',
        'instances',
        ('roof', 'tree'),
    )
    assert [entry.split for entry in found.entries] == ['train', 'val', 'val']
    items = [opened(entry, found.classes.names) for entry in found.entries]
    assert [bounds(item) for item in items] == [[[24, 18, 36, 22]], [[0, 0, 30, 10]], []]
    assert items[0].labels.labels.tolist() == [1] and items[1].labels.geometries[0].area == 150
    assert [e.name for e in read_catalog('data.yaml', root=tmp_path, split='val')] == [
        'images/val/a',
        'images/val/b',
    ]
    (tmp_path / 'labels' / 'val' / 'b.txt').write_text('2 0.5 0.5 0.1 0.1\n')
    with pytest.raises(LabelError, match=r"b.txt: line 1 is '2 0.5.*\n.*classes are 0, 1"):
        opened(found.entries[2], found.classes.names)


def test_pascal_voc_with_lists_of_splits_and_difficult_objects(tmp_path):
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('a', 'b'):
        write_raster(tmp_path / 'JPEGImages' / f'{name}.png', noise((3, 40, 60)), crs=None)
    text = voc(('tree', (1, 2, 3, 4)), ('roof', (5, 6, 7, 8)))
    hard = text.replace('<name>roof', '<difficult>1</difficult><name>roof')
    (tmp_path / 'Annotations' / 'a.xml').write_text(text)
    (tmp_path / 'Annotations' / 'b.xml').write_text(hard)
    (tmp_path / 'ImageSets' / 'Main' / 'train.txt').write_text('a\n')
    (tmp_path / 'ImageSets' / 'Main' / 'val.txt').write_text('b\n')
    found = read_training_set(tmp_path)
    assert (found.format, found.classes.names) == ('Pascal VOC', ('roof', 'tree'))
    assert [entry.split for entry in found.entries] == ['train', 'val']
    items = [opened(entry, found.classes.names) for entry in found.entries]
    assert [item.labels.labels.tolist() for item in items] == [[1, 0], [1, -1]]
    assert bounds(items[0]) == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_kitti_without_files_of_arcgis(tmp_path, chip):
    (tmp_path / 'labels').mkdir()
    line = '{} 0 0 0 1 2 3.5 4 0 0 0 0 0 0 0\n'
    (tmp_path / 'labels' / 'a.txt').write_text(line.format('Car') + line.format('DontCare'))
    found = read_training_set(tmp_path)
    assert (found.format, found.classes.names) == ('KITTI', ('Car',))
    assert opened(found.entries[0], ('Car',)).labels.labels.tolist() == [0, -1]


@pytest.mark.parametrize(
    ('values', 'names', 'expected'),
    [
        ((0, 255), ('background', 'foreground'), (0, 1)),
        ((0, 2), ('background', 'foreground'), (0, 1)),
        ((0, 1, 3, 255), ('class 0', 'class 1', 'class 2', 'class 3'), (0, 1, 3, 255)),
    ],
)
def test_images_and_masks(tmp_path, chip, values, names, expected):
    mask = np.resize(np.array(values, np.uint8), (1, 40, 60))
    (tmp_path / 'masks').mkdir()
    write_raster(tmp_path / 'masks' / 'a.png', mask, crs=None)
    found = read_training_set(tmp_path)
    assert (found.format, found.classes.names) == ('images and masks', names)
    item = opened(found.entries[0], names, objects=False)
    where = [list(mask[0, 0]).index(value) for value in values]
    assert item.labels.classes(Window(0, 0, 60, 40))[0, where].tolist() == list(expected)


def test_names_of_masks_in_a_list(tmp_path, chip):
    (tmp_path / 'masks').mkdir()
    write_raster(tmp_path / 'masks' / 'a_mask.png', np.ones((1, 40, 60), np.uint8), crs=None)
    (tmp_path / 'classes.txt').write_text('background\nwater\nforest\n')
    found = read_training_set(tmp_path)
    assert found.classes.names == ('background', 'water', 'forest')
    assert found.classes.background == 'background'


def test_a_mask_of_another_size_than_its_image(tmp_path, chip):
    (tmp_path / 'masks').mkdir()
    write_raster(tmp_path / 'masks' / 'a.png', np.ones((1, 20, 60), np.uint8), crs=None)
    found = read_training_set(tmp_path)
    with pytest.raises(LabelError, match=r'60 x 20 pixels, its image has 60 x 40'):
        opened(found.entries[0], found.classes.names, objects=False)


def test_a_mask_that_says_it_has_tens_of_thousands_of_bands(export):
    """As one flipped bit in a TIFF does."""
    with_mode(export, 'RCNN_Masks')
    (export / 'labels' / 'Palm').mkdir()
    many = np.zeros((1001, 40, 60), np.uint8)
    write_raster(export / 'labels' / 'Palm' / '000000000.tif', many)
    found = read_training_set(export)
    with pytest.raises(LabelError, match=r'a mask of 1,001 bands'):
        opened(found.entries[0], found.classes.names)


def test_dota(tmp_path, chip):
    (tmp_path / 'labelTxt').mkdir()
    (tmp_path / 'labelTxt' / 'a.txt').write_text(
        'imagesource:GoogleEarth\ngsd:0.5\n'
        '10.0 0.0 20.0 10.0 10.0 20.0 0.0 10.0 plane 0\n1 1 3 1 3 3 1 3 ship 1\n'
    )
    found = read_training_set(tmp_path)
    assert (found.format, found.kind, found.classes.names) == ('DOTA', 'boxes', ('plane',))
    item = opened(found.entries[0], ('plane',))
    assert item.labels.labels.tolist() == [0, -1]
    assert item.labels.geometries[0].area == pytest.approx(200)
    (tmp_path / 'labelTxt' / 'a.txt').write_text('1 1 3 1 3 3 1 plane 0\n')
    assert find_format(tmp_path) is None


def documented(name):
    """Scenes and label_cfg of a data set in the table of docs/en/formats.md."""
    page = (Path(__file__).parents[2] / 'docs' / 'en' / 'formats.md').read_text()
    (row,) = re.findall(rf'^\| {name} \| `(.*?)` \| `?(.*?)`? ?\|$', page, re.MULTILINE)
    return eval(row[0]), eval(row[1] or '{}')


def written(root, name, array=None, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    array = noise((3, 40, 60)) if array is None else array
    return write_raster(path, array.astype('uint8'), **options)


def classes_of(root, name, classes):
    scenes, label_cfg = documented(name)
    (entry,) = read_catalog(scenes, root=root)
    item = opened(entry, classes, objects=False, **label_cfg)
    return item.labels.classes(Window(0, 0, 60, 40))


@pytest.mark.parametrize(
    ('name', 'image', 'mask', 'georeference'),
    [
        ('LandCover.ai', 'images/N-33-60.tif', 'masks/N-33-60.tif', {}),
        ('OpenEarthMap', 'kyoto/images/kyoto_1.tif', 'kyoto/labels/kyoto_1.tif', {}),
        ('LoveDA', 'Train/Rural/images_png/0.png', 'Train/Rural/masks_png/0.png', {'crs': None}),
    ],
)
def test_published_masks(tmp_path, name, image, mask, georeference):
    names = list(documented(name)[1]['class_map'].values())
    values = np.resize(np.arange(len(names)), (40, 60))
    written(tmp_path, image, **georeference)
    written(tmp_path, mask, values, **georeference)
    classes = tuple(name for name in names if name)
    found = classes_of(tmp_path, name, classes)
    expected = np.array([classes.index(name) if name else 255 for name in names])
    assert (found == expected[values]).all()


@pytest.mark.parametrize('georeference', [{}, {'crs': None, 'transform': None}])
def test_published_masks_of_colours(tmp_path, georeference):
    class_map = documented('ISPRS Potsdam')[1]['class_map']
    values = np.resize(np.arange(6), (40, 60))
    colours = np.array([list(bytes.fromhex(key[1:])) for key in class_map])
    written(tmp_path, '2_Ortho_RGB/top_potsdam_2_10_RGB.tif')
    mask = colours[values].transpose(2, 0, 1)
    written(tmp_path, '5_Labels_all/top_potsdam_2_10_label.tif', mask, **georeference)
    found = classes_of(tmp_path, 'ISPRS Potsdam', tuple(class_map.values()))
    assert (found == values).all()


def test_published_coco(tmp_path):
    written(tmp_path, 'train/images/P0002.png', crs=None)
    box = {'category_id': 5, 'bbox': [1, 2, 3, 4]}
    coco(tmp_path / 'train' / 'Annotations' / 'iSAID_train.json', [box], 'P0002.png')
    (entry,) = read_catalog(documented('iSAID')[0], root=tmp_path)
    assert bounds(opened(entry, ('roof', 'tree'))) == [[1, 2, 4, 6]]


def test_published_layers(tmp_path):
    vegas = tmp_path / 'AOI_2_Vegas_Train'
    written(vegas, 'RGB-PanSharpen/RGB-PanSharpen_AOI_2_Vegas_img1.tif')
    (vegas / 'geojson' / 'buildings').mkdir(parents=True)
    shape = [box(10, 10, 20, 20)]
    layer = vegas / 'geojson' / 'buildings' / 'buildings_AOI_2_Vegas_img1.geojson'
    write_labels(layer, shape, to_crs='EPSG:4326')
    scenes, _ = documented('SpaceNet 2')
    (entry,) = read_catalog(scenes, root=tmp_path)
    assert bounds(opened(entry, ('building',))) == [[10, 10, 20, 20]]
    written(tmp_path, 'train_images/10.tif')
    kinds = {'column': 'type_id', 'to_crs': 'EPSG:4326'}
    write_labels(tmp_path / 'xView_train.geojson', shape * 3, [73, 20, 11], **kinds)
    scenes, label_cfg = documented('xView')
    (entry,) = read_catalog(scenes, root=tmp_path)
    assert opened(entry, ('car', 'building'), **label_cfg).labels.labels.tolist() == [1, 0]
