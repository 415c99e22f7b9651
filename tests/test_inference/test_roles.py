"""A model of files with roles, from training to prediction."""

import json

import numpy as np
import pytest

from geo_mm.engine import launch
from geo_mm.errors import SpecError
from geo_mm.evaluation.records import Record
from geo_mm.inference import Predictor
from geo_mm.inference.scene_lists import find_scenes
from tests.data.chips import fresh_mmengine, run_tool, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

# One red band before and one after; the files hold NIR as well.
ROLES = """
chips.update(
    scenes=[dict(image=dict(before='*_2020.tif', after='*_2024.tif'), labels='*.gpkg')],
    bands=('before:red', 'after:red'),
    fill=[100.0] * 2,
)
train_dataloader['dataset'] = chips
val_dataloader['dataset'] = dict(stride=64, **chips)
test_dataloader['dataset'] = dict(stride=64, **chips)
model.update(data_preprocessor=dict(mean=[100.0] * 2, std=[50.0] * 2))
model['backbone']['in_channels'] = 2
"""


def write_pair(folder, place, seeds, bands):
    return [
        write_raster(
            folder / f'{place}_{year}.tif',
            noise((2, 96, 128), 'uint8', seed),
            descriptions=list(bands),
        )
        for year, seed in zip((2020, 2024), seeds, strict=True)
    ]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint of two iterations on one pair of files."""
    folder = tmp_path_factory.mktemp('roles')
    write_pair(folder, 'paris', (1, 2), ('red', 'nir'))
    write_labels(folder / 'paris.gpkg', [box(10, 10, 50, 60)], ['building'])
    path = write_seg_config(folder, ROLES)
    with fresh_mmengine():
        config = launch.load_config(path)
        launch.set_work_dir(config, folder / 'work')
        launch.build_runner(config).train()
    return folder / 'work' / 'iter_2.pth'


def test_the_spec_holds_roles_and_no_names_of_files(trained):
    spec = json.loads((trained.parent / 'input_spec.json').read_text())
    assert spec['roles'] == ['before', 'after']
    assert spec['bands'] == ['before:red', 'after:red']
    assert 'paris' not in json.dumps(spec)


def test_it_predicts_other_files_by_their_roles(trained, tmp_path):
    before, after = write_pair(tmp_path, 'lyon', (3, 4), ('nir', 'red'))
    predictor = Predictor([trained], device='cpu', probabilities='float32')
    found = predictor.predict({'after': after, 'before': before}).probabilities
    assert found.shape == (2, 96, 128)
    # The same pixels under other names, in another order.
    turned = [
        write_raster(
            tmp_path / f'{name}.tif',
            noise((2, 96, 128), 'uint8', seed)[::-1],
            descriptions=['red', 'nir'],
        )
        for name, seed in (('x', 3), ('y', 4))
    ]
    again = predictor.predict({'before': turned[0], 'after': turned[1]}).probabilities
    np.testing.assert_array_equal(again, found)
    swapped = predictor.predict({'before': turned[1], 'after': turned[0]}).probabilities
    assert (swapped != found).any()


def test_files_without_roles_are_refused_with_what_to_write(trained, tmp_path):
    pair = write_pair(tmp_path, 'lyon', (3, 4), ('red', 'nir'))
    predictor = Predictor([trained], device='cpu')
    with pytest.raises(SpecError, match='--image before=FILE --image after=FILE'):
        predictor.predict(pair)


def test_the_command_line_takes_files_by_role(trained, tmp_path):
    before, after = write_pair(tmp_path, 'lyon', (3, 4), ('nir', 'red'))
    out = tmp_path / 'out'
    files = ['--image', f'after={after}', '--image', f'before={before}']
    run_tool('predict.py', trained, *files, '-o', out, '--device', 'cpu')
    assert (out / 'lyon_2024.tif').exists()
    record = Record.of(out / 'lyon_2024.tif')
    assert record.scene == {'after': [str(after)], 'before': [str(before)]}
    with pytest.raises(SystemExit) as status:
        run_tool('predict.py', trained, before, *files, '-o', out)
    assert status.value.code == 2


def test_a_table_of_roles_is_a_list_of_scenes(tmp_path):
    write_pair(tmp_path, 'lyon', (3, 4), ('nir', 'red'))
    (tmp_path / 'pairs.csv').write_text(
        'image:before,image:after,name\nlyon_2020.tif,lyon_2024.tif,lyon\n'
    )
    (scene,) = find_scenes([str(tmp_path / 'pairs.csv')])
    assert scene.name == 'lyon'
    assert list(scene.source) == ['before', 'after']
    assert scene.title.endswith('lyon_2020.tif')
