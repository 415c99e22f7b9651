"""Chips written in the formats of other programs, and read back."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from geo_mm.catalog import (
    CatalogEntry,
    SceneOptions,
    open_labelled,
    read_catalog,
    read_training_set,
)
from geo_mm.chip_export import ExportOptions, export_chips
from geo_mm.chip_export.export import JOURNAL
from geo_mm.classes import ClassSet
from geo_mm.cli import main
from geo_mm.errors import CatalogError, ConfigError, OutputError
from geo_mm.labels import LabelOptions
from geo_mm.raster import Window
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

ROOT = os.environ.get('GEO_MM_DATA_ROOT')

SHAPES = [
    shapely.Polygon([(3.25, 4.5), (20.75, 6.25), (18.5, 30.0), (5.0, 25.5)]),
    box(25.5, 10, 45.25, 30.75),  # in two chips of 32 columns
    box(50, 50, 60, 60).difference(box(53, 53, 56, 57)),  # with a hole
    box(26, 12, 36, 22),  # on top of the second
    box(70, 0, 80, 10),
]
KINDS = ['roof', 'tree', 'roof', 'roof', 'unsure']
CLASSES = ClassSet(('tree', 'roof'), ((1, 2, 3), (200, 0, 100)))
GROUND = ClassSet(('background', 'tree', 'roof'), background='background')
LABELS = LabelOptions(class_column='class', class_map={'unsure': 'ignore'})


@pytest.fixture
def entry(tmp_path):
    image = write_raster(tmp_path / 'scene.tif', noise((2, 64, 96), 'uint16'))
    labels = write_labels(tmp_path / 'labels.gpkg', SHAPES, KINDS)
    return CatalogEntry(str(image), str(labels), name='scene')


def exported(entry, out, metadata_format, classes=CLASSES, **more):
    sides = dict(tile_size_x=32, tile_size_y=32, stride_x=32, stride_y=32)
    options = ExportOptions(metadata_format, **(sides | more))
    labels = LABELS if len(classes) > 1 else LabelOptions()
    export_chips((entry,), classes, out, options, label_options=labels)
    return read_training_set(out)


def pairs(entry, found, classes=CLASSES):
    """Each chip of six as it was in the scene and as it was read back."""
    objects = found.kind != 'pixels'
    scene = open_labelled(entry, classes.names, SceneOptions(), LABELS, objects=objects)
    for chip in found.entries:
        back = open_labelled(chip, classes.names, SceneOptions(), LabelOptions(), objects=objects)
        row, col = divmod(int(Path(chip.image).stem), 3)
        window = Window(col * 32, row * 32, 32, 32)
        assert (back.scene.read()[0] == scene.scene.read(window)[0]).all()
        assert back.scene.transform == scene.scene.grid.window_transform(window)
        assert back.scene.crs == scene.scene.crs
        yield scene.labels, window, back.labels


@pytest.mark.parametrize(
    ('metadata_format', 'name', 'ignored'),
    [
        ('PASCAL_VOC_rectangles', 'ArcGIS PASCAL_VOC_rectangles', False),
        ('KITTI_rectangles', 'ArcGIS KITTI_rectangles', False),
        ('COCO', 'COCO', True),
        ('YOLO', 'YOLO', False),
        ('Pascal_VOC', 'Pascal VOC', True),
    ],
)
def test_boxes_are_read_back_to_a_hundredth_of_a_pixel(
    entry, tmp_path, metadata_format, name, ignored
):
    found = exported(entry, tmp_path / 'out', metadata_format, output_nofeature_tiles='ALL_TILES')
    assert found.format == name and len(found.entries) == 6
    assert set(found.classes.names) == {'tree', 'roof'}
    for labels, window, back in pairs(entry, found):
        objects = labels.objects(window)
        kept = np.ones(len(objects), bool) if ignored else objects.labels >= 0
        boxes = shapely.bounds(back.geometries).reshape(-1, 4)
        np.testing.assert_allclose(boxes, objects.boxes[kept], rtol=0, atol=0.0051)
        assert back.labels.tolist() == objects.labels[kept].tolist()


@pytest.mark.parametrize('metadata_format', ['COCO', 'YOLO_polygons', 'RCNN_Masks'])
def test_outlines_are_read_back(entry, tmp_path, metadata_format):
    found = exported(entry, tmp_path / 'out', metadata_format)
    assert found.kind == 'instances' and found.classes.foreground_names == ('tree', 'roof')
    for labels, window, back in pairs(entry, found):
        objects = labels.objects(window)
        known = objects.labels >= 0
        masks, classes = objects.masks()[known], objects.labels[known]
        own = back.objects(Window(0, 0, 32, 32))
        drawn, found_classes = own.masks()[own.labels >= 0], own.labels[own.labels >= 0]
        if metadata_format == 'YOLO_polygons':
            drawn[drawn.sum((1, 2)) == 100, 21:25, 21:24] = 0  # it cannot tell a hole
        order, back_order = (
            sorted(range(len(c)), key=lambda n: (c[n], m[n].tobytes()))
            for c, m in ((classes, masks), (found_classes, drawn))
        )
        assert (masks[order] == drawn[back_order]).all()
        assert classes[order].tolist() == found_classes[back_order].tolist()


@pytest.mark.parametrize('metadata_format', ['Classified_Tiles', 'Masks'])
def test_classes_of_pixels_are_read_back(entry, tmp_path, metadata_format):
    # One of the six chips has only an object to ignore, and two have none.
    tiles = {'output_nofeature_tiles': 'ALL_TILES'}
    found = exported(entry, tmp_path / 'out', metadata_format, GROUND, **tiles)
    assert found.classes.names == GROUND.names and found.classes.background == 'background'
    for labels, window, back in pairs(entry, found, GROUND):
        assert (back.classes(Window(0, 0, 32, 32)) == labels.classes(window)).all()


def test_a_labelled_tile_has_the_class_that_covers_most_of_it(entry, tmp_path):
    found = exported(entry, tmp_path / 'out', 'Labeled_Tiles')
    classes = [back.labels.tolist() for _, _, back in pairs(entry, found)]
    assert classes == [[1], [0], [1]]
    assert all(shapely.area(back.geometries) == 1024 for _, _, back in pairs(entry, found))


def test_the_files_of_arcgis(entry, tmp_path):
    out = tmp_path / 'out'
    exported(entry, out, 'PASCAL_VOC_rectangles')
    assert sorted(path.name for path in out.iterdir()) == [
        *('esri_accumulated_stats.json', 'esri_model_definition.emd', 'images', 'labels'),
        *('map.txt', 'stats.txt'),
    ]
    assert (out / 'map.txt').read_text().splitlines()[:2] == [
        'images\\000000000.tif  labels\\000000000.xml ',
        'images\\000000001.tif  labels\\000000001.xml ',
    ]
    stats = json.loads((out / 'esri_accumulated_stats.json').read_text())
    assert (stats['NumBands'], stats['TileSizeX'], stats['NumTiles']) == (2, 32, 3)
    assert stats['Classes'] == [
        {'ClassValue': 1, 'ClassName': 'tree'},
        {'ClassValue': 2, 'ClassName': 'roof'},
    ]
    features = stats['FeatureStats']
    assert features['NumFeaturesPerClass'] == [2, 4] and features['NumImagesPerClass'] == [2, 3]
    # 0.5 m pixels: the tree has 6.5 and 13.25 columns of 20.75 rows.
    assert features['FeatureAreaPerClass'][0]['Sum'] == pytest.approx(19.75 * 20.75 / 4)
    pixels = np.concatenate(
        [rasterio.open(path).read().reshape(2, -1) for path in (out / 'images').glob('*.tif')], 1
    )
    for band, found in zip(pixels, stats['BandStatsState'], strict=True):
        assert (found['Min'], found['Max'], found['Num']) == (band.min(), band.max(), band.size)
        assert found['M1'] == pytest.approx(band.mean())
        assert (found['M2'] / found['Num']) ** 0.5 == pytest.approx(band.std())
    emd = json.loads((out / 'esri_model_definition.emd').read_text())
    assert emd['MinCellSize']['x'] == 0.5
    assert emd['MinCellSize']['spatialReference']['wkid'] == 32617
    assert emd['Classes'][1] == {'Value': 2, 'Name': 'roof', 'Color': [200, 0, 100]}
    bands = [item['BandName'] for item in emd['AllTilesStats']]
    assert emd['InputRastersProps']['BandNames'] == bands == ['B1', 'B2']
    world = [float(line) for line in (out / 'images' / '000000001.tfw').read_text().split()]
    assert world == [0.5, 0, 0, -0.5, 500_016.25, 3_999_999.75]


def test_an_interrupted_export_goes_on(entry, tmp_path, monkeypatch):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    exported(entry, whole, 'COCO')
    from geo_mm.chip_export import export

    write = export.write_chip

    def interrupted(path, *args):
        if path.stem == '000000001':
            raise KeyboardInterrupt
        write(path, *args)

    monkeypatch.setattr(export, 'write_chip', interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported(entry, out, 'COCO')
    assert (out / JOURNAL).exists() and not (out / 'labels.json').exists()
    with (out / JOURNAL).open('a') as file:
        file.write('{"chip": 1, "rec')  # killed while it wrote
    first = (out / 'images' / '000000000.tif').stat().st_mtime_ns
    with pytest.raises(OutputError, match='unfinished export of other data or options'):
        exported(entry, out, 'COCO', tile_size_x=16)
    monkeypatch.setattr(export, 'write_chip', write)
    exported(entry, out, 'COCO', workers=2)
    assert (out / 'images' / '000000000.tif').stat().st_mtime_ns == first
    files = [path.relative_to(whole) for path in whole.rglob('*') if path.is_file()]
    assert files == [path.relative_to(out) for path in out.rglob('*') if path.is_file()]
    assert all((whole / path).read_bytes() == (out / path).read_bytes() for path in files)
    with pytest.raises(OutputError, match='is not empty'):
        exported(entry, out, 'COCO')


def test_threads_write_the_same(entry, tmp_path):
    for workers, name in ((1, 'a'), (3, 'b')):
        exported(entry, tmp_path / name, 'RCNN_Masks', workers=workers, stride_x=8)
    files = sorted(path for path in (tmp_path / 'a').rglob('*') if path.is_file())
    assert len(files) > 30
    for path in files:
        assert path.read_bytes() == (tmp_path / 'b' / path.relative_to(tmp_path / 'a')).read_bytes()


def test_objects_with_a_small_share_in_a_chip_are_left_out(entry, tmp_path):
    found = exported(entry, tmp_path / 'out', 'COCO', min_polygon_overlap_ratio=0.5)
    counts = [len(labels) for _, _, labels in pairs(entry, found)]
    assert counts == [2, 1, 1]  # a third of the tree and 0.4 of a roof are left out


def test_chips_are_rotated_with_their_labels(tmp_path):
    """A bright square that is labelled stays under its label."""
    pixels = np.zeros((1, 64, 64), np.uint8)
    pixels[0, 28:36, 36:44] = 200
    image = write_raster(tmp_path / 'scene.tif', pixels)
    labels = write_labels(tmp_path / 'l.gpkg', [box(36, 28, 44, 36)], ['roof'])
    entry = CatalogEntry(str(image), str(labels))
    sides = dict(tile_size_x=64, tile_size_y=64, rotation_angle=90)
    found = exported(entry, tmp_path / 'out', 'COCO', **sides)
    boxes = []
    for chip in found.entries:
        item = open_labelled(chip, ('roof', 'tree'), SceneOptions(), LabelOptions(), objects=True)
        (geometry,) = item.labels.geometries
        boxes.append(shapely.bounds(geometry).round(2).tolist())
        drawn = item.labels.objects(Window(0, 0, 64, 64)).masks()[0]
        assert (item.scene.read()[0][0] == 200 * drawn).all()
    assert sorted(boxes) == [[20, 28, 28, 36], [28, 20, 36, 28], [28, 36, 36, 44], [36, 28, 44, 36]]


def test_only_chips_inside_the_aoi_and_with_data(entry, tmp_path):
    area = write_labels(tmp_path / 'aoi.gpkg', [box(-1, -1, 70, 70)])
    inside = CatalogEntry(entry.image, entry.labels, aoi=str(area))
    found = exported(inside, tmp_path / 'out', 'COCO', output_nofeature_tiles='ALL_TILES')
    assert [chip.name for chip in found.entries] == [f'00000000{n}' for n in (0, 1, 3, 4)]


@pytest.mark.parametrize('angle', [0, 180])
def test_chips_that_hang_over_the_scene_are_not_outside_its_aoi(entry, tmp_path, angle):
    area = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 96, 64)])
    inside = CatalogEntry(entry.image, entry.labels, aoi=str(area))
    sides = dict(tile_size_x=40, tile_size_y=40, stride_x=40, stride_y=40, rotation_angle=angle)
    more = dict(sides, output_nofeature_tiles='ALL_TILES')
    assert len(exported(inside, tmp_path / 'out', 'COCO', **more).entries) == 6 * (
        2 if angle else 1
    )


def test_pixels_without_data_are_marked(tmp_path):
    pixels = noise((1, 32, 40)) | 1
    pixels[0, :, :10] = 0
    image = write_raster(tmp_path / 'scene.tif', pixels, nodata=0)
    labels = write_labels(tmp_path / 'l.gpkg', [box(12, 5, 39, 9)], ['roof'])
    found = exported(CatalogEntry(str(image), str(labels)), tmp_path / 'out', 'Masks', GROUND)
    valid = [
        open_labelled(chip, GROUND.names, SceneOptions(), LabelOptions()).scene.read()[1]
        for chip in found.entries
    ]
    assert [mask.sum() for mask in valid] == [22 * 32, 8 * 32]  # the second is 24 columns too wide


def test_objects_without_data_under_them_are_left_out(tmp_path):
    pixels = noise((1, 32, 32)) | 1
    pixels[0, :, :10] = 0
    image = write_raster(tmp_path / 'scene.tif', pixels, nodata=0)
    shapes = [box(1, 1, 9, 9), box(8, 12, 20, 20), box(28, 2, 60, 20)]  # the last hangs over
    labels = write_labels(tmp_path / 'l.gpkg', shapes)
    entry = CatalogEntry(str(image), str(labels), name='scene')
    found = exported(entry, tmp_path / 'out', 'COCO', ClassSet(('roof',)), tile_size_x=64)
    (chip,) = found.entries
    item = open_labelled(chip, ('roof',), SceneOptions(), LabelOptions(), objects=True)
    assert shapely.bounds(item.labels.geometries).tolist() == [[8, 12, 20, 20]]


@pytest.mark.parametrize('image_chip_format', ['PNG', 'JPEG'])
def test_pictures_have_world_files_and_a_crs(tmp_path, image_chip_format):
    image = write_raster(tmp_path / 'scene.tif', noise((3, 64, 64)))
    labels = write_labels(tmp_path / 'l.gpkg', [box(40, 40, 50, 50)], ['roof'])
    entry = CatalogEntry(str(image), str(labels))
    found = exported(entry, tmp_path / 'out', 'YOLO', image_chip_format=image_chip_format)
    (chip,) = found.entries
    with rasterio.open(chip.image) as dataset:
        assert dataset.crs == 'EPSG:32617' and dataset.transform.c == 500_016
    assert Path(chip.image).with_suffix('.pgw' if image_chip_format == 'PNG' else '.jgw').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'image_chip_format': 'PNG'}, r'2 bands of uint16, for chips as png'),
        ({'tile_size_x': 0}, 'tile size 0 x 32'),
        ({'min_polygon_overlap_ratio': 2}, 'a share from 0 to 1'),
    ],
)
def test_what_cannot_be_written_is_refused(entry, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        exported(entry, tmp_path / 'out', 'YOLO', **options)


def test_nothing_to_write(entry, tmp_path):
    bare = CatalogEntry(entry.image, name='scene')
    with pytest.raises(CatalogError, match='scene has no labels to export'):
        exported(bare, tmp_path / 'out', 'YOLO')


def test_the_command_converts_a_training_set(entry, tmp_path, capsys):
    exported(entry, tmp_path / 'arcgis', 'RCNN_Masks')
    words = ['export-chips', str(tmp_path / 'arcgis'), '-o', str(tmp_path / 'coco')]
    sides = ['--tile-size-x', '32', '--tile-size-y', '32', '--stride-x', '32', '--stride-y', '32']
    assert main([*words, '--metadata-format', 'COCO', *sides]) == 0
    assert 'wrote 3 chips' in capsys.readouterr().out
    before = read_catalog(str(tmp_path / 'arcgis'))
    after = read_catalog(str(tmp_path / 'coco'))
    for old, new in zip(before, after, strict=True):
        masks = [
            open_labelled(chip, CLASSES.names, SceneOptions(), LabelOptions(), objects=True)
            .labels.objects(Window(0, 0, 32, 32))
            .masks()
            for chip in (old, new)
        ]
        assert (masks[0] == masks[1]).all()


def test_the_command_exports_the_scenes_of_a_config(entry, tmp_path, capsys):
    (tmp_path / 'config.py').write_text(f"""
default_scope = 'mmdet'
dataset = dict(
    type='geo_mm.GeoDetDataset',
    scenes=[dict(image={entry.image!r}, labels={entry.labels!r}, split='train')],
    split='train',
    bands=[2],
    metainfo=dict(classes=('tree', 'roof')),
    label_cfg=dict(class_column='class', class_map=dict(unsure=None)),
    pipeline=[],
)
train_dataloader = dict(dataset=dataset)
model = dict(type='FasterRCNN')
""")
    out = tmp_path / 'out'
    words = ['export-chips', str(tmp_path / 'config.py'), '-o', str(out), '--stride-x', '256']
    assert main([*words, '--output-nofeature-tiles', 'ALL_TILES']) == 0
    assert 'wrote 1 chips' in capsys.readouterr().out
    (chip,) = read_training_set(out).entries
    item = open_labelled(chip, CLASSES.names, SceneOptions(), LabelOptions(), objects=True)
    assert item.scene.count == 1 and item.scene.width == 256
    assert sorted(item.labels.labels.tolist()) == [0, 1, 1, 1]


def test_the_command_takes_images_and_labels(entry, tmp_path, capsys):
    words = ['export-chips', '--images', entry.image, '--labels', entry.labels]
    out = tmp_path / 'out'
    options = ['--class-column', 'class', '--output-nofeature-tiles', 'ALL_TILES']
    assert main([*words, '-o', str(out), *options, '--stride-x', '256']) == 0
    assert 'wrote 1 chips' in capsys.readouterr().out
    data = read_training_set(out)
    assert set(data.classes.names) >= {'roof', 'tree'}


@pytest.mark.parametrize(
    'words', [[], ['a.csv', '--images', 'b.tif'], ['--images', 'b.tif'], ['--labels', 'a.gpkg']]
)
def test_the_command_wants_one_source(tmp_path, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['export-chips', *words, '-o', str(tmp_path / 'out')])
    assert stop.value.code == 2
    assert '--images with --labels' in capsys.readouterr().err


@pytest.mark.skipif(not ROOT, reason='GEO_MM_DATA_ROOT is not set')
def test_real_buildings_are_read_back(tmp_path):
    """Outlines as far as pixels hold them, classes of pixels exactly."""
    data = Path(ROOT or '') / 'banepa_a'
    scene = dict(image='banepa_a.tif', labels='banepa_a_buildings.geojson')
    # 1024 x 1024 pixels, four chips.
    entries = read_catalog(dict(scene, area=(0, 0, 1 / 3, 0.4)), root=data)
    sides = dict(tile_size_x=512, tile_size_y=512, stride_x=512, stride_y=512)
    common = union = 0.0
    for classes, name in ((('building',), 'RCNN_Masks'), (GROUND.names[:2], 'Classified_Tiles')):
        objects = len(classes) == 1
        known = ClassSet(classes, background=None if objects else 'background')
        export_chips(entries, known, tmp_path / name, ExportOptions(name, **sides))
        whole = open_labelled(entries[0], classes, SceneOptions(), LabelOptions(), objects=objects)
        chips = read_training_set(tmp_path / name).entries
        assert len(chips) == 4
        for chip in chips:
            item = open_labelled(chip, classes, SceneOptions(), LabelOptions(), objects=objects)
            row, col = divmod(int(Path(chip.image).stem), 2)
            window, here = Window(col * 512, row * 512, 512, 512), item.scene.grid.window
            assert (item.labels.classes(here) == whole.labels.classes(window)).all()
            if objects:
                outlines = [
                    labels.objects(place).geometries
                    for labels, place in ((whole.labels, window), (item.labels, here))
                ]
                before, after = map(shapely.union_all, outlines)
                common += shapely.intersection(before, after).area
                union += shapely.union(before, after).area
    assert common / union > 0.98
