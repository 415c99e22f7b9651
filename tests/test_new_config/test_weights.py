"""Choosing among published weights: the list, one of them, and lines of a config."""

import json
from pathlib import Path

import pytest

from geo_mm.cli import main
from geo_mm.errors import ConfigError
from geo_mm.models.pretrained import FOLDER, pretrained_set, pretrained_sets
from geo_mm.new_config.weights import WeightsOptions, find_weights, weights_config, weights_markdown
from tests.data.http_server import serving


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def test_weights_with_most_of_the_bands_come_first():
    found = find_weights(WeightsOptions(bands=('vh', 'vv'), backbone='resnet50'))
    assert {each.sensor for each in found[:5]} == {'sentinel-1'}
    assert 'sentinel-1' not in {each.sensor for each in found[5:]}


def test_weights_without_any_of_the_bands_are_not_listed():
    radar = find_weights(WeightsOptions(bands=('VV', 'VH')))
    assert radar and all({'vv', 'vh'} & set(each.bands) or not each.bands for each in radar)


def test_filters_are_all_met():
    options = WeightsOptions(sensor='Landsat', backbone='ResNet18', licence='cc0')
    found = find_weights(options)
    assert len(found) == 10
    assert all(each.name.startswith('ssl4eo-l-') and each.name.endswith('r18') for each in found)


def test_weights_that_no_backbone_takes_are_listed_on_demand():
    assert all(each.loads for each in find_weights(WeightsOptions()))
    assert len(find_weights(WeightsOptions(all=True))) == len(pretrained_sets())


def test_an_unknown_sensor_is_answered_with_those_known():
    with pytest.raises(ConfigError, match='sentinel-2'):
        find_weights(WeightsOptions(sensor='spot'))


def test_numbers_of_bands_are_those_of_the_sensor():
    found = find_weights(WeightsOptions(bands=('B5', 'B6'), sensor='landsat-8'))
    assert found[0].matches(('B5', 'B6'), 'landsat-8') == ('B5', 'B6')
    with pytest.raises(ConfigError, match='B5'):
        find_weights(WeightsOptions(bands=('B5', 'B6')))


def run(text: str) -> dict:
    """The variables of a config."""
    found: dict = {}
    exec(text, found)
    return found


def test_lines_of_a_config_start_from_the_weights():
    config = run(weights_config(pretrained_set('ssl4eo-s12-softcon-r50'), ('B8', 'slope', 'B4')))
    assert config['mean'] == [2318.7, ..., 1373.1] and config['std'] == [1249.5, ..., 1144.9]
    backbone = config['model']['backbone']
    assert (backbone['type'], backbone['depth'], backbone['in_channels']) == ('ResNet', 50, 3)
    assert backbone['init_cfg'] == {
        'type': 'geo_mm.AdaptedPretrained',
        'checkpoint': 'ssl4eo-s12-softcon-r50',
        'bands': ('B8', 'slope', 'B4'),
    }


@pytest.mark.parametrize('chosen', find_weights(WeightsOptions()), ids=lambda each: each.name)
def test_every_set_has_lines_of_a_config(chosen):
    config = run(weights_config(chosen))
    assert config['bands'] == chosen.bands
    assert ('data_preprocessor' in config['model']) == bool(chosen.mean)


def test_the_table_of_the_documentation_is_current():
    page = Path(__file__).parents[2] / 'docs/en/weights.md'
    assert page.read_text('utf-8').endswith(f'\n\n{weights_markdown()}\n'), (
        'geo-mm weights --markdown prints it'
    )


def test_the_command_lists(capsys):
    main(['weights', '--bands', 'B2', 'B3', 'B4', 'B8', '--sensor', 'sentinel-2'])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ['name', 'backbone', 'sensor', 'bands']
    assert any('ssl4eo-s12-moco-r50 ' in row and '4 of 4, 13 in all' in row for row in rows)


def test_the_command_gives_json(capsys, folder):
    (folder / 'resnet18-f37072fd.pth').write_bytes(b'')
    main(['weights', '--json', '--bands', 'red', 'nir'])
    rows = {row['name']: row for row in json.loads(capsys.readouterr().out)}
    assert rows['resnet18.tv_in1k']['here'] and not rows['resnet50.tv_in1k']['here']
    assert rows['resnet18.tv_in1k']['matches'] == ['red']


def test_the_command_says_all_about_one_and_downloads_it(capsys, monkeypatch, folder):
    with serving(b'weights') as server:
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        main(['weights', 'ssl4eo-s12-softcon-r50', '--download'])
    path = folder / 'B13_rn50_softcon.pth'
    assert capsys.readouterr().out == f'{path}\n' and path.read_bytes() == b'weights'
    main(['weights', 'ssl4eo-s12-softcon-r50'])
    out = capsys.readouterr().out
    assert 'CC-BY-4.0' in out and "checkpoint='ssl4eo-s12-softcon-r50'" in out
    assert 'not downloaded' not in out


@pytest.mark.parametrize('words', [['--download'], ['ssl4eo-s12']])
def test_what_cannot_be_done_is_said(words):
    with pytest.raises(SystemExit, match='2'):
        main(['weights', *words])
