"""One map of many scenes: objects counted once, rasters without a step."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.classes import ClassSet
from geo_mm.cli import main
from geo_mm.errors import OutputError
from geo_mm.formats import write_layer
from geo_mm.mosaics import MosaicOptions, join_scenes, mosaic
from geo_mm.mosaics.results import read_results
from geo_mm.mosaics.virtual import write_vrt
from geo_mm.raster import Grid, RasterMetadata, RasterWriter, Window
from geo_mm.raster.projection import transformer
from geo_mm.stores import upload, url
from tests.data.s3 import bucket, served

CLASSES = ClassSet(('house', 'tree'))
# On the border of zones 31 and 32: the same ground has pixels turned by several degrees.
WEST, EAST = CRS.from_epsg(32631), CRS.from_epsg(32632)
LAT, LON = 47.0, 6.0
PIXEL = 0.5
SMALLEST = 1.0  # m2 of what a detector finds


def grid_at(crs, offset, size=(400, 300)):
    """A grid around the border, so many metres to the east."""
    x, y = transformer(4326, crs).transform(LON, LAT)
    x, y = round(x) + offset, round(y)
    return Grid(Affine(PIXEL, 0, x, 0, -PIXEL, y), *size, crs)


def write_result(folder, name, grid, files, started='2026-01-01T00:00:00+00:00'):
    record = {
        'grid': {
            'crs': grid.crs.to_string(),
            'transform': tuple(grid.transform)[:6],
            'width': grid.width,
            'height': grid.height,
        },
        'input_spec': CLASSES.to_dict(),
        'counts': {'house': 1},
        'provenance': {'started': started},
        'identity': 'x',
        'tiles': 1,
        'files': files,
    }
    (folder / f'{name}.json').write_text(json.dumps(record))


def houses(grid, seed=0):
    """Buildings on the ground that do not touch, some across the edges of the grid; a road."""
    rng = np.random.default_rng(seed)
    left, bottom, right, top = grid.bounds
    xs, ys = np.arange(left - 30, right + 130, 12), np.arange(bottom, top, 12)
    places = [(x, y) for x in xs for y in ys]
    sides = rng.uniform(3, 9, (len(places), 2))
    boxes = [shapely.box(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, sides, strict=True)]
    road = shapely.box(left - 25, bottom + 50, right + 125, bottom + 51.5)
    shapes = [*(box for box in boxes if not box.dwithin(road, 1)), road]
    return gpd.GeoDataFrame(
        {'class': rng.choice(CLASSES.names, len(shapes)), 'score': 0.9},
        geometry=shapes,
        crs=grid.crs.to_wkt(),
    )


def seen(truth, grid):
    """What a perfect detector finds in a scene."""
    found = truth.to_crs(grid.crs.to_wkt())
    found = found.assign(geometry=found.intersection(grid.footprint))
    return found[found.area > SMALLEST].reset_index(drop=True)


def whole_of(truth, grids):
    """What all scenes together see of the ground."""
    ground = shapely.union_all(
        [
            gpd.GeoSeries([shapely.segmentize(grid.footprint, 10)], crs=grid.crs.to_wkt())
            .to_crs(truth.crs)
            .iloc[0]
            for grid in grids
        ]
    )
    parts = [truth.to_crs(grid.crs.to_wkt()).intersection(grid.footprint) for grid in grids]
    is_seen = np.max([part.area for part in parts], axis=0) > SMALLEST
    return truth.assign(geometry=truth.intersection(ground))[is_seen]


@pytest.mark.parametrize(
    ('crs', 'offset'),
    [(WEST, 120.0), (EAST, 120.0), (WEST, 200.0), (WEST, 199.0)],
    ids=['overlap', 'two zones', 'touching', 'two pixels'],
)
def test_objects_of_two_scenes_are_counted_once(tmp_path, crs, offset):
    grids = grid_at(WEST, 0.0), grid_at(crs, offset)
    truth = houses(grids[0])
    for name, grid in zip('ab', grids, strict=True):
        objects = seen(truth, grid)
        write_layer(objects, tmp_path / f'{name}.gpkg', layer='objects')
        write_result(tmp_path, name, grid, [f'{name}.gpkg'])
    written = mosaic(tmp_path, tmp_path / 'city')
    assert [path.name for path in written] == ['city.gpkg', 'city_scenes.gpkg']
    found, expected = gpd.read_file(written[0]), whole_of(truth, grids)
    assert CRS.from_user_input(found.crs.to_wkt()) == WEST
    assert len(found) == len(expected)
    # Each is where and what it should be.
    pairs = gpd.sjoin(expected, found, lsuffix='true', rsuffix='found')
    pairs = pairs[pairs.class_true == pairs.class_found]
    other = found.geometry.loc[pairs.index_found].set_axis(pairs.index)
    agree = pairs.intersection(other, align=False).area / pairs.union(other, align=False).area
    assert set(pairs.index[agree > 0.75]) == set(expected.index)
    road = found[found.area == found.area.max()].iloc[0]
    assert road.scenes == 'a, b'
    assert len(gpd.read_file(written[1])) == 2


def test_neighbours_of_one_class_that_touch_stay_two():
    """Two halves of a double house on either side of the border of two overlapping scenes."""
    grids = grid_at(WEST, 0.0), grid_at(WEST, 120.0)
    left, bottom, *_ = grids[1].bounds
    boxes = [shapely.box(left + 20 + dx, bottom + 50, left + 28 + dx, bottom + 58) for dx in (0, 8)]
    layer = gpd.GeoDataFrame({'class': ['house'] * 2}, geometry=boxes, crs=WEST.to_wkt())
    found = join_scenes([layer, layer], [grid.footprint for grid in grids], PIXEL, ['a', 'b'])
    assert len(found) == 2
    assert set(found.scenes) == {'a, b'}


def test_part_that_only_one_scene_reports_whole():
    """One scene reports a house, the other cuts off a corner that agrees with nothing."""
    grids = grid_at(WEST, 0.0), grid_at(WEST, 120.0)
    left, bottom, *_ = grids[1].bounds
    whole = shapely.box(left - 6, bottom + 50, left + 6, bottom + 62)
    corner = shapely.box(left, bottom + 50, left + 1.5, bottom + 53)
    layers = [
        gpd.GeoDataFrame({'class': ['house']}, geometry=[shape], crs=WEST.to_wkt())
        for shape in (whole, corner)
    ]
    found = join_scenes(layers, [grid.footprint for grid in grids], PIXEL)
    assert list(found.geometry) == [whole]


def write_classes(folder, name, grid, classes, **more):
    metadata = RasterMetadata(class_names=dict(enumerate(CLASSES.names)))
    with RasterWriter(folder / f'{name}.tif', grid, 1, 'uint8', 255, metadata) as writer:
        writer.write(classes.astype(np.uint8))
    files = [f'{name}.tif']
    for key, values in more.items():
        if key != 'started':
            files.append(f'{name}_{key}.tif')
            with RasterWriter(folder / files[-1], grid, len(values), 'uint8', 255) as writer:
                writer.write(values.astype(np.uint8))
    started = more.get('started', '2026-01-01T00:00:00+00:00')
    write_result(folder, name, grid, files, started)


def ground_pattern(grid):
    """Classes that depend on where a pixel is on Earth alone: stripes of 15 m."""
    cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    x, y = transformer(grid.crs, WEST).transform(*(grid.transform @ (cols, rows)))
    return (x + y) // 15 % 2


@pytest.mark.parametrize('crs', [WEST, EAST], ids=['one zone', 'two zones'])
def test_raster_without_a_step(tmp_path, crs):
    grids = grid_at(WEST, 0.0), grid_at(crs, 120.0)
    for name, grid in zip('ab', grids, strict=True):
        write_classes(tmp_path, name, grid, ground_pattern(grid))
    path = mosaic(tmp_path, tmp_path / 'city')[0]
    with rasterio.open(path) as dataset:
        found, grid = dataset.read(1), Grid.of(dataset)
    assert grid.crs == WEST
    valid = found != 255
    ground = shapely.union_all([seen_by.footprint for seen_by in grids if seen_by.crs == WEST])
    assert valid.sum() * PIXEL**2 >= ground.area - 1
    wrong = valid & (found != ground_pattern(grid))
    # Nearest neighbours of another zone are off by half a pixel along the stripes.
    assert wrong.sum() <= (0 if crs == WEST else 0.06 * valid.sum())


def test_scattered_scenes_are_said_to_be_a_large_raster(tmp_path, caplog):
    grids = grid_at(WEST, 0.0, (40, 40)), grid_at(WEST, 5000.0, (40, 40))
    for name, grid in zip('ab', grids, strict=True):
        write_classes(tmp_path, name, grid, ground_pattern(grid))
    mosaic(tmp_path, tmp_path / 'city')
    [said] = caplog.messages
    assert 'city.tif: a raster of 10,040 x 40 pixels, 0.8 % of them in scenes' in said


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [('edge', [0, 0, 1]), ('newest', [0, 1, 1]), ('confidence', [0, 1, 1]), ('mean', [0, 0, 1])],
)
def test_rule(tmp_path, rule, expected):
    """Two scenes of one row that disagree; the pixel of both left of the middle of the overlap."""
    grids = grid_at(WEST, 0.0, (40, 40)), grid_at(WEST, 10.0, (40, 40))
    for value, grid in enumerate(grids):
        name, share, year = 'ab'[value], (150, 170)[value], 2025 + value
        shape = (grid.height, grid.width)
        shares = np.stack([np.full(shape, steps) for steps in ((240, 10), (80, 170))[value]])
        write_classes(
            tmp_path,
            name,
            grid,
            np.full(shape, value),
            confidence=np.full((1, *shape), share),
            probabilities=shares,
            started=f'{year}-01-01T00:00:00+00:00',
        )
    path, _ = mosaic(tmp_path, tmp_path / 'city', MosaicOptions(rule=rule))
    with rasterio.open(path) as dataset:
        assert dataset.shape == (40, 60)
        assert dataset.read(1)[20, [5, 25, 55]].tolist() == expected


def test_raster_of_a_rule_that_was_not_predicted(tmp_path):
    write_classes(tmp_path, 'a', grid_at(WEST, 0.0, (8, 8)), np.zeros((8, 8)))
    with pytest.raises(OutputError, match='a has no raster of probabilities'):
        mosaic(tmp_path, tmp_path / 'city', MosaicOptions(rule='mean'))
    with pytest.raises(OutputError, match='no results'):
        mosaic(tmp_path / 'none', tmp_path / 'city')


def test_command(tmp_path, capsys):
    write_classes(tmp_path, 'a', grid_at(WEST, 0.0, (8, 8)), np.zeros((8, 8)))
    assert main(['mosaic', str(tmp_path), '-o', str(tmp_path / 'm' / 'city.fgb')]) == 0
    assert capsys.readouterr().out.split() == [
        'wrote',
        str(tmp_path / 'm' / 'city.tif'),
        'wrote',
        str(tmp_path / 'm' / 'city_scenes.fgb'),
    ]


def test_results_of_a_prediction(tmp_path):
    """What predict writes is what is read: two halves of a scene that share 20 columns."""
    from geo_mm.inference import Predictor
    from geo_mm.inference.scenes import check_outcomes, predict_scenes
    from tests.data.models import object_files, paint, spec_of
    from tests.data.rasters import write_raster

    boxes = [[x, y, x + 6, y + 5] for x in range(3, 90, 11) for y in range(3, 50, 9)]
    image = paint((60, 100), boxes)
    transform = Affine(PIXEL, 0, 728000, 0, -PIXEL, 5209500)
    for name, first in (('a', 0), ('b', 40)):
        part = image[None, :, first : first + 60]
        place = transform @ Affine.translation(first, 0)
        write_raster(tmp_path / f'{name}.tif', part, transform=place, crs='EPSG:32631')
    spec = spec_of('objects', ['even', 'odd'], ['B1'], dtype='uint16')
    predictor = Predictor(object_files(tmp_path / 'model', spec, with_masks=True)[1], device='cpu')
    scenes = [tmp_path / 'a.tif', tmp_path / 'b.tif']
    check_outcomes(predict_scenes(predictor, scenes, tmp_path / 'out'))
    objects, footprints = mosaic(tmp_path / 'out', tmp_path / 'map.parquet')
    found = gpd.read_parquet(objects)
    assert len(found) == len(boxes)
    np.testing.assert_allclose(found.area.sum(), (image > 0).sum() * PIXEL**2)
    assert gpd.read_parquet(footprints)['name'].tolist() == ['a', 'b']


@pytest.mark.parametrize('out', ['a', 'a.tif', 'a.gpkg'])
def test_a_map_does_not_replace_a_result(tmp_path, out):
    objects = gpd.GeoDataFrame({'class': ['house'], 'confidence': [0.9]})
    grid = grid_at(WEST, 0)
    objects = objects.set_geometry([shapely.box(*grid.bounds)], crs=WEST.to_wkt())
    write_layer(objects, tmp_path / 'a.gpkg', layer='objects')
    write_result(tmp_path, 'a', grid, ['a.gpkg'])
    before = (tmp_path / 'a.gpkg').read_bytes()
    with pytest.raises(OutputError, match=r'would replace a\.gpkg, a result of a'):
        mosaic(tmp_path, tmp_path / out)
    assert (tmp_path / 'a.gpkg').read_bytes() == before


@pytest.mark.parametrize(
    'wrong',
    [
        {'files': ['../secret.tif']},
        {'files': 5},
        {'counts': 5},
        {'grid': {'crs': 'EPSG:32631', 'transform': [0] * 6, 'width': 4, 'height': 4}},
        {'grid': {'crs': 'EPSG:32631', 'transform': [1, 0, 0, 0, -1, 0], 'width': 0, 'height': 4}},
        {'grid': 'x'},
        {'input_spec': 5},
    ],
)
def test_records_of_another_form_are_no_results(tmp_path, wrong):
    write_result(tmp_path, 'a', grid_at(WEST, 0), ['a.tif'])
    write_result(tmp_path, 'b', grid_at(WEST, 0), ['b.tif'])
    path = tmp_path / 'b.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    assert [result.name for result in read_results(tmp_path)] == ['a']


def stored_results(folder, started=('2026-01-01T00:00:00+00:00', '2026-01-02T00:00:00+00:00')):
    """Two scenes that overlap, with rasters and STAC items."""
    grids = grid_at(WEST, 0.0), grid_at(WEST, 120.0)
    for value, (name, grid) in enumerate(zip('ab', grids, strict=True)):
        pixels = np.full((1, grid.height, grid.width), value, np.uint8)
        pixels[:, :50, :50] = CLASSES.ignore
        metadata = RasterMetadata(band_names=['class'])
        path = folder / f'{name}.tif'
        with RasterWriter(path, grid, 1, 'uint8', CLASSES.ignore, metadata) as writer:
            writer.write(pixels[0], Window(0, 0, grid.width, grid.height))
        write_result(folder, name, grid, [f'{name}.tif'], started[value])
        (folder / f'{name}.stac.json').write_text('{}')
    return grids


def test_results_are_shown_together_where_they_are(tmp_path, caplog):
    stored_results(tmp_path)
    written = mosaic(tmp_path, tmp_path / 'city.parquet', MosaicOptions(virtual=True))
    assert [path.name for path in written] == [
        'city.vrt',
        'city_scenes.parquet',
        'city.collection.json',
    ]
    with rasterio.open(written[0]) as vrt:
        assert (vrt.crs, vrt.nodata, vrt.colormap(1)[0][:3]) == (WEST, 255, CLASSES.colours[0])
        assert vrt.shape == (300, 640)
        pixels = vrt.read(1)
    assert (pixels[100, :240] == 0).all()
    assert (pixels[100, 240:] == 1).all()  # the later one, over the other
    assert (pixels[:50, 240:290] == 0).all()  # where it has no data the other is seen
    assert (pixels[:50, :50] == 255).all()
    assert gpd.read_parquet(written[1]).predicted.tolist()[1].startswith('2026-01-02')
    results = read_results(tmp_path)
    assert write_vrt(tmp_path / 'x.vrt', results, grid_at(EAST, 0.0)) is None
    assert 'a has pixels of another CRS' in caplog.text
    assert not (tmp_path / 'x.vrt').exists()


def test_collection_of_items(tmp_path):
    pystac = pytest.importorskip('pystac')
    stored_results(tmp_path)
    path = mosaic(tmp_path, tmp_path / 'city', MosaicOptions(virtual=True))[-1]
    validator = pystac.validation.RegisteredValidator.get_validator()
    found = json.loads(path.read_text())
    validator.validate_core(found, pystac.STACObjectType.COLLECTION, '1.1.0')
    collection = pystac.Collection.from_dict(found)
    assert [link.href for link in collection.get_item_links()] == ['./a.stac.json', './b.stac.json']
    assert list(collection.assets) == ['city.vrt', 'city_scenes.gpkg']
    interval = found['extent']['temporal']['interval']
    assert interval == [['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']]
    west, south, east, north = found['extent']['spatial']['bbox'][0]
    assert west < LON < east
    assert south < LAT <= north


def test_results_in_a_store(tmp_path):
    stored_results(tmp_path)
    with served():
        folder = bucket()
        upload(sorted(tmp_path.iterdir()), folder / 'out')
        written = mosaic(url(folder / 'out'), tmp_path / 'city', MosaicOptions(virtual=True))
        with rasterio.open(written[0]) as vrt:
            assert np.bincount(vrt.read(1).ravel(), minlength=2)[:2].tolist() == [72000, 117500]
        links = [link['href'] for link in json.loads(written[-1].read_text())['links']]
        assert f'{url(folder)}/out/a.stac.json' in links
        assert main(['mosaic', url(folder / 'out'), '-o', str(tmp_path / 'whole')]) == 0
        with rasterio.open(tmp_path / 'whole.tif') as whole:
            assert whole.shape == (300, 640)
