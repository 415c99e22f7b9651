"""Commands whose scenes are shared out among the workers of a Dask cluster."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from shapely.geometry import box

from geo_mm.catalog import CatalogEntry
from geo_mm.catalog.entries import write_catalog
from geo_mm.chip_export.export import JOURNAL
from geo_mm.cli import main
from geo_mm.cluster import mapping
from geo_mm.data_checks.statistics import data_statistics
from geo_mm.errors import SceneError
from tests.data import processes
from tests.data.labels import write_labels
from tests.data.rasters import noise, write_raster

CHIPS = '--tile-size-x 32 --tile-size-y 32 --class-column class'


@pytest.fixture(scope='module')
def address():
    """The scheduler of two workers, each a process."""
    port = processes.free_port()
    address = f'tcp://127.0.0.1:{port}'
    started = [processes.start(processes.dask_scheduler, port)]
    started += [processes.start(processes.dask_worker, address) for _ in range(2)]
    yield address
    for process in reversed(started):
        process.kill()
        process.join()


@pytest.fixture(scope='module')
def catalog(tmp_path_factory):
    """Five scenes of different sizes with objects, two in one layer."""
    folder, entries = tmp_path_factory.mktemp('scenes'), []
    for number in range(5):
        image = write_raster(
            folder / f'{number}.tif', noise((2, 70 + 9 * number, 90), 'uint16', number)
        )
        shapes = [box(3 * i, 4 * i, 3 * i + 9 + number, 4 * i + 12) for i in range(1, 8)]
        labels = write_labels(folder / f'{number}.gpkg', shapes, ['roof', 'tree'] * 3 + ['roof'])
        layer = labels if number != 4 else folder / '3.gpkg'
        entries.append(CatalogEntry(str(image), str(layer), 'val' if number == 2 else 'train'))
    return str(write_catalog(entries, None, folder / 'catalog.csv'))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def run(words, catalog, folder, *more):
    """Runs a command; OUT is a new folder, SCENES that of the scenes."""
    folder.mkdir()
    places = {'OUT': folder, 'SCENES': Path(catalog).parent, 'CATALOG': catalog}
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
    assert main([*words, *more]) in (0, None, 1)


@pytest.mark.parametrize(
    'words',
    [
        'statistics CATALOG --json OUT/statistics.json',
        'catalog SCENES/?.tif -o OUT/catalog.csv',
        'doctor CATALOG --json OUT/doctor.json',
        f'export-chips CATALOG -o OUT/coco --metadata-format COCO {CHIPS}',
        f'export-chips CATALOG -o OUT/masks --metadata-format RCNN_Masks {CHIPS}',
    ],
    ids=lambda words: words.split()[0],
)
def test_same_bytes_as_one_process(catalog, address, tmp_path, words):
    run(words.split(), catalog, tmp_path / 'one')
    run(words.split(), catalog, tmp_path / 'many', '--dask', address)
    assert files_of(tmp_path / 'many') == files_of(tmp_path / 'one') != {}


@pytest.mark.parametrize(
    'words',
    [
        'evaluate SCENES/?.gpkg SCENES/?.gpkg --no-score --coco --size-classes 20 -o OUT',
        'evaluate SCENES/maps/?.tif SCENES/?.gpkg --classes 0=ground 1=roof 2=tree -o OUT',
    ],
    ids=['objects', 'pixels'],
)
def test_same_scores_as_by_one_process(catalog, address, tmp_path, words):
    for number in range(5):
        pixels = noise((1, 70 + 9 * number, 90), 'uint8', number) % 3
        (Path(catalog).parent / 'maps').mkdir(exist_ok=True)
        write_raster(Path(catalog).parent / 'maps' / f'{number}.tif', pixels)
    run(words.split(), catalog, tmp_path / 'one')
    run(words.split(), catalog, tmp_path / 'many', '--dask', address)
    one, many = (files_of(tmp_path / name) for name in ('one', 'many'))
    assert one.keys() == many.keys()
    assert one['metrics.json'] == many['metrics.json']


def fails_from_three_on(number):
    time.sleep(0.2 if number == 3 else 0)  # others fail before
    if number >= 3:
        raise SceneError(f'scene {number}')
    return number


@pytest.mark.parametrize('threads', [1, 3])
@pytest.mark.parametrize('is_cluster', [False, True])
def test_results_and_errors_come_in_the_order_of_the_list(address, threads, is_cluster):
    found = []
    with (
        pytest.raises(SceneError, match='scene 3'),
        mapping(address if is_cluster else None, threads=threads) as mapped,
    ):
        found.extend(mapped(fails_from_three_on, range(6)))
    with mapping(address if is_cluster else None, threads=threads) as mapped:
        found.extend(mapped(fails_from_three_on, range(3)))
    assert found in ([0, 1, 2], [0, 1, 2, 0, 1, 2])


def test_failing_scenes_are_told_as_by_one_process(address, tmp_path, capsys):
    for number in range(4):
        write_raster(tmp_path / f'{number}.tif', noise((3 if number == 2 else 2, 20, 20)))
    said = []
    for more in ([], ['--dask', address]):
        with pytest.raises(SystemExit, match='2'):
            main(['statistics', str(tmp_path), *more])
        said.append(capsys.readouterr().err.splitlines()[-3:])
    assert said[0] == said[1]
    assert said[0][0] == 'error: 2: bands are B1, B2, B3'


def dies_once(marker):
    if not os.path.exists(marker):
        open(marker, 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_a_killed_worker_costs_its_task(tmp_path, address):
    with mapping(address) as mapped:
        (survivor,) = mapped(dies_once, [str(tmp_path / 'died')])
    assert survivor
    assert (tmp_path / 'died').exists()


def test_an_interrupted_export_goes_on(catalog, address, tmp_path):
    words = f'export-chips CATALOG -o OUT/coco --metadata-format COCO {CHIPS}'
    words += ' --stride-x 3 --stride-y 3'
    run(words.split(), catalog, tmp_path / 'one', '--workers', '2')
    out = tmp_path / 'many'
    out.mkdir()
    told = [*words.replace('CATALOG', catalog).replace('OUT', str(out)).split(), '--dask', address]
    command = processes.start(processes.command, told, tmp_path / 'said.txt')
    wait_for(lambda: list((out / 'coco').rglob('*.tif')) or not command.is_alive())
    os.kill(command.pid, signal.SIGINT)
    command.join()
    assert command.exitcode == 130
    assert (out / 'coco' / JOURNAL).exists()
    assert not (out / 'coco' / 'labels.json').exists()
    (out / 'coco' / 'images' / '.a-12345678.tif').touch()  # of a worker that was killed
    assert main(told) in (0, None)
    assert files_of(out) == files_of(tmp_path / 'one')


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_statistics_while_workers_are_killed(catalog):
    """Nannies of a local cluster start others."""
    rows = Path(catalog).read_text().splitlines()
    many = Path(catalog).with_name('many.csv')
    many.write_text('\n'.join([rows[0], *(rows[1:] * 40)]))
    killed = []

    def progress(items):
        for number, item in enumerate(items):
            if number in (5, 60, 120):
                children = psutil.Process().children(recursive=True)
                killed.append(next(p for p in children if 'spawn_main' in ' '.join(p.cmdline())))
                killed[-1].kill()
            yield item

    found = data_statistics(many, progress=progress, cluster='local:2').to_dict()
    assert len(killed) == 3
    assert found == data_statistics(many).to_dict()


def test_a_local_cluster_does_not_mind_another_dashboard(recwarn):
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # which is as good: another has it
            other.bind(('', 8787))
            other.listen()
        with mapping('local:1', 'test') as mapped:
            assert list(mapped(abs, [-1])) == [1]
    assert not [str(found.message) for found in recwarn if 'already in use' in str(found.message)]
