"""Scenes from an object store, and results to it."""

import json
import shutil
import signal

import pystac
import pytest
import rasterio
from distributed import LocalCluster

from geo_mm import prediction_status
from geo_mm.cli import main
from geo_mm.errors import OutputError
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.cluster import ModelFiles, predict_on_cluster
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.scenes import check_outcomes, predict_scenes
from geo_mm.stores import download, listed, read_text, remove, upload, url, workplace
from tests.data import processes
from tests.data.models import pixel_files, spec_of
from tests.data.rasters import noise, write_raster
from tests.data.s3 import bucket, served

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))


@pytest.fixture(scope='module', autouse=True)
def server():
    with served() as address:
        yield address


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    checkpoint = pixel_files(tmp_path_factory.mktemp('model'), SPEC, [[0.0], [1.0]])[1]
    options = PredictOptions(tile=32, quicklook=False)
    return ModelFiles((str(checkpoint),), device='cpu', trust_checkpoint=True, options=options)


@pytest.fixture(scope='module')
def predictor(model):
    return model.load()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))


@pytest.fixture
def town(tmp_path):
    """A bucket with scenes, two of a single tile and one of several."""
    folder = bucket()
    sizes = [(30, 30), (70, 60), (30, 30)]
    made = [
        write_raster(tmp_path / f'{n}.tif', noise((1, *size), seed=n))
        for n, size in enumerate(sizes)
    ]
    upload(made, folder / 'in')
    return folder


def scenes_of(town):
    return [url(path) for path in listed(town / 'in')]


def names(folder):
    return [path.name for path in listed(folder)]


def files_in_temporary_folder(tmp_path):
    return [path for path in (tmp_path / 'tmp').rglob('*') if path.is_file()]


def test_to_a_store_and_to_a_folder_are_the_same(town, tmp_path, predictor):
    scenes = scenes_of(town)
    check_outcomes(predict_scenes(predictor, scenes, tmp_path / 'local'))
    outcomes = predict_scenes(predictor, scenes, url(town / 'out'))
    check_outcomes(outcomes)
    assert outcomes[0].prediction.files[0] == town / 'out' / '0.tif'
    assert copied(town / 'out', tmp_path / 'copies') == processes.hashes(tmp_path / 'local')
    assert files_in_temporary_folder(tmp_path) == []
    with rasterio.open(outcomes[1].prediction.files[0]) as result:
        assert result.shape == (70, 60)


def test_what_is_there_is_not_predicted_again(town, predictor):
    scenes, out = scenes_of(town), town / 'out'
    check_outcomes(predict_scenes(predictor, scenes[:2], out))
    remove([out / '1.json'])  # as if its upload had not come to the end
    outcomes = predict_scenes(predictor, scenes, out, restart=False)
    # What is not told by the record may be someone else's.
    assert [outcome.was_there for outcome in outcomes] == [True, False, False]
    assert 'exists, and is no earlier prediction' in str(outcomes[1].error)


def test_interrupted_upload_goes_on(town, tmp_path, predictor, monkeypatch):
    scenes, out = scenes_of(town), town / 'out'

    def broken(paths, folder):
        upload(list(paths)[:3], folder)
        raise OutputError('the network is gone')

    monkeypatch.setattr('geo_mm.inference.prediction.upload', broken)
    [outcome] = predict_scenes(predictor, scenes[1:2], out)
    assert 'the network is gone' in str(outcome.error)
    assert '.1.unfinished' in names(out)
    assert '1.json' not in names(out)
    monkeypatch.undo()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    forwards = []
    predictor.models[0].model.register_forward_hook(lambda *_: forwards.append(1))
    [outcome] = predict_scenes(predictor, scenes[1:2], out)
    assert outcome.error is None
    assert forwards == []  # the tiles were kept
    assert '.1.unfinished' not in names(out)
    assert json.loads(read_text(out / '1.json'))['files'][0] == '1.tif'


def test_not_over_the_scenes(town, predictor):
    [outcome] = predict_scenes(predictor, scenes_of(town)[:1], town / 'in')
    assert 'is the folder of the scene itself' in str(outcome.error)


def test_no_bucket(town, tmp_path, predictor):
    with pytest.raises(OutputError, match=r'nobody/out.*: cannot be written'):
        check_outcomes(predict_scenes(predictor, scenes_of(town)[1:2], 's3://nobody/out'))
    with pytest.raises(OutputError, match='cannot be written'):
        check_outcomes(predict_scenes(predictor, scenes_of(town), 's3://nobody/out'))


def test_status(town, tmp_path, predictor):
    scenes, out = [*scenes_of(town), url(town / 'none.tif')], town / 'out'
    seen = []
    predict_scenes(predictor, scenes, out, report=lambda _: seen.append(prediction_status(out)))
    assert [status.counts['done'] for status in seen] == [0, 1, 2, 3]
    assert [status.runs for status in seen] == [0, 1, 1, 1]
    last = prediction_status(url(out))
    assert (last.counts['done'], last.counts['failed'], last.runs) == (3, 1, 0)
    assert 'no process of this machine works on it' in str(last)
    assert 'none.tif' in str(last)
    # Elsewhere.
    shutil.rmtree(workplace(out))
    assert prediction_status(out) == last
    write_raster(tmp_path / 'none.tif', noise((1, 20, 20)))
    upload([tmp_path / 'none.tif'], town)
    check_outcomes(predict_scenes(predictor, scenes, out))
    assert names(out / '.runs') == []
    assert prediction_status(out).counts['done'] == 4


def test_on_a_cluster(town, model):
    scenes = [SceneToPredict(scene) for scene in scenes_of(town)]
    arguments = dict(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with LocalCluster(**arguments) as cluster:
        address = cluster.scheduler_address
        check_outcomes(predict_on_cluster(model, scenes, url(town / 'out'), address))
    assert [name for name in names(town / 'out') if name.endswith('.tif')] == [
        f'{n}.tif' for n in range(3)
    ]
    assert prediction_status(town / 'out').counts['done'] == 3


def test_command_line(town, tmp_path, model, capsys):
    scenes, out = scenes_of(town), url(town / 'out')
    arguments = [*model.checkpoints, *scenes, '-o', out, '--tile', '32', '--device', 'cpu']
    arguments += ['--no-quicklook', '--stac', '--staging', str(tmp_path / 'here')]
    command = ['predict', *arguments, '--trust-checkpoint']
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f'files are made in {tmp_path / "here"}, and uploaded to {out}' in said
    assert f'{out}/0.tif' in said
    assert main(command) == 0
    assert 'there already' in capsys.readouterr().out
    assert main(['status', out]) == 0
    assert 'scenes  3: done 3' in capsys.readouterr().out
    assert not any((tmp_path / 'here').rglob('*'))
    item = pystac.Item.from_dict(json.loads(read_text(town / 'out' / '0.stac.json')))
    assert item.get_single_link('derived_from').href == scenes[0]
    assert item.assets['model'].href.startswith('file:///')


def test_shards(town, tmp_path, predictor):
    scenes = scenes_of(town)
    counts = []
    for number in range(2):
        outcomes = predict_scenes(predictor, scenes, town / 'out', shard=f'{number}/2')
        check_outcomes(outcomes)
        counts.append(len(outcomes))
        status = prediction_status(town / 'out')
        assert (status.total, status.counts['done']) == (3, sum(counts))
    assert sum(counts) == 3
    assert [name for name in names(town / 'out') if name.endswith('.tif')] == [
        f'{n}.tif' for n in range(3)
    ]


def copied(folder, into):
    into.mkdir()
    download(folder, '', into)
    return processes.hashes(into)


def killed(process) -> bool:
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.slow
def test_killed_and_resumed(town, tmp_path, model):
    """Whatever it dies at, what is in the bucket is complete or has no record."""
    scene, out = url(town / 'in' / '1.tif'), town / 'out'
    options = dict(tile=32, quicklook=False)
    arguments = dict(checkpoint=model.checkpoints[0], scene=scene, options=options)
    staging, log = tmp_path / 'here', tmp_path / 'forwards'
    run = dict(out=url(out), log=log)
    alone = tmp_path / 'alone'
    whole = processes.start(processes.predict, **arguments, out=url(town / 'whole'), log=alone)
    whole.join()
    assert whole.exitcode == 0
    expected = copied(town / 'whole', tmp_path / 'whole')
    options['staging'] = str(staging)
    deaths = 0
    while killed(processes.start(processes.predict, **arguments, **run, die_at=2 + 2 * deaths)):
        deaths += 1
        if '1.json' in names(out):
            found = copied(out, tmp_path / f'{deaths}')
            assert {name: found[name] for name in expected} == expected
    assert deaths > 2
    assert copied(out, tmp_path / 'last') == expected
    tiles = alone.stat().st_size
    assert tiles <= log.stat().st_size <= tiles + deaths * 3  # finished rows are kept
    assert not any(path.is_file() for path in staging.rglob('*'))
