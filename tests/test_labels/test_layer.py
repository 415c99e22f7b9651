import geopandas as gpd
import numpy as np
import pytest
import rasterio.warp
import shapely
from affine import Affine
from rasterio.crs import CRS
from shapely import LineString, Point, box

from geo_mm.errors import LabelError
from geo_mm.labels import LabelLayer, LabelOptions
from geo_mm.labels.layer import KEPT
from geo_mm.raster.grid import Grid, Window

UTM = CRS.from_epsg(32617)
MARS = (
    'GEOGCS["GCS_Mars_2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190.0,'
    '169.89444722361179]],PRIMEM["Reference_Meridian",0.0],UNIT["Degree",0.0174532925199433]]'
)
GRID = Grid(Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), 201, 101, UTM)


def map_box(x0, y0, x1, y1, grid=GRID):
    """A box given in pixels, in map coordinates."""
    return shapely.transform(
        box(x0, y0, x1, y1), lambda xy: np.column_stack(grid.transform @ (xy[:, 0], xy[:, 1]))
    )


def frame(geometries, crs=UTM, **columns):
    return gpd.GeoDataFrame(columns, geometry=geometries, crs=crs and crs.to_wkt())


def read(source, classes, **options):
    return LabelLayer.read(source, classes, LabelOptions(**options))


def boxes_of(labels):
    return shapely.bounds(labels.geometries).round(6).tolist()


# Classes


def test_without_a_column_all_features_are_of_the_only_class():
    layer = read(frame([map_box(0, 0, 1, 1)] * 3), ['building'])
    assert layer.labels.tolist() == [0, 0, 0]


def test_values_that_are_class_names_need_no_map():
    gdf = frame([map_box(0, 0, 1, 1)] * 3, roof=['tin', 'tile', 'tin'])
    assert read(gdf, ['tile', 'tin'], class_column='roof').labels.tolist() == [1, 0, 1]


def test_map_renames_drops_and_ignores():
    gdf = frame([map_box(i, 0, i + 1, 1) for i in range(5)], roof=['Tin', 'x', None, 'tile', 'Tin'])
    layer = read(
        gdf,
        ['tile', 'metal'],
        class_column='roof',
        class_map={'Tin': 'metal', 'x': None, '<null>': 'ignore'},
    )
    assert layer.labels.tolist() == [1, -1, 0, 1]
    assert layer.fids.tolist() == [0, 2, 3, 4]
    assert layer.onto(GRID).labels.tolist() == [1, -1, 0, 1]


def test_integers_with_nulls_compare_as_integers():
    gdf = frame([map_box(0, 0, 1, 1)] * 3, code=[1.0, 2.5, None])
    layer = read(gdf, ['a', 'b'], class_column='code', class_map={1: 'a', '2.5': 'b', None: None})
    assert layer.labels.tolist() == [0, 1]


def test_unmapped_values_are_listed_with_their_counts():
    roofs = ['tin', 'concerte', 'concerte', None, 'tin', 'tin']
    gdf = frame([map_box(0, 0, 1, 1)] * 6, roof=roofs)
    with pytest.raises(LabelError) as error:
        read(gdf, ['tin'], class_column='roof')
    assert '2 values without a class: concerte (2), <null> (1)' in str(error.value)
    assert 'all values found: tin (3), concerte (2), <null> (1)' in str(error.value)
    assert 'class_map' in str(error.value)


def test_unknown_column_lists_the_columns():
    gdf = frame([map_box(0, 0, 1, 1)], roof=['tin'], levels=[2])
    with pytest.raises(LabelError, match=r"no column 'rooof'\n.*\['fid', 'roof', 'levels'\]"):
        read(gdf, ['tin'], class_column='rooof')


@pytest.mark.parametrize(
    ('classes', 'options', 'message'),
    [
        (['a', 'b'], {}, '2 classes given, but no class_column'),
        (['a'], {'class_map': {'x': 'a'}}, 'class_map is given, but no class_column'),
        ([], {}, r'classes are \[\]'),
        (['a', 'a'], {'class_column': 'roof'}, 'each once'),
        (['ignore'], {}, "none called 'ignore'"),
        ('building', {}, "the text 'building'"),
        (['a'], {'class_column': 'roof', 'class_map': {'tin': 'A'}}, "sends 'tin' to 'A'"),
        (['a'], {'point_size': 0}, 'point_size is 0'),
    ],
)
def test_classes_that_make_no_sense(classes, options, message):
    with pytest.raises(LabelError, match=message):
        read(frame([map_box(0, 0, 1, 1)], roof=['tin']), classes, **options)


def test_empty_layer_is_a_true_negative_with_a_warning(tmp_path):
    path = tmp_path / 'none.geojson'
    path.write_text('{"type":"FeatureCollection","features":[]}')
    with pytest.warns(UserWarning, match=r'none\.geojson: the label layer has no features'):
        layer = read(path, ['tin', 'tile'], class_column='roof')
    labels = layer.onto(GRID)
    assert len(labels) == 0
    assert labels.objects(Window(0, 0, 5, 5)).boxes.shape == (0, 4)
    assert not labels.covers(Window(0, 0, 5, 5)).any()
    assert labels.objects(Window(0, 0, 5, 4)).masks().shape == (0, 4, 5)
    assert labels.points()[0].shape == (0, 2)


# Placing


def test_same_crs_gives_exact_pixel_coordinates():
    labels = read(frame([map_box(3, 4.5, 10, 20)]), ['a']).onto(GRID)
    assert boxes_of(labels) == [[3, 4.5, 10, 20]]


@pytest.mark.parametrize('epsg', [4326, 3857, 32618, 3035])
def test_labels_in_another_crs_land_where_rasterio_puts_them(epsg):
    corners = [(10, 10), (60.25, 12), (55, 70.5), (9, 68)]
    xs, ys = zip(*(GRID.transform @ corner for corner in corners), strict=True)
    other = CRS.from_epsg(epsg)
    there = np.column_stack(rasterio.warp.transform(UTM, other, xs, ys))
    labels = read(frame([shapely.Polygon(there)], other), ['a']).onto(GRID)
    found = shapely.get_coordinates(labels.geometries)
    for corner in corners:
        # 1 mm at most: rasterio and pyproj bring their own PROJ.
        assert np.hypot(*(found - corner).T).min() < 2e-3


def test_rotated_grid():
    grid = Grid(
        Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(2, -2), 50, 40, UTM
    )
    labels = read(frame([map_box(5, 6, 15, 20, grid)]), ['a']).onto(grid)
    assert boxes_of(labels) == [[5, 6, 15, 20]]


def test_long_edges_follow_the_curve_they_are_in_the_grid():
    # A parallel over 5 degrees is no straight line in UTM: its middle is
    # kilometres off the chord.
    grid = Grid(Affine(100, 0, 300_000, 0, -100, 5_600_000), 4000, 2000, UTM)
    field = box(-83, 49.5, -79, 50)
    labels = read(frame([field], CRS.from_epsg(4326)), ['a']).onto(grid)
    lon = np.linspace(-83, -79, 400)
    xs, ys = rasterio.warp.transform('EPSG:4326', UTM, lon, np.full(400, 50.0))
    parallel = shapely.points(*(~grid.transform @ (np.array(xs), np.array(ys))))
    assert shapely.distance(parallel, labels.geometries[0].exterior).max() < 0.1


def test_short_edges_get_no_extra_vertices():
    gdf = frame([map_box(3, 4, 30, 40)]).to_crs('EPSG:3857')
    labels = read(gdf, ['a']).onto(GRID)
    assert shapely.get_num_coordinates(labels.geometries).tolist() == [5]


def test_a_feature_that_leaves_the_projections_domain_is_cut():
    world = frame([box(-180, -90, 180, 90)], CRS.from_epsg(4326))
    labels = read(world, ['land']).onto(GRID)
    assert labels.covers(GRID.window).all()


def test_scene_across_the_antimeridian():
    grid = Grid(Affine(100, 0, 150_000, 0, -100, 100_000), 300, 200, CRS.from_epsg(32601))
    both = [box(179, 0, 180, 1), box(-180, 0, -179, 1), box(0, 0, 1, 1)]
    labels = read(frame(both, CRS.from_epsg(4326)), ['a']).onto(grid)
    assert labels.fids.tolist() == [0, 1]
    assert labels.covers(grid.window).all()


def test_only_features_with_area_on_the_grid_are_kept():
    shapes = [
        map_box(-5, 0, 0, 5),  # touches the left edge
        map_box(-5, 0, 0.01, 5),
        map_box(201, 0, 210, 5),
        map_box(50, 101, 60, 120),
        map_box(200.5, 100.5, 300, 300),
    ]
    layer = read(frame(shapes), ['a'])
    labels = layer.onto(GRID)
    assert labels.fids.tolist() == [1, 4]


# Points and lines


def test_points_become_squares_of_ground_size():
    point = Point(GRID.transform @ (50, 40))
    grid = GRID.at_gsd(1.0)
    labels = read(frame([point]), ['tree'], point_size=6).onto(grid)
    gsd = grid.gsd
    x, y = ~grid.transform @ (point.x, point.y)
    assert labels.geometries[0].bounds == pytest.approx(
        (x - 3 / gsd[0], y - 3 / gsd[1], x + 3 / gsd[0], y + 3 / gsd[1])
    )


def test_points_in_web_mercator_are_sized_in_true_metres():
    grid = Grid(Affine(0.149, 0, 9_520_000, 0, -0.149, 3_200_000), 1000, 1000, CRS.from_epsg(3857))
    point = Point(grid.transform @ (500, 500))
    labels = read(frame([point], grid.crs), ['tree'], point_size=6).onto(grid)
    width = labels.geometries[0].bounds[2] - labels.geometries[0].bounds[0]
    assert width == pytest.approx(6 / grid.gsd[0])
    assert width > 1.1 * 6 / 0.149


def test_point_outside_whose_square_reaches_in_is_kept():
    layer = read(frame([Point(GRID.transform @ (-300, 50))]), ['a'], point_size=320)
    assert len(layer.onto(GRID)) == 1


def test_lines_become_strips_of_ground_width():
    line = LineString([GRID.transform @ (10, 50), GRID.transform @ (110, 50)])
    labels = read(frame([line]), ['road'], line_width=4).onto(GRID)
    assert shapely.area(labels.geometries)[0] == pytest.approx(100 * 4 / GRID.gsd[1], rel=1e-6)


def test_points_and_lines_without_a_size():
    with pytest.raises(LabelError, match=r'1 of 2 features are points(.|\n)*point_size='):
        read(frame([Point(0, 0), map_box(0, 0, 1, 1)]), ['a'])
    with pytest.raises(LabelError, match=r'1 of 1 features are lines(.|\n)*line_width='):
        read(frame([LineString([(0, 0), (1, 1)])]), ['a'])


# Layers that do not fit


def test_layer_beside_the_scene_shows_both_extents():
    layer = read(frame([box(10, 50, 11, 51)], CRS.from_epsg(4326)), ['a'])
    with pytest.raises(LabelError) as error:
        layer.onto(GRID, scene='town.tif')
    message = str(error.value)
    assert 'none of its 1 features touches town.tif' in message
    assert 'labels: lon 10.00000 to 11.00000, lat 50.00000 to 51.00000 (EPSG:4326)' in message
    assert 'scene:  lon -81.00000 to -80.99888, lat 36.14' in message
    assert 'swapped' not in message


def test_swapped_axes_are_recognised():
    there = frame([map_box(3, 4, 30, 40)]).to_crs('EPSG:4326').geometry[0]
    swapped = shapely.transform(there, lambda xy: xy[:, ::-1])
    layer = read(frame([swapped], CRS.from_epsg(4326)), ['a'])
    with pytest.raises(LabelError, match='look swapped'):
        layer.onto(GRID)


def test_layer_without_crs_cannot_be_placed_on_a_georeferenced_scene():
    layer = read(frame([box(0, 0, 1, 1)], None), ['a'])
    with pytest.raises(LabelError, match=r'GeoDataFrame: has no CRS.*town\.tif'):
        layer.onto(GRID, scene='town.tif')


def test_plain_picture_takes_labels_without_crs():
    picture = Grid(Affine.identity(), 20, 10)
    layer = read(frame([box(2, 3, 5, 6)], None), ['a'])
    assert boxes_of(layer.onto(picture)) == [[2, 3, 5, 6]]
    georeferenced = read(frame([box(2, 3, 5, 6)]), ['a'])
    with pytest.raises(LabelError, match='the scene has no CRS, but GeoDataFrame has one'):
        georeferenced.onto(picture)


def test_ground_size_needs_a_crs():
    layer = read(frame([Point(2, 3)], None), ['a'], point_size=3)
    with pytest.raises(LabelError, match='a size in metres has no meaning'):
        layer.onto(Grid(Affine.identity(), 20, 10))


def test_a_scene_that_the_labels_surround_may_be_empty():
    around = [map_box(-50, -50, -40, -40), map_box(300, 300, 310, 310)]
    assert len(read(frame(around), ['a']).onto(GRID)) == 0


def test_the_part_of_a_scene_may_be_empty_but_the_scene_must_be_the_right_one():
    part = GRID.crop(Window(100, 0, 50, 50))
    assert len(read(frame([map_box(0, 0, 9, 9)]), ['a']).onto(part, whole=GRID)) == 0
    with pytest.raises(LabelError, match='none of its 1 features touches the scene'):
        read(frame([map_box(900, 0, 909, 9)]), ['a']).onto(part, whole=GRID)


# Pictures without a CRS


def test_negative_y_is_that_of_qgis(caplog):
    """QGIS shows the rows of a picture without a CRS at y = 0, -1, -2 ..."""
    picture = Grid(Affine.identity(), 20, 10)
    shapes = [box(2, -6, 5, -3), box(7, -2, 9, 0.3), box(1, -9, 3, -8)]  # a slip above the edge
    labels = read(frame(shapes, None), ['a']).onto(picture)
    assert boxes_of(labels) == [[2, 3, 5, 6], [7, -0.3, 9, 2], [1, 8, 3, 9]]
    assert 'y is negative, as QGIS counts the rows' in caplog.text


def test_y_of_a_world_file_is_as_it_says():
    picture = Grid(Affine(1, 0, 0, 0, -1, 0), 20, 10)
    assert boxes_of(read(frame([box(2, -6, 5, -3)], None), ['a']).onto(picture)) == [[2, 3, 5, 6]]


# Points and lines in grids of all kinds


def test_squares_are_parallel_to_the_pixels_of_a_rotated_grid():
    """6 m are 3 pixels, whichever way the grid is."""
    turned = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(2, -2)
    grid = Grid(turned, 50, 40, UTM)
    point = Point(grid.transform @ (20, 10))
    square = read(frame([point]), ['tree'], point_size=6).onto(grid).geometries[0]
    assert square.bounds == pytest.approx((18.5, 8.5, 21.5, 11.5), abs=2e-3)
    assert shapely.area(square) == pytest.approx(9, rel=1e-3)


def test_a_point_beyond_the_poles_is_named():
    grid = Grid(Affine(0.01, 0, 10, 0, -0.01, 90.3), 100, 100, CRS.from_epsg(4326))
    layer = read(frame([Point(10.5, 90.2)], grid.crs), ['a'], point_size=5)
    with pytest.raises(LabelError, match=r'1 of 1 points have invalid coordinates.*y 90\.2'):
        layer.onto(grid)


def test_points_on_mars():
    """A degree along its equator is 59,274.7 m."""
    mars = CRS.from_wkt(MARS)
    grid = Grid(Affine(0.01, 0, 10, 0, -0.01, 0.5), 100, 100, mars)
    layer = read(frame([Point(10.5, 0.0)], mars), ['crater'], point_size=5927.47)
    left, _, right, _ = layer.onto(grid).geometries[0].bounds
    assert right - left == pytest.approx(10, rel=1e-5)


def test_points_of_mars_on_a_scene_of_the_earth_are_named():
    layer = read(frame([Point(-81, 36)], CRS.from_wkt(MARS)), ['crater'], point_size=5)
    with pytest.raises(LabelError, match='there is no transformation from GCS_Mars_2000'):
        layer.onto(GRID)


# Areas of interest


def test_an_area_of_interest_is_called_that():
    away = LabelLayer.read_area(frame([map_box(900, 0, 909, 9)]))
    with pytest.raises(LabelError) as error:
        away.onto(GRID, scene='town.tif')
    assert 'area:   lon' in str(error.value)
    assert 'an area of interest on the scene' in str(error.value)
    assert 'labels' not in str(error.value)


def test_an_area_of_interest_must_touch_the_scene_that_it_surrounds():
    around = [map_box(-50, -50, -40, -40), map_box(300, 300, 310, 310)]
    with pytest.raises(LabelError, match='none of its 2 features touches'):
        LabelLayer.read_area(frame(around)).onto(GRID)


def test_no_advice_that_an_area_of_interest_cannot_follow(tmp_path):
    for layer in ('a', 'b'):
        frame([map_box(0, 0, 9, 9)]).to_file(tmp_path / 'two.gpkg', layer=layer)
    with pytest.raises(LabelError, match=r'2 layers.*\n.*\n.*save that layer as a file') as error:
        LabelLayer.read_area(tmp_path / 'two.gpkg')
    assert 'layer=' not in str(error.value)
    with pytest.raises(LabelError, match='layer='):
        read(tmp_path / 'two.gpkg', ['a'])


# Layers that scenes share


@pytest.fixture
def shared(tmp_path):
    """Ten boxes of 4 x 4 pixels, 100 pixels apart, with their spatial index."""
    path = tmp_path / 'shared.gpkg'
    boxes = [map_box(100 * i, 0, 100 * i + 4, 4) for i in range(10)]
    frame(boxes, kind=['a', 'b'] * 5).to_file(path)
    return path


def test_a_layer_is_read_once_until_its_file_changes(shared):
    layer = read(shared, ['a', 'b'], class_column='kind')
    assert read(shared, ['a', 'b'], class_column='kind') is layer
    assert read(str(shared), ('a', 'b'), class_column='kind', layer=None) is layer
    assert read(shared, ['b', 'a'], class_column='kind') is not layer
    frame([map_box(0, 0, 9, 9)], kind=['a']).to_file(shared)
    assert len(read(shared, ['a', 'b'], class_column='kind').labels) == 1


def test_few_layers_stay_in_memory(shared):
    first = read(shared, ['a', 'b'], class_column='kind')
    for condition in range(KEPT):
        read(shared, ['a', 'b'], class_column='kind', where=f'fid > {condition}')
    assert read(shared, ['a', 'b'], class_column='kind') is not first


def test_of_a_large_layer_only_what_is_near_is_read(shared, monkeypatch):
    monkeypatch.setattr('geo_mm.labels.layer.LARGE', 9)
    options = LabelOptions('kind')
    near = GRID.crop(Window(300, 0, 20, 20))
    layer = LabelLayer.read(shared, ['a', 'b'], options, near=near)
    assert (len(layer.labels), layer.extent.count) == (1, 10)
    labels = layer.onto(near)
    assert (labels.labels.tolist(), labels.fids.tolist()) == ([1], [4])
    between = GRID.crop(Window(340, 0, 10, 10))
    assert len(LabelLayer.read(shared, ['a', 'b'], options, near=between).onto(between)) == 0
    away = GRID.crop(Window(5000, 0, 10, 10))
    with pytest.raises(LabelError, match='none of its 10 features touches'):
        LabelLayer.read(shared, ['a', 'b'], options, near=away).onto(away)
    assert len(LabelLayer.read(shared, ['a', 'b'], options).labels) == 10


def test_values_of_several_types_that_are_one_text():
    gdf = frame([map_box(0, 0, 1, 1)] * 4, code=np.array([1, '1', 1.0, None], object))
    layer = read(gdf, ['one'], class_column='code', class_map={1: 'one', '<null>': 'ignore'})
    assert layer.labels.tolist() == [0, 0, 0, -1]


@pytest.mark.parametrize('suffix', ['fgb', 'gpkg', 'geojson'])
def test_half_a_file_is_one_clear_error(tmp_path, suffix):
    whole = tmp_path / f'whole.{suffix}'
    frame([map_box(i, 0, i + 1, 1) for i in range(20)]).to_file(whole)
    content = whole.read_bytes()
    for size in (10, len(content) // 3, len(content) // 2):
        half = tmp_path / f'half_{size}.{suffix}'
        half.write_bytes(content[:size])
        with pytest.raises(LabelError, match=rf'half_{size}\.{suffix}: '):
            LabelLayer.read(half, ['a'], near=GRID).onto(GRID)


@pytest.mark.parametrize('top', [95.0, 4e6])
def test_points_of_a_scene_beyond_the_pole(tmp_path, top):
    grid = Grid(Affine(1e-5, 0, 10, 0, -1e-5, top), 20, 20, CRS.from_epsg(4326))
    frame = gpd.GeoDataFrame({'class': ['a']}, geometry=[Point(10.0001, top - 1e-4)], crs=4326)
    options = LabelOptions(class_column='class', point_size=2)
    with pytest.raises(LabelError, match='no CRS on a globe'):
        LabelLayer.read(frame, ('a',), options).onto(grid)
