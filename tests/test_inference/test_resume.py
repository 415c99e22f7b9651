"""Runs that are killed, and runs of several processes, give the same bytes as one that is not."""

import random
import signal
import time

import numpy as np
import pytest
from affine import Affine

from geo_mm.raster import tile_plan
from tests.data import processes
from tests.data.models import object_files, paint, pixel_files, spec_of
from tests.data.rasters import TRANSFORM, noise, write_raster

SIZE = (230, 190)
FORMATS = ('gpkg', 'geojson', 'fgb')  # without pyarrow, too
TILE, OVERLAP = 32, 20  # each pixel is in up to three rows of tiles
ROWS = len({tile.row for tile in tile_plan(*SIZE, TILE, OVERLAP)})
COLS = len(tile_plan(*SIZE, TILE, OVERLAP)) // ROWS


def pixel_case(folder):
    spec = spec_of('pixels', ['a', 'b', 'c'], ['B1'], mean=(127.5,), std=(20.0,), gsd=0.5)
    # Pixels of 0.25 m, so that the result is resampled; and a hole.
    image = noise((1, SIZE[1], SIZE[0])).repeat(2, axis=1).repeat(2, axis=2)
    image[:, 90:170, 100:180] = 0
    transform = TRANSFORM @ Affine.scale(0.5)
    scene = write_raster(folder / 's.tif', image, nodata=0, transform=transform)
    checkpoint = pixel_files(folder / 'model', spec, [[0.1], [1.0], [-0.4]])[1]
    kept = dict(confidence=True, probabilities='float32')
    written = dict(polygons=True, simplify=1.5, regularise='b', formats=FORMATS, stac=True)
    options = dict(tile=TILE, overlap=OVERLAP, **kept, **written)
    return dict(checkpoint=checkpoint, scene=scene, options=options)


def object_case(folder):
    spec = spec_of('objects', ['even', 'odd'], ['B1'], dtype='uint16')
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (SIZE[0] - 12, SIZE[1] - 12), (150, 2))
    boxes = [[x, y, x + 5 + (x + y) % 7, y + 6] for x, y in corners]
    scene = write_raster(folder / 's.tif', paint(SIZE[::-1], boxes))
    checkpoint = object_files(folder / 'model', spec, with_masks=True)[1]
    options = dict(tile=TILE, overlap=OVERLAP, formats=FORMATS, stac=True)
    return dict(checkpoint=checkpoint, scene=scene, options=options)


@pytest.fixture(scope='module', params=['pixels', 'objects'])
def case(request, tmp_path_factory):
    """What to predict, and the bytes that come out of a run that is left alone."""
    folder = tmp_path_factory.mktemp(request.param)
    made = (pixel_case if request.param == 'pixels' else object_case)(folder)
    began = time.monotonic()
    process = processes.start(processes.predict, **made, out=folder / 'whole')
    process.join()
    assert process.exitcode == 0
    expected = processes.hashes(folder / 'whole')
    assert len(expected) == {'pixels': 19, 'objects': 11}[request.param]
    return made, expected, time.monotonic() - began


def beside(made, folder):
    """As far from the scene as the expected results: these name it relative to themselves."""
    return made['scene'].parent / folder.name


def killed(process) -> bool:
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize('step', [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_whenever_something_becomes_visible(case, tmp_path, step):
    """Each run dies some files later than the one before, until one comes through."""
    made, expected, _ = case
    out, log, die_at = beside(made, tmp_path), tmp_path / 'forwards', 1
    while killed(processes.start(processes.predict, **made, out=out, log=log, die_at=die_at)):
        die_at += step
        # Only the very last step, the renaming of all results, may have begun.
        visible = {k: v for k, v in processes.hashes(out).items() if k[0] != '.'}
        assert visible.items() <= expected.items()
    deaths = die_at // step
    assert deaths > 2
    assert processes.hashes(out) == expected
    assert log.stat().st_size <= (ROWS + deaths) * COLS


def killed_at_random(case, folder, number):
    made, expected, seconds = case
    out, moments = beside(made, folder), random.Random(number)
    process = processes.start(processes.predict, **made, out=out)
    time.sleep(moments.uniform(0, seconds))
    process.kill()
    process.join()
    again = processes.start(processes.predict, **made, out=out)
    assert not killed(again)
    assert processes.hashes(out) == expected


@pytest.mark.parametrize('number', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_moment(case, tmp_path, number):
    killed_at_random(case, tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize('number', range(20))
def test_killed_at_twenty_moments(case, tmp_path, number):
    killed_at_random(case, tmp_path, 100 + number)


@pytest.mark.parametrize('size', [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_the_bytes_of_one(case, tmp_path, size):
    made, expected, _ = case
    out = beside(made, tmp_path)
    assert processes.predict_together(size, **made, out=out) == [0] * size
    assert processes.hashes(out) == expected


def test_killed_run_of_one_is_finished_by_three(case, tmp_path):
    made, expected, _ = case
    out = beside(made, tmp_path)
    assert killed(processes.start(processes.predict, **made, out=out, die_at=9))
    assert processes.predict_together(3, **made, out=out) == [0] * 3
    assert processes.hashes(out) == expected


def test_process_that_fails_ends_the_others_and_loses_nothing(case, tmp_path):
    made, expected, _ = case
    out = beside(made, tmp_path)
    assert processes.predict_together(2, broken=1, **made, out=out) == [2, 2]
    assert [path.name for path in out.iterdir()] == ['.s.unfinished']
    assert not killed(processes.start(processes.predict, **made, out=out))
    assert processes.hashes(out) == expected
