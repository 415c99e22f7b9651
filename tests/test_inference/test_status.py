"""What the files of a folder say of the predictions into it."""

import json
import os

import numpy as np
import pytest

from geo_mm import prediction_status
from geo_mm.cli import main
from geo_mm.errors import OutputError
from geo_mm.inference import Predictor
from geo_mm.inference.journal import Journal
from geo_mm.inference.scenes import predict_scenes
from tests.data.models import pixel_files, spec_of
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    folder = tmp_path_factory.mktemp('model')
    return Predictor(pixel_files(folder, SPEC, [[0.0], [1.0]])[1], device='cpu', tile=32)


@pytest.fixture
def scenes(tmp_path):
    """Of 4, 1, 1 and 1 tiles; the one before the last is broken in its pixels."""
    sizes = {'a': (50, 50), 'b': (20, 20), 'c': (64, 64), 'd': (20, 20)}
    paths = [
        write_raster(tmp_path / f'{name}.tif', noise((1, *size), seed=3))
        for name, size in sizes.items()
    ]
    with paths[2].open('r+b') as file:
        file.truncate(paths[2].stat().st_size // 3)
    return paths


def states(folder):
    return {scene.name: scene.state for scene in prediction_status(folder).scenes}


def test_every_moment_of_a_run(tmp_path, predictor, scenes):
    out, seen = tmp_path / 'out', []

    def look(*_):
        seen.append(prediction_status(out))

    predict_scenes(predictor, scenes, out, progress=look, report=look)
    assert all(status.runs == 1 and status.total == 4 for status in seen)
    first = seen[0]
    assert first.scenes[0].state == 'running'
    assert first.scenes[0].note.startswith(f'process {os.getpid()} on ')
    assert [scene.tiles for scene in first.scenes][:2] == [4, 1]
    assert [scene.state for scene in first.scenes][1:] == ['waiting'] * 3
    done = [status.tiles_done for status in seen]
    assert done == sorted(done)
    assert 2 in done  # a row of the first scene
    assert seen[-1].rate > 0

    last = prediction_status(out)
    assert {scene.name: scene.state for scene in last.scenes} == {
        'a': 'done',
        'b': 'done',
        'c': 'failed',
        'd': 'done',
    }
    assert (last.runs, last.tiles_done, last.tiles, last.seconds_left) == (0, 6, 6, None)
    assert 'c.tif' in last.scenes[2].note
    assert 'scenes  4: done 3, failed 1' in str(last)

    # Mended, and predicted by the same call: nothing is left but results.
    write_raster(scenes[2], noise((1, 64, 64)))
    predict_scenes(predictor, scenes, out)
    assert set(states(out).values()) == {'done'}
    assert not (out / '.runs').exists()


def test_run_that_was_ended(tmp_path, predictor, scenes):
    def stop(scene, *_):
        raise KeyboardInterrupt

    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        predict_scenes(predictor, scenes, out, progress=stop)
    # Its first tile was done, but no row of tiles.
    assert set(states(out).values()) == {'waiting'}
    journal = Journal(out / '.a.unfinished')
    journal.open({}, {'rows': 2, 'tiles': 4})
    journal.write(0, {'x': np.zeros(1)})
    assert states(out)['a'] == 'running'
    journal.close()
    status = prediction_status(out)
    assert (status.scenes[0].state, status.tiles_done, status.runs) == ('interrupted', 2, 0)
    assert 'repeat the command' in str(status)


def test_results_with_other_settings_are_not_done(tmp_path, predictor, scenes):
    out = tmp_path / 'out'
    predict_scenes(predictor, [scenes[0], scenes[1]], out)
    found = {}
    predict_scenes(
        predictor.changed(confidence=True),
        [scenes[0], scenes[1]],
        out,
        progress=lambda *_: found or found.update(states(out)),
    )
    assert found == {'a': 'running', 'b': 'waiting'}
    assert states(out) == {'a': 'done', 'b': 'done'}


def test_scenes_of_shards_that_have_not_begun_are_counted(tmp_path, predictor, scenes):
    out = tmp_path / 'out'
    wanted = [scenes[0], scenes[1], scenes[3]]
    counts = []
    for number in range(3):
        found = predict_scenes(predictor, wanted, out, shard=f'{number}/3')
        counts.append(len(found))
        status = prediction_status(out)
        assert status.total == 3
        assert status.counts['done'] == sum(counts)
        assert status.counts['waiting'] == 3 - sum(counts)
    assert sum(counts) == 3


def test_scenes_that_cannot_be_opened_are_counted_once(tmp_path, predictor, scenes):
    two = write_raster(tmp_path / 'two.tif', noise((2, 20, 20)), descriptions=['x', 'y'])
    outcomes = predict_scenes(predictor, [*scenes, two], tmp_path / 'out')
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, True, False]
    status = prediction_status(tmp_path / 'out')
    assert status.counts == status.counts | {'done': 3, 'failed': 2, 'waiting': 0}
    assert status.total == 5


def test_command(tmp_path, predictor, scenes, capsys):
    predict_scenes(predictor, [scenes[0], scenes[2]], tmp_path / 'out')
    assert main(['status', str(tmp_path / 'out'), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['done'], found['failed'], found['tiles_done'], found['tiles']) == (1, 1, 4, 4)
    assert [scene['name'] for scene in found['unfinished']] == ['c']
    with pytest.raises(OutputError, match='no such folder'):
        prediction_status(tmp_path / 'none')


def test_a_folder_without_predictions(tmp_path, capsys):
    assert main(['status', str(tmp_path)]) == 0
    assert capsys.readouterr().out == f'no predictions of scenes in {tmp_path}\n'


RUN = {'list': 'a', 'total': 2, 'shard': '', 'started': 1.0, 'scenes': [['x', 'id', 3]]}
NESTED = '[' * 100_000
NOTES = [5, {'rows': 0, 'tiles': 4}, {'rows': 'a', 'tiles': [1]}, {'rows': 1, 'tiles': 10**400}]
RECORDS = [{'identity': 'x'}, {'identity': 'x', 'tiles': 'a'}, {'identity': [1], 'tiles': 1e400}]
RUNS = [
    {'scenes': 5},
    {'scenes': [5]},
    {'scenes': [['x']]},
    {'scenes': [['../x', 'id', 3]]},
    {'scenes': [['x\0', 'id', 3]]},
    {'scenes': [['x' * 5000, 'id', 3]]},
    {'started': 'x'},
    {'started': float('nan')},
    {'total': -5},
    {'total': float('inf')},
]


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        *(('.runs/a.json', json.dumps(RUN | wrong), {}) for wrong in RUNS),
        *(('y.json', json.dumps(record), {}) for record in RECORDS),
        *(
            ('.y.unfinished/run.json', json.dumps({'notes': notes}), {'y': 'interrupted'})
            for notes in NOTES
        ),
        ('.runs/a.json', NESTED, {}),
        ('y.json', NESTED, {}),
        ('.y.unfinished/run.json', NESTED, {'y': 'interrupted'}),
        ('.y.unfinished/lock/x', '', {'y': 'interrupted'}),
    ],
)
def test_files_that_are_not_ours(tmp_path, name, text, expected):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if '.y.unfinished' in name:
        (tmp_path / '.y.unfinished' / 'row-000000.npz').touch()
    assert states(tmp_path) == expected
    status = prediction_status(tmp_path)
    assert status.total == len(expected)
    assert status.tiles < 100
    assert str(status)


def test_reason_cannot_write_over_the_terminal(tmp_path):
    (tmp_path / '.runs').mkdir()
    (tmp_path / '.runs' / 'a.failed.json').write_text(json.dumps({'reason': '\x1b[2J\r1\n2'}))
    assert str(prediction_status(tmp_path)).endswith('failed a: \\x1b[2J\\r1\n2')
