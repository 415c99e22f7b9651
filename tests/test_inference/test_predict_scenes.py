"""Lists of scenes: what fails, when it is reported, and what continues."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from geo_mm.cli import main
from geo_mm.errors import GeoMMError, SceneError, SpecError
from geo_mm.inference import Predictor
from geo_mm.inference.journal import Journal
from geo_mm.inference.scenes import check_outcomes, predict_scenes
from geo_mm.raster import Scene
from geo_mm.registry import INFERENCERS
from tests.data.models import pixel_files, spec_of
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return pixel_files(tmp_path_factory.mktemp('model'), SPEC, [[0.0], [1.0]])


@pytest.fixture(scope='module')
def predictor(files):
    return Predictor(files[1], device='cpu', tile=64)


@pytest.fixture
def scenes(tmp_path):
    (tmp_path / 'in').mkdir()
    return [
        write_raster(tmp_path / 'in' / f'{name}.tif', noise((1, 70, 90), seed=n))
        for n, name in enumerate('abc')
    ]


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_each_scene_gives_its_results(tmp_path, predictor, scenes):
    steps, reports = [], []
    outcomes = predict_scenes(
        predictor,
        scenes,
        tmp_path / 'out',
        progress=lambda *step: steps.append(step),
        report=reports.append,
    )
    assert [found.scene for found in outcomes] == [found.scene for found in reports]
    check_outcomes(outcomes)
    for scene, outcome in zip(scenes, outcomes, strict=True):
        found = read(outcome.prediction.files[0])
        np.testing.assert_array_equal(found, read(scene) > 127)
        of_it = [(done, total) for request, done, total in steps if request.source == scene]
        assert sum(done for done, _ in of_it) == of_it[0][1] == 4


def test_what_cannot_be_predicted_is_reported_before_the_first_tile(tmp_path, predictor, scenes):
    odd = write_raster(tmp_path / 'in' / 'odd.tif', noise((1, 70, 90), 'uint16'))
    missing, events = tmp_path / 'missing.tif', []
    outcomes = predict_scenes(
        predictor,
        [scenes[0], odd, scenes[1], missing],
        tmp_path / 'out',
        progress=lambda scene, done, total: events.append('tile'),
        report=lambda outcome: events.append(type(outcome.error)),
    )
    assert events[:3] == [SpecError, SceneError, 'tile']
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False]
    with pytest.raises(GeoMMError, match=r'2 of 4 scenes failed:\n  .*odd\.tif.*\n  .*missing'):
        check_outcomes(outcomes)


def test_scene_that_fails_midway_leaves_the_others_alone(tmp_path, predictor, scenes):
    with scenes[1].open('r+b') as file:
        file.truncate(scenes[1].stat().st_size // 2)
    outcomes = predict_scenes(predictor, scenes, tmp_path / 'out')
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert not (tmp_path / 'out' / 'b.tif').exists()


def test_error_of_a_single_scene_is_raised_as_it_is(tmp_path, predictor):
    outcomes = predict_scenes(predictor, [tmp_path / 'none.tif'], tmp_path / 'out')
    with pytest.raises(SceneError, match=r'none\.tif: no such file'):
        check_outcomes(outcomes)


def test_scenes_of_one_name_are_refused_at_once(tmp_path, predictor, scenes):
    other = write_raster(tmp_path / 'in' / 'A.tiff', noise((1, 70, 90)))
    with pytest.raises(SceneError, match='would both be called A'):
        predict_scenes(predictor, [*scenes, other], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_arrays_and_scenes_have_names_too(tmp_path, predictor, scenes):
    array = noise((1, 40, 50))
    outcomes = predict_scenes(predictor, [array, Scene.open(scenes[0])], tmp_path / 'out')
    files = [outcome.prediction.files[0].name for outcome in outcomes]
    assert files == ['array.tif', 'a.tif']
    np.testing.assert_array_equal(read(tmp_path / 'out' / 'array.tif'), array[0] > 127)


def test_inferencer_with_the_convention_of_mm(tmp_path, files, scenes):
    inferencer = INFERENCERS.build(
        dict(type='geo_mm.GeoInferencer', model=str(files[0]), weights=str(files[1]), device='cpu')
    )
    held = inferencer(str(scenes[0]), batch_size=4, return_vis=True)
    np.testing.assert_array_equal(held['predictions'][0].classes, read(scenes[0]) > 127)
    assert held['visualization'][0].shape[2] == 3
    pattern = str(scenes[0].parent / '*.tif')
    written = inferencer(pattern, out_dir=tmp_path / 'out')
    assert [p.files[0].name for p in written['predictions']] == ['a.tif', 'b.tif', 'c.tif']
    assert written['visualization'] == []
    arrays = inferencer([noise((1, 20, 30)), noise((1, 30, 20))])
    assert [p.classes.shape for p in arrays['predictions']] == [(20, 30), (30, 20)]


@pytest.fixture
def batches(predictor):
    """Sizes of the batches that went through the network."""
    sizes = []
    backbone = predictor.models[0].model.backbone
    hook = backbone.register_forward_hook(lambda _, x, __: sizes.append(len(x[0])))
    yield sizes
    hook.remove()


def test_small_scenes_share_forward_passes(tmp_path, predictor, batches):
    """Those of one tile, of one size; one without data, one that is broken."""
    sizes = [(40, 50), (30, 64), (20, 20), (60, 60), (90, 50), (50, 50)]
    scenes = [
        write_raster(tmp_path / f'{n}.tif', noise((1, *size), seed=n), nodata=0)
        for n, size in enumerate(sizes)
    ]
    write_raster(scenes[2], np.zeros((1, 20, 20), 'uint8'), nodata=0)
    with scenes[3].open('r+b') as file:
        file.truncate(scenes[3].stat().st_size // 2)
    outcomes = predict_scenes(predictor.changed(batch_size=3), scenes, tmp_path / 'out')
    assert batches == [2, 1, 1, 1]  # 0 and 1 of the first three; two rows of tiles of 4; 5
    assert [n for n, outcome in enumerate(outcomes) if outcome.error] == [3]
    for n, scene in enumerate(scenes):
        if n != 3:
            expected = np.where(n == 2, 255, read(scene) > 127)
            np.testing.assert_array_equal(read(tmp_path / 'out' / f'{n}.tif'), expected)
    hidden = [path.name for path in (tmp_path / 'out').iterdir() if path.name.startswith('.')]
    assert hidden == ['.runs']  # which says that one failed


def test_small_scenes_are_predicted_alone_where_the_memory_is_short(
    tmp_path, predictor, batches, monkeypatch
):
    scenes = [write_raster(tmp_path / f'{n}.tif', noise((1, 40, 50), seed=n)) for n in range(2)]
    predict = predictor.ensemble.predict

    def too_small(inputs):
        if len(inputs) > 1:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return predict(inputs)

    monkeypatch.setattr(predictor.ensemble, 'predict', too_small)
    check_outcomes(predict_scenes(predictor, scenes, tmp_path / 'out'))
    assert batches == [1, 1]


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize('size', [(70, 90), (40, 50)], ids=['rows', 'one tile'])
def test_what_is_complete_is_not_predicted_again(tmp_path, predictor, size):
    out = tmp_path / 'out'
    scenes = [write_raster(tmp_path / f'{n}.tif', noise((1, *size), seed=n)) for n in range(3)]
    first = predict_scenes(predictor, scenes, out)
    before = stamps(out)
    write_raster(scenes[1], noise((1, *size), seed=7))
    (out / '2.tif').unlink()
    second = predict_scenes(predictor, scenes, out)
    assert [outcome.was_there for outcome in second] == [True, False, False]
    assert second[0].prediction.files == first[0].prediction.files
    assert second[0].prediction.counts == first[0].prediction.counts
    np.testing.assert_array_equal(read(out / '1.tif'), read(scenes[1]) > 127)
    after = stamps(out)
    assert [name for name in before if before[name] == after[name]] == [
        name for name in before if name[0] == '0'
    ]
    # Other files are asked for.
    third = predict_scenes(predictor.changed(confidence=True), scenes, out)
    assert not any(outcome.was_there for outcome in third)
    assert not any(outcome.was_there for outcome in predict_scenes(predictor, scenes, out))


def test_restart_predicts_what_is_complete(tmp_path, predictor, scenes):
    predict_scenes(predictor, scenes, tmp_path / 'out')
    again = predict_scenes(predictor, scenes, tmp_path / 'out', restart=True)
    assert not any(outcome.was_there for outcome in again)


def test_array_is_predicted_each_time(tmp_path, predictor):
    for seed in range(2):
        array = noise((1, 40, 50), seed=seed)
        predict_scenes(predictor, [array], tmp_path / 'out')
        np.testing.assert_array_equal(read(tmp_path / 'out' / 'array.tif'), array[0] > 127)


@pytest.mark.parametrize('size', [(70, 90), (40, 50)], ids=['rows', 'one tile'])
@pytest.mark.parametrize('finished', [True, False])
def test_scene_of_another_process_is_waited_for(tmp_path, predictor, finished, size, monkeypatch):
    """Two runs share scenes; the other one completes its scene, or dies."""
    out = tmp_path / 'out'
    scenes = [write_raster(tmp_path / f'{n}.tif', noise((1, *size), seed=n)) for n in range(3)]
    journal = Journal(out / '.0.unfinished')
    journal.lock()
    elsewhere = tmp_path / 'elsewhere'
    predict_scenes(predictor, scenes[:1], elsewhere)

    def end(_):
        journal.close()
        if finished:
            for path in elsewhere.iterdir():
                path.rename(out / path.name)

    monkeypatch.setattr('geo_mm.inference.scenes.time', SimpleNamespace(sleep=end))
    order = []
    outcomes = predict_scenes(predictor, scenes, out, report=order.append)
    check_outcomes(outcomes)
    assert [outcome.scene.source for outcome in order] == [scenes[1], scenes[2], scenes[0]]
    for scene in scenes:
        np.testing.assert_array_equal(read(out / scene.name), read(scene) > 127)


def test_runs_at_once_into_one_folder_do_each_scene_once(tmp_path, predictor, batches):
    scenes = [write_raster(tmp_path / f'{n}.tif', noise((1, 70, 60), seed=n)) for n in range(8)]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(predict_scenes, predictor, scenes, tmp_path / 'out') for _ in range(3)]
        for run in runs:
            check_outcomes(run.result())
    assert sum(batches) == 8 * 2  # tiles
    for scene in scenes:
        np.testing.assert_array_equal(read(tmp_path / 'out' / scene.name), read(scene) > 127)
    assert not [name for name in stamps(tmp_path / 'out') if name.startswith('.')]


def test_of_many_errors_the_first_are_told(files, tmp_path, capsys):
    """Of 23 files that are no images."""
    for number in range(23):
        (tmp_path / f'{number:02}.tif').write_bytes(b'no image')
    words = [str(files[1]), str(tmp_path / '*.tif'), '-o', str(tmp_path / 'out')]
    with pytest.raises(SystemExit):
        main(['predict', *words, '--device', 'cpu', '--trust-checkpoint'])
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith('error: ') and '.tif' in line for line in lines) == 20
    assert f'further errors are not shown: geo-mm status {tmp_path}/out lists all' in lines
    assert '  and 3 more: geo-mm status lists all' in lines
    assert main(['status', str(tmp_path / 'out')]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('  failed ') for line in listed) == 23
