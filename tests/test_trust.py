"""docs/en/trust.md: what a file of somebody else can do. Other claims of that page are held by
tests of checkpoint_file, embedded_config, vrt, paths and scene_lists."""

import json
from pathlib import Path

import pytest

from geo_mm.engine.embedded_config import config_of
from geo_mm.engine.launch import build_model, load_config
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.inference.scene_lists import find_scenes

PAGE = Path(__file__).parents[1] / 'docs' / 'en' / 'trust.md'


def test_a_config_file_is_a_program(tmp_path):
    config = tmp_path / 'c.py'
    config.write_text(f'open({str(tmp_path / "ran")!r}, "w").close()\nmodel = dict()\n')
    load_config(config)
    assert (tmp_path / 'ran').exists()


def test_so_is_what_a_json_config_names(tmp_path):
    model = {'type': 'os.mkdir', 'path': str(tmp_path / 'ran')}
    (tmp_path / 'c.json').write_text(json.dumps({'model': model}))
    build_model(load_config(tmp_path / 'c.json'))
    assert (tmp_path / 'ran').exists()


def test_the_config_in_a_checkpoint_is_neither(tmp_path):
    program = f'open({str(tmp_path / "ran")!r}, "w").close()\nmodel = dict()\n'
    names = f"model = dict(type='os.mkdir', path={str(tmp_path / 'ran')!r})\n"
    for text, message in ((program, 'not plain data'), (names, "model.type is 'os.mkdir'")):
        with pytest.raises(ConfigError, match=message):
            config_of({'meta': {'cfg': text}}, 'a.pth')
    assert not (tmp_path / 'ran').exists()


def test_a_table_is_data(tmp_path):
    table = tmp_path / 'c.csv'
    table.write_text(f'image,name\n"$(touch {tmp_path}/ran)",=cmd\n')
    with pytest.raises(CatalogError, match='no such file'):
        find_scenes([str(table)])
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('page', ['README.md', 'docs/en/index.md', 'docs/en/transfer.md'])
def test_the_page_is_found(page):
    text = (PAGE.parents[2] / page).read_text(encoding='utf-8')
    assert 'trust.md' in text
    assert 'in a file is not run' not in text
