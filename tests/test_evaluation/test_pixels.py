"""Class rasters against rasters and vector layers."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geo_mm.errors import LabelError, SceneError
from geo_mm.evaluation import Confusion, PixelSettings, evaluate_pixels, rasters
from geo_mm.evaluation.rasters import read_windows
from geo_mm.formats import write_layer
from geo_mm.raster import Grid, RasterMetadata, RasterWriter, Scene, Window
from tests.data.rasters import TRANSFORM, write_raster

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 1, 1], [2, 2, 2, 255]], np.uint8)
PRED = np.array([[0, 1, 1, 1], [0, 2, 0, 1], [2, 2, 255, 1]], np.uint8)
# Compared are ten pixels: the two 255 are left out.
MATRIX = [[2, 1, 0], [1, 3, 0], [0, 0, 3]]


def named(path, array, names, *, transform=TRANSFORM):
    """A class raster that carries names."""
    grid = Grid(transform, array.shape[1], array.shape[0], CRS.from_epsg(32617))
    with RasterWriter(
        path, grid, 1, 'uint8', nodata=255, metadata=RasterMetadata(class_names=names)
    ) as writer:
        writer.write(array)
    return path


def evaluate(pred, truth, *, aoi=None, **options):
    return evaluate_pixels([('scene', pred, truth)], PixelSettings(**options), aoi=aoi)


def test_confusion_and_rates_by_hand(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(tmp_path / 'truth.tif', TRUTH)
    result = evaluate(pred, truth)
    assert result.classes == ('0', '1', '2')
    assert result.confusion.matrix.tolist() == MATRIX
    assert result.confusion.iou == [2 / 4, 3 / 5, 1.0]
    assert result.confusion.f1 == [4 / 6, 6 / 8, 1.0]
    assert result.confusion.precision == [2 / 3, 3 / 4, 1.0]
    assert result.confusion.recall == [2 / 3, 3 / 4, 1.0]
    assert result.confusion.accuracy == 0.8
    assert result.scores.overall.accuracy == 0.8
    assert [each.iou for each in result.scores.classes.values()] == result.confusion.iou
    assert result.scenes[0].scores == result.scores
    # By chance (3 * 3 + 4 * 4 + 3 * 3) / 100 would agree.
    assert result.confusion.kappa == pytest.approx((0.8 - 0.34) / (1 - 0.34))


def test_areas_in_square_metres(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(tmp_path / 'truth.tif', TRUTH)
    classes = evaluate(pred, truth).to_dict()['classes']
    # Four pixels of 0.5 m in a projection that shrinks by 0.9996 there.
    assert classes['1']['truth_area'] == pytest.approx(4 * 0.25 / 0.9996**2, rel=1e-4)


def test_declared_nodata_is_left_out(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED, nodata=0)
    truth = write_raster(tmp_path / 'truth.tif', TRUTH, nodata=2)
    assert evaluate(pred, truth).confusion.matrix.tolist() == [[0, 1], [0, 3]]
    assert evaluate(pred, truth).classes == ('0', '1')


def test_minus_one_is_unlabelled(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = np.where(TRUTH == 2, -1, TRUTH).astype(np.int16)
    truth = write_raster(tmp_path / 'truth.tif', truth)
    assert evaluate(pred, truth).confusion.total == 7


def test_ignored_classes_are_left_out_on_both_sides(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(tmp_path / 'truth.tif', TRUTH)
    result = evaluate(pred, truth, ignore=[0])
    assert result.classes == ('1', '2')
    assert result.confusion.matrix.tolist() == [[3, 0], [0, 3]]


def test_truth_in_another_grid_is_read_at_the_pixel_centres(tmp_path):
    # The truth has pixels of 1 m and starts 2 m further west and north.
    coarse = np.arange(16, dtype=np.uint8).reshape(4, 4)
    truth = write_raster(
        tmp_path / 'truth.tif', coarse, transform=Affine(1, 0, 499_998, 0, -1, 4_000_002)
    )
    pred = np.repeat(np.repeat(coarse[2:, 2:], 2, 0), 2, 1)
    pred = write_raster(tmp_path / 'pred.tif', pred)
    confusion = evaluate(pred, truth).confusion
    assert confusion.accuracy == 1
    assert confusion.total == 16


def test_pixels_outside_the_truth_are_left_out(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.ones((4, 6), np.uint8))
    truth = write_raster(tmp_path / 'truth.tif', np.ones((3, 5), np.uint8))
    assert evaluate(pred, truth).confusion.total == 15


def test_windows_do_not_change_the_numbers(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pred, truth = rng.integers(0, 4, (2, 301, 257)).astype(np.uint8)
    expected = np.zeros((4, 4), np.int64)
    np.add.at(expected, (truth, pred), 1)
    for number, options in enumerate(
        ({}, {'tiled': True, 'blockxsize': 32, 'blockysize': 16}, {'blockysize': 7})
    ):
        paths = (
            write_raster(tmp_path / f'{name}{number}.tif', array, **options)
            for name, array in (('pred', pred), ('truth', truth))
        )
        monkeypatch.setattr(rasters, '_WINDOW_PIXELS', 3000)
        monkeypatch.setattr(rasters, '_WINDOW_WIDTH', 64)
        result = evaluate(*paths)
        np.testing.assert_array_equal(result.confusion.matrix, expected)
        assert result.scenes[0].sketch.compared.sum() == pred.size
        assert result.scenes[0].sketch.wrong.sum() == (pred != truth).sum()


def test_sketch_of_a_scene_larger_than_the_page(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    pred, truth = rng.integers(0, 3, (2, 1501, 900)).astype(np.uint8)
    paths = [
        write_raster(tmp_path / f'{name}.tif', array, tiled=True, blockxsize=80, blockysize=112)
        for name, array in (('pred', pred), ('truth', truth))
    ]
    monkeypatch.setattr(rasters, '_WINDOW_PIXELS', 40_000)
    sketch = evaluate(*paths).scenes[0].sketch
    assert sketch.step == 2
    np.testing.assert_array_equal(sketch.truth, truth[::2, ::2])
    np.testing.assert_array_equal(sketch.pred, pred[::2, ::2])
    wrong = np.pad(pred != truth, ((0, 1), (0, 0))).reshape(751, 2, 450, 2).sum((1, 3))
    np.testing.assert_array_equal(sketch.wrong, wrong)


def test_windows_cover_every_pixel_once_and_are_bounded(tmp_path):
    for name, options in (
        ('strips', {}),
        ('tiles', {'tiled': True, 'blockxsize': 256, 'blockysize': 256}),
    ):
        path = write_raster(tmp_path / f'{name}.tif', np.zeros((2100, 3001), np.uint8), **options)
        scene = Scene.open(path)
        seen = np.zeros((2100, 3001), np.uint8)
        for window in read_windows(scene):
            assert window.area <= 1 << 21
            seen[window.slices()] += 1
        assert (seen == 1).all()
        part = Window(700, 333, 1801, 1500)
        for window in read_windows(scene, part):
            seen[window.slices()] += 1
        expected = np.ones((2100, 3001), np.uint8)
        expected[part.slices()] = 2
        np.testing.assert_array_equal(seen, expected)


def test_class_names_decide_where_both_rasters_have_them(tmp_path):
    pred = named(tmp_path / 'pred.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    # The same map, with other numbers and one more class.
    swapped = np.array([2, 0, 1], np.uint8)[np.where(TRUTH == 255, 0, TRUTH)]
    swapped[TRUTH == 255] = 255
    truth = named(tmp_path / 'truth.tif', swapped, {2: 'land', 0: 'water', 1: 'road', 3: 'ice'})
    result = evaluate(pred, truth)
    assert result.classes == ('land', 'water', 'road', 'ice')
    assert result.confusion.matrix[:3, :3].tolist() == MATRIX
    assert result.confusion.iou[3] is None
    assert result.scenes[0].sketch.wrong.sum() == 2
    np.testing.assert_array_equal(result.scenes[0].sketch.truth[0], [0, 0, 1, 1])


def test_names_of_one_raster_hold_for_both(tmp_path):
    pred = named(tmp_path / 'pred.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    truth = write_raster(tmp_path / 'truth.tif', TRUTH)
    assert evaluate(pred, truth).classes == ('land', 'water', 'road')
    given = evaluate(pred, truth, class_names={0: 'a', 1: 'b', 2: 'c'})
    assert given.classes == ('a', 'b', 'c')


def squares(names) -> gpd.GeoDataFrame:
    """The classes of TRUTH as squares of 0.5 m, without class 0 and 255."""
    rows, cols = np.nonzero((TRUTH != 0) & (TRUTH != 255))
    left, top = 500_000 + cols * 0.5, 4_000_000 - rows * 0.5
    shapes = shapely.box(left, top - 0.5, left + 0.5, top)
    return gpd.GeoDataFrame(
        {'class': [names[v] for v in TRUTH[rows, cols]]}, geometry=shapes, crs='EPSG:32617'
    )


def test_vector_truth_by_name(tmp_path):
    pred = named(tmp_path / 'pred.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    truth = squares({1: 'water', 2: 'road'}).to_crs('EPSG:4326')
    truth = write_layer(truth, tmp_path / 'truth.gpkg')
    # Under no feature is class 0, which holds the pixel that the raster left out.
    matrix = evaluate(pred, truth).confusion.matrix.tolist()
    assert matrix == [[2, 2, 0], [1, 3, 0], [0, 0, 3]]
    matrix = evaluate(pred, truth, background=255).confusion.matrix[1:].tolist()
    assert matrix == MATRIX[1:]


def test_vector_truth_by_number_and_map(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_layer(squares({1: 1, 2: 2}), tmp_path / 'truth.gpkg')
    assert evaluate(pred, truth).confusion.matrix[1:].tolist() == MATRIX[1:]
    pred = named(tmp_path / 'named.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    truth = write_layer(squares({1: 'See', 2: 'blurred'}), tmp_path / 'german.gpkg')
    result = evaluate(pred, truth, class_map={'See': 'water', 'blurred': 'ignore'})
    assert result.confusion.matrix.tolist() == [[2, 2, 0], [1, 3, 0], [0, 0, 0]]


def test_vector_truth_of_one_class_needs_no_column(tmp_path):
    pred = named(tmp_path / 'pred.tif', np.where(PRED == 2, 0, PRED), {0: 'land', 1: 'water'})
    truth = squares({1: 'x', 2: 'x'})
    truth = write_layer(truth[TRUTH[TRUTH % 255 > 0] == 1][['geometry']], tmp_path / 'truth.gpkg')
    result = evaluate(pred, truth)
    assert result.confusion.matrix.tolist() == [[5, 2], [1, 3]]
    assert any("taken as class 'water'" in note for note in result.notes)


@pytest.mark.parametrize(('values', 'name'), [((0, 1), '1'), ((0, 7), '7'), ((0, 0), '1')])
def test_a_nameless_raster_of_one_class_needs_no_column(tmp_path, values, name):
    pred = write_raster(tmp_path / 'pred.tif', np.array([values], np.uint8))
    truth = gpd.GeoDataFrame(
        geometry=[shapely.box(500_000.5, 3_999_999.5, 500_001, 4_000_000)], crs='EPSG:32617'
    )
    truth = write_layer(truth, tmp_path / 'truth.gpkg')
    result = evaluate(pred, truth)
    assert result.confusion.accuracy == (0.5 if values == (0, 0) else 1.0)
    assert any(f"taken as class '{name}'" in note for note in result.notes)


def test_a_nameless_raster_of_several_classes_needs_a_column(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.array([[0, 1, 2]], np.uint8))
    truth = write_layer(squares({1: 'a', 2: 'b'})[['geometry']], tmp_path / 'truth.gpkg')
    with pytest.raises(LabelError, match=r'the classes 1, 2[\s\S]*class_column'):
        evaluate(pred, truth)
    assert any("'1'" in note for note in evaluate(pred, truth, ignore=[2]).notes)


def test_names_in_the_record_of_a_raster(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.where(PRED == 2, 0, PRED))
    spec = {'classes': ['land', 'water'], 'background': 'land'}
    (tmp_path / 'pred.json').write_text(json.dumps({'scene': ['a.tif'], 'input_spec': spec}))
    truth = write_layer(squares({1: 'water', 2: 'land'}), tmp_path / 'truth.gpkg')
    assert evaluate(pred, truth).classes == ('land', 'water')


def test_aoi_leaves_out_pixels_whose_centre_is_outside(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(tmp_path / 'truth.tif', TRUTH)
    aoi = gpd.GeoDataFrame(
        geometry=[shapely.box(500_000, 3_999_999.2, 500_000.8, 4_000_000)], crs='EPSG:32617'
    )
    # Columns 0 and 1 (centres 0.25 and 0.75), rows 0 and 1 (0.25, 0.75).
    matrix = evaluate(pred, truth, aoi=aoi.to_crs('EPSG:4326')).confusion.matrix
    assert matrix.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_several_scenes(tmp_path):
    pairs = []
    for name in ('a', 'b'):
        pairs.append(
            (
                name,
                write_raster(tmp_path / f'{name}_pred.tif', PRED),
                write_raster(tmp_path / f'{name}_truth.tif', TRUTH if name == 'a' else PRED),
            )
        )
    result = evaluate_pixels(pairs)
    assert [scene.confusion.accuracy for scene in result.scenes] == [0.8, 1.0]
    assert result.confusion.total == 10 + 11
    assert result.to_dict()['overall']['accuracy'] == 19 / 21


def test_one_class_alone_has_no_kappa(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.ones((3, 3), np.uint8))
    assert evaluate(pred, pred).confusion.kappa is None
    assert evaluate(pred, pred).confusion.accuracy == 1


def test_kappa_of_more_pixels_than_products_of_int64_hold():
    half = 4_000_000_000
    matrix = np.array([[half, half], [half, half]], np.int64)
    assert Confusion(('a', 'b'), matrix).kappa == pytest.approx(0, abs=1e-12)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_swapping_truth_and_prediction_swaps_precision_and_recall(cells):
    one = Confusion(('a', 'b', 'c'), np.array(cells))
    other = Confusion(('a', 'b', 'c'), np.array(cells).T)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert (one.iou, one.f1, one.accuracy) == (other.iou, other.f1, other.accuracy)
    assert one.kappa == pytest.approx(other.kappa)


# Messages


def test_rasters_apart(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(
        tmp_path / 'truth.tif', TRUTH, transform=Affine(0.5, 0, 600_000, 0, -0.5, 4_000_000)
    )
    with pytest.raises(LabelError, match=r'pred.tif and truth.tif have no common area'):
        evaluate(pred, truth)


def test_no_pixel_valid_in_both(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', PRED)
    truth = write_raster(tmp_path / 'truth.tif', np.full((3, 4), 255, np.uint8))
    with pytest.raises(LabelError, match='no pixel has a class in both'):
        evaluate(pred, truth)


def test_picture_instead_of_classes(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.zeros((3, 5, 5), np.uint8))
    with pytest.raises(LabelError, match='has 3 bands'):
        evaluate(pred, pred)


def test_probabilities_instead_of_classes(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.full((5, 5), 0.3, np.float32))
    with pytest.raises(LabelError, match=r'pred\.tif: holds the value 0\.3'):
        evaluate(pred, pred)


def test_missing_prediction(tmp_path):
    with pytest.raises(SceneError, match=r'none\.tif'):
        evaluate(tmp_path / 'none.tif', tmp_path / 'none.tif')


def test_vector_truth_with_unknown_values(tmp_path):
    pred = named(tmp_path / 'pred.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    truth = write_layer(squares({1: 'See', 2: 'road'}), tmp_path / 'truth.gpkg')
    with pytest.raises(LabelError, match=r'truth\.gpkg[\s\S]*See \(4\)'):
        evaluate(pred, truth)


def test_vector_truth_without_the_column(tmp_path):
    pred = named(tmp_path / 'pred.tif', PRED, {0: 'land', 1: 'water', 2: 'road'})
    truth = squares({1: 'a', 2: 'b'}).rename(columns={'class': 'kind'})
    truth = write_layer(truth, tmp_path / 'truth.gpkg')
    with pytest.raises(LabelError, match=r"no column 'class'[\s\S]*kind"):
        evaluate(pred, truth)
    with pytest.raises(LabelError, match=r"no column 'art'[\s\S]*kind"):
        evaluate(pred, truth, class_column='art')
