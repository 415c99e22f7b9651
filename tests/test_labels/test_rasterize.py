import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

import geo_mm.labels.rasterize as rasterise
from geo_mm.labels.rasterize import filled_blocks
from geo_mm.raster.grid import Window

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
