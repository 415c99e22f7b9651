import copy
import pickle

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import box

import geo_mm.labels.scene_labels as rasterise
from geo_mm.labels import SceneLabels
from geo_mm.labels.scene_labels import filled_blocks
from geo_mm.raster.grid import Grid, Window

GRID = Grid(Affine.identity(), 101, 77)
RING = box(40, 40, 60, 60) - box(45, 45, 55, 55)


def scene(geometries, labels=None, fids=None, background=0):
    count = range(len(geometries))
    return SceneLabels(
        geometries,
        [1] * len(geometries) if labels is None else labels,
        list(count) if fids is None else fids,
        GRID,
        background,
    )


def stars(count, seed=0):
    """Irregular polygons of 1 to 20 pixels, everywhere and over the edges."""
    rng = np.random.default_rng(seed)
    shapes = []
    for x, y in rng.uniform(-10, 110, (count, 2)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radius = rng.uniform(1, 20, 9)
        ring = np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])
        shapes.append(shapely.Polygon(ring))
    shapes = np.array(shapes)
    return shapes[shapely.is_valid(shapes)]


# Cutting


def test_object_inside_is_moved_into_the_chip():
    chip = scene([box(12, 22, 15.5, 26)], [3], [77]).objects(Window(10, 20, 16, 16))
    assert chip.boxes.tolist() == [[2, 2, 5.5, 6]]
    assert chip.boxes.dtype == np.float32
    assert chip.labels.tolist() == [3]
    assert chip.visible.tolist() == [1.0]
    assert chip.geometries[0].equals(box(2, 2, 5.5, 6))


def test_object_at_the_edge_is_cut_and_its_visible_share_known():
    chip = scene([box(8, 22, 12, 26)]).objects(Window(10, 20, 16, 16))
    assert chip.boxes.tolist() == [[0, 2, 2, 6]]
    assert chip.visible.tolist() == [0.5]


def test_box_is_that_of_the_part_inside_and_not_the_cut_box():
    triangle = shapely.Polygon([(0, 0), (20, 0), (0, 20)])
    chip = scene([triangle]).objects(Window(5, 5, 16, 16))
    assert chip.boxes.tolist() == [[0, 0, 10, 10]]
    assert chip.visible == pytest.approx([50 / 200])


def test_object_larger_than_the_window_fills_it():
    chip = scene([box(-50, -50, 150, 150)]).objects(Window(3, 4, 5, 7))
    assert chip.boxes.tolist() == [[0, 0, 5, 7]]
    assert chip.visible == pytest.approx([35 / 40_000])


def test_object_that_only_touches_the_edge_is_not_in():
    labels = scene([box(0, 0, 10, 10), box(10, 10, 20, 20)])
    assert labels.query(Window(10, 10, 5, 5)).tolist() == [1]
    assert labels.objects(Window(10, 10, 5, 5)).indices.tolist() == [1]


def test_object_whose_box_but_not_whose_area_reaches_in_is_not_in():
    corner = shapely.Polygon([(0, 0), (20, 0), (20, 1), (1, 1), (1, 20), (0, 20)])
    assert scene([corner]).query(Window(5, 5, 20, 20)).size == 0


def test_object_cut_in_two_stays_one_object():
    u_shape = box(0, 0, 10, 10) - box(3, 0, 7, 8)
    chip = scene([u_shape]).objects(Window(0, 0, 20, 5))
    assert len(chip) == 1
    assert chip.geometries[0].geom_type == 'MultiPolygon'
    assert chip.boxes.tolist() == [[0, 0, 10, 5]]


def test_touching_line_is_no_part_of_the_cut_object():
    # Inside above row 5, and along it: the cut is an area and a line.
    step = shapely.Polygon([(0, 0), (5, 0), (5, 5), (10, 5), (10, 9), (0, 9)])
    chip = scene([step]).objects(Window(0, 0, 20, 5))
    assert chip.geometries[0].equals(box(0, 0, 5, 5))
    assert chip.boxes.tolist() == [[0, 0, 5, 5]]


def test_indices_ascend_and_lead_back_to_the_scene():
    labels = scene(stars(60), fids=np.arange(900, 900 + len(stars(60))))
    chip = labels.objects(Window(20, 10, 40, 30))
    assert (np.diff(chip.indices) > 0).all()
    moved = shapely.transform(labels.geometries[chip.indices], lambda xy: xy - (20, 10))
    cut = shapely.intersection(moved, box(0, 0, 40, 30))
    assert shapely.area(shapely.symmetric_difference(cut, chip.geometries)).max() < 1e-9


@pytest.mark.parametrize('window', [Window(500, 500, 8, 8), Window(0, 0, 0, 0)])
def test_nothing_there(window):
    chip = scene([box(0, 0, 5, 5)]).objects(window)
    assert len(chip) == 0
    assert chip.boxes.shape == (0, 4)


# Drawing


def test_pixel_counts_if_its_centre_is_inside():
    drawn = scene([box(1.5, 1.51, 3.5, 3.51)]).classes(Window(0, 0, 5, 5))
    expected = np.zeros((5, 5), dtype=np.uint8)
    expected[2:4, 1:3] = 1
    assert drawn.dtype == np.uint8
    assert drawn.tolist() == expected.tolist()


@pytest.mark.parametrize('seed', range(3))
def test_drawing_equals_gdal(seed):
    shapes = stars(80, seed)
    window = Window(-7, 11, 95, 83)
    shifted = shapely.transform(shapes, lambda xy: xy - (-7, 11))
    expected = rasterize(((shape, 1) for shape in shifted), out_shape=(83, 95), dtype=np.uint8)
    assert (scene(shapes).classes(window) == expected).all()


def test_windows_put_together_equal_the_scene_drawn_at_once():
    labels = scene(stars(80), np.arange(len(stars(80))) % 5)
    whole = labels.classes(GRID.window)
    for row in range(0, 77, 13):
        for col in range(0, 101, 17):
            window = Window(col, row, 17, 13).intersection(GRID.window)
            assert (labels.classes(window) == whole[window.slices()]).all()


def test_holes_stay_background():
    drawn = scene([RING], background=9).classes(GRID.window)
    assert drawn[50, 50] == 9
    assert drawn[42, 50] == 1
    assert (drawn == 1).sum() == 300


def test_larger_label_is_on_top_and_ignored_above_all():
    shapes = [box(0, 0, 9, 9), box(0, 0, 6, 6), box(0, 0, 3, 3)]
    drawn = scene(shapes, [1, 2, -1]).classes(Window(0, 0, 10, 10))
    assert [drawn[1, 1], drawn[4, 4], drawn[8, 8], drawn[9, 9]] == [255, 2, 1, 0]
    drawn = scene(shapes, [2, 1, 0]).classes(Window(0, 0, 10, 10))
    assert set(np.unique(drawn[:9, :9])) == {2}


def test_classes_are_the_numbers_of_the_labels():
    shapes = [box(0, 0, 3, 3), box(5, 5, 8, 8)]
    drawn = scene(shapes, [7, 200], background=50).classes(Window(0, 0, 10, 10))
    assert [drawn[1, 1], drawn[6, 6], drawn[9, 9]] == [7, 200, 50]


def test_covered_is_what_any_object_covers():
    covered = scene([box(0, 0, 3, 3), box(2, 2, 5, 5)], [-1, 0]).covers(Window(1, 1, 5, 5))
    expected = np.zeros((5, 5), bool)
    expected[:2, :2] = expected[1:4, 1:4] = True
    assert covered.tolist() == expected.tolist()


def test_masks_belong_to_the_clipped_objects():
    labels = scene([box(0, 0, 5, 5), RING, box(55, 55, 80, 80)])
    window = Window(41, 41, 20, 20)
    chip = labels.objects(window)
    masks = chip.masks()
    assert masks.shape == (2, 20, 20)
    assert masks.dtype == np.uint8
    assert chip.indices.tolist() == [1, 2]
    assert masks[0].sum() == 19 * 19 - 10 * 10
    assert masks[1].sum() == 6 * 6
    assert not masks[0, 5, 5]


# The value


def test_copies_are_the_object_itself():
    labels = scene([RING])
    assert copy.deepcopy({'labels': labels})['labels'] is labels
    assert copy.copy(labels) is labels


def test_pickle_rebuilds_the_index():
    labels = scene(stars(30), np.arange(len(stars(30))) % 3)
    again = pickle.loads(pickle.dumps(labels))
    window = Window(20, 10, 40, 30)
    assert (again.grid, again.background) == (labels.grid, labels.background)
    assert again.objects(window).indices.tolist() == labels.objects(window).indices.tolist()
    assert (again.classes(window) == labels.classes(window)).all()


def test_arrays_cannot_be_written():
    labels = scene([RING])
    for array in (labels.geometries, labels.labels, labels.fids, labels.points()[0]):
        with pytest.raises(ValueError, match='read-only'):
            array[0] = array[0]
    labels.objects(GRID.window).geometries[0] = None
    assert labels.geometries[0] is not None


def test_points_lie_inside_even_of_a_ring():
    labels = scene([RING, box(0, 0, 4, 2)], [2, -1])
    centres, numbers = labels.points()
    assert numbers.tolist() == [2, -1]
    assert shapely.contains_xy(labels.geometries, *centres.T).all()
    assert centres[1].tolist() == [2, 1]


def test_arrays_of_unequal_length():
    with pytest.raises(ValueError, match='equal length'):
        SceneLabels([RING], [0, 1], [0], GRID)


halves = st.integers(-4, 30).map(lambda number: number / 2)


def count_filled(polygons, window):
    counts = np.zeros((window.height, window.width), dtype=int)
    for _, rows, cols, block in filled_blocks(np.array(polygons, dtype=object), window):
        counts[rows, cols] += block
    return counts


@given(st.lists(st.tuples(halves, halves), min_size=4, max_size=9, unique=True))
@settings(max_examples=150, deadline=None)
def test_cells_of_a_partition_share_no_pixel_and_leave_no_gap(points):
    # Coordinates on half pixels put many edges exactly through pixel centres.
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=box(-20, -20, 40, 40))
    )
    counts = count_filled(cells, Window(-3, 2, 17, 11))
    assert (counts == 1).all()


@given(halves, halves, halves, halves)
def test_box_holds_the_centres_from_its_left_and_upper_edge_on(x0, y0, x1, y1):
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    window = Window(2, -1, 9, 13)
    xs = np.arange(2, 11) + 0.5
    ys = np.arange(-1, 12) + 0.5
    expected = ((ys >= y0) & (ys < y1))[:, None] & ((xs >= x0) & (xs < x1))
    shapes = [box(x0, y0, x1, y1)] if x1 > x0 and y1 > y0 else []
    assert (count_filled(shapes, window) == expected).all()


def test_direction_of_the_ring_does_not_matter():
    ring = [(1, 1), (9, 2), (7, 8), (2, 6)]
    both = [shapely.Polygon(ring), shapely.Polygon(ring[::-1])]
    counts = count_filled(both, Window(0, 0, 10, 10))
    assert set(np.unique(counts)) == {0, 2}


def test_multipolygon_is_one_object():
    pair = shapely.MultiPolygon([box(0, 0, 2, 2), box(6, 6, 8, 8)])
    blocks = list(filled_blocks(np.array([pair]), Window(0, 0, 10, 10)))
    assert len(blocks) == 1
    assert blocks[0][3].sum() == 8


def test_batches_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (40, 2))
    shapes = shapely.box(*corners.T, *(corners + rng.uniform(0, 20, (40, 2))).T)
    window = Window(5, 5, 40, 40)
    at_once = [(i, r, c, block.tolist()) for i, r, c, block in filled_blocks(shapes, window)]
    monkeypatch.setattr(rasterise, 'BATCH_CELLS', 100)
    batched = [(i, r, c, block.tolist()) for i, r, c, block in filled_blocks(shapes, window)]
    assert batched == at_once
    assert len(at_once) > 20


def test_no_polygons():
    assert list(filled_blocks(np.empty(0, dtype=object), Window(0, 0, 5, 5))) == []
