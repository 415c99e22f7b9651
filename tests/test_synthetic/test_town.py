"""Whole runs: the catalog, reproducibility, sizes, the command line."""

import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio

from geo_mm.errors import OutputError
from geo_mm.synthetic import make_town
from geo_mm.synthetic.scene import splits

ROOT = Path(__file__).parents[2]


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    calls = []
    make_town(folder, scenes=3, size=160, seed=11, progress=lambda *call: calls.append(call))
    return folder, calls


def test_catalog_lists_what_was_written(run):
    folder, _ = run
    table = pd.read_csv(folder / 'catalog.csv')
    assert table.columns.tolist() == ['image', 'labels', 'split']
    assert table['image'].tolist() == [f'images/town_{i}.tif' for i in range(3)]
    assert table['labels'].tolist() == [f'labels/town_{i}.gpkg' for i in range(3)]
    assert table['split'].tolist() == ['train', 'val', 'test']
    written = {p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file()}
    assert written == {'catalog.csv', *table['image'], *table['labels']}


@pytest.mark.parametrize(
    ('count', 'expected'),
    [
        (1, 'train'),
        (2, 'train val'),
        (4, 'train train val test'),
        (12, 'train ' * 8 + 'val val test test'),
    ],
)
def test_splits(count, expected):
    assert splits(count) == expected.split()


def test_progress_counts_up_to_the_end(run):
    _, calls = run
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[0][:2] == (0, 3)
    assert calls[-1][:2] == (3, 3)


def test_the_same_seed_gives_the_same_scenes_however_many_there_are(run, tmp_path):
    folder, _ = run
    make_town(tmp_path, scenes=2, size=160, seed=11)
    for i in range(2):
        image, labels = f'images/town_{i}.tif', f'labels/town_{i}.gpkg'
        np.testing.assert_array_equal(read(tmp_path / image), read(folder / image))
        one, two = (geopandas.read_file(f / labels) for f in (folder, tmp_path))
        assert one.geometry.to_wkb().tolist() == two.geometry.to_wkb().tolist()
        pd.testing.assert_frame_equal(one.drop(columns='geometry'), two.drop(columns='geometry'))


def test_other_seeds_give_other_scenes(run, tmp_path):
    folder, _ = run
    make_town(tmp_path, scenes=1, size=160, seed=12)
    image = 'images/town_0.tif'
    assert (read(tmp_path / image) != read(folder / image)).mean() > 0.9


def test_writing_again_replaces_the_labels(tmp_path):
    for seed in (1, 2):
        make_town(tmp_path, scenes=1, size=96, seed=seed)
    once = tmp_path / 'once'
    make_town(once, scenes=1, size=96, seed=2)
    counts = [len(geopandas.read_file(f / 'labels/town_0.gpkg')) for f in (tmp_path, once)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(('size', 'gsd'), [((1, 1), 0.5), ((33, 17), 1.0), ((65, 130), 0.3)])
def test_any_size_and_gsd(tmp_path, size, gsd):
    make_town(tmp_path, scenes=1, size=size, gsd=gsd)
    with rasterio.open(tmp_path / 'images/town_0.tif') as file:
        assert (file.width, file.height) == size
        assert file.res == (gsd, gsd)


@pytest.mark.parametrize(
    'wrong',
    [{'scenes': 0}, {'size': 0}, {'size': (5, -1)}, {'gsd': 0.0}, {'gsd': 30}, {'seed': -1}],
)
def test_senseless_arguments_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match='scenes >= 1'):
        make_town(tmp_path, **wrong)


def test_a_file_in_the_way_is_one_clear_error(tmp_path):
    (tmp_path / 'town').write_text('')
    with pytest.raises(OutputError, match='images: cannot be written'):
        make_town(tmp_path / 'town', scenes=1, size=16)


def command_line(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'geo_mm.cli', 'synthetic', *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_command_line_writes_a_run(tmp_path):
    result = command_line(str(tmp_path), '--scenes', '1', '--size', '40', '24', '--gsd', '0.6')
    assert result.returncode == 0, result.stderr
    assert read(tmp_path / 'images/town_0.tif').shape == (4, 24, 40)


def test_command_line_reports_mistakes_without_a_traceback(tmp_path):
    (tmp_path / 'town').write_text('')
    result = command_line(str(tmp_path / 'town'), '--scenes', '1', '--size', '16')
    assert result.returncode == 2
    assert 'images: cannot be written: Not a directory' in result.stderr
    assert 'Traceback' not in result.stderr
