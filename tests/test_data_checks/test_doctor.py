"""geo_mm.doctor: it sees each planted fault, and is silent where there is none."""

import json
import re

import pytest
from mmengine.config import Config

import geo_mm
from geo_mm.cli import main
from geo_mm.data_checks import DoctorOptions
from tests.test_data_checks.planted import (
    FAULTS,
    SOUND,
    black_collar,
    labels_moved,
    pixels,
    sound,
    sound_config,
)


def serious(diagnosis) -> list[str]:
    return [f'{f.check}: {f.found}' for f in diagnosis.findings if f.severity != 'note']


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_seen(name, tmp_path):
    check, make = FAULTS[name]
    source, options = make(tmp_path)
    diagnosis = geo_mm.doctor(source, DoctorOptions(**options))
    assert [f for f in diagnosis.findings if f.check == check and f.severity != 'note'], serious(
        diagnosis
    )
    assert all(f.where and f.found and f.why and f.fix for f in diagnosis.findings)


@pytest.mark.parametrize('make', SOUND)
def test_sound_data_pass_in_silence(make, tmp_path):
    source, options = make(tmp_path)
    assert serious(geo_mm.doctor(source, DoctorOptions(**options))) == []


def test_the_command_says_all_and_leaves_with_the_severity(tmp_path, capsys):
    source, options = labels_moved(tmp_path)
    words = [
        'doctor',
        source,
        '--labels',
        options['labels'],
        '--json',
        str(tmp_path / 'found.json'),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert 'WARNING shifted-labels: houses.gpkg, on town.tif' in said
    assert '9 to the left and 6 down pixels away' in ' '.join(said.split())
    assert '0 errors, 1 warning, 0 notes in 1 scene' in said
    assert json.loads((tmp_path / 'found.json').read_text())['counts']['warning'] == 1
    assert main([*words, '--fail-on', 'warning']) == 1


def test_places_are_on_the_map(tmp_path):
    source, options = black_collar(tmp_path)
    (finding,) = geo_mm.doctor(source, DoctorOptions(**options)).findings[:1]
    (box,) = finding.places.boxes
    assert box == pytest.approx([0, 0, 30, 320], abs=1)
    west, south, east, north = finding.places.lonlat
    assert -81.001 < west < east < -80.999 and 36.14 < south < north < 36.15


def test_the_page_shows_findings_on_the_image_and_needs_nothing_else(tmp_path, capsys):
    source, options = labels_moved(tmp_path)
    page = tmp_path / 'out' / 'doctor.html'
    assert main(['doctor', source, '--labels', options['labels'], '--html', str(page)]) == 0
    text = page.read_text('utf-8')
    assert 'shifted-labels' in text and 'Cyan: labels where they agree best with edges' in text
    assert text.count('<img alt=') == 5  # the finding, bands, classes, sizes, map
    assert not re.search(r'(src|href)="(?!data:)', text)


def real(data_root, image: str, labels: str | None = None, **options):
    if labels is not None:
        options['labels'] = str(data_root / labels)
    if 'aoi' in options:
        options['aoi'] = str(data_root / options['aoi'])
    return geo_mm.doctor(str(data_root / image), DoctorOptions(**options))


@pytest.mark.parametrize(
    ('image', 'labels', 'options'),
    [
        ('banepa_a/banepa_a.tif', 'banepa_a/banepa_a_buildings.geojson', {}),
        ('kampala_a/kampala_a.tif', 'kampala_a/kampala_a_buildings.geojson', {}),
        (
            'sen1floods11/Spain_7370579_S2Hand.tif',
            'sen1floods11/Spain_7370579_LabelHand.tif',
            {},
        ),
        ('terramesh_a/S2L2A', 'terramesh_a/LULC/{stem}.tif', {}),
        (
            'trees_santa_monica/santa_monica_2020.tif',
            'trees_santa_monica/santa_monica_2020_trees.gpkg',
            {'aoi': 'trees_santa_monica/santa_monica_2020_chips.geojson'},
        ),
    ],
)
def test_real_data_that_are_sound_pass_in_silence(data_root, image, labels, options):
    assert serious(real(data_root, image, labels, **options)) == []


def test_near_infrared_as_alpha_in_real_data(data_root):
    folder = 'trees_chips_long_beach_2018'
    found = real(data_root, f'{folder}/images', f'{folder}/json/{{stem}}.json').findings
    assert [(f.check, f.severity) for f in found] == [('data-as-alpha', 'warning')]
    assert 'band 4 and 11 more' in found[0].where


def test_an_undeclared_white_hole_in_real_data(data_root):
    (finding, note) = real(data_root, 'banepa_unlabelled').findings
    assert (finding.check, note.check) == ('undeclared-nodata', 'no-labels')
    assert 'all bands are 255' in finding.found and len(finding.places.boxes)


def test_statistics_are_json_that_a_config_reads_and_a_page(tmp_path, capsys):
    source, options = sound(tmp_path)
    files = {'--json': tmp_path / 'statistics.json', '--html': tmp_path / 'statistics.html'}
    words = [str(word) for pair in files.items() for word in pair]
    assert main(['statistics', source, '--labels', options['labels'], *words]) == 0
    assert 'mean = [' in capsys.readouterr().out
    found = json.loads(files['--json'].read_text())['statistics']
    mean = pixels().mean(axis=(1, 2), dtype=float)
    assert found['bands']['mean'] == pytest.approx(mean.tolist())
    assert found['labels'] == {'all': {'houses': 64}}
    assert found['object_side_percentiles']['metres']['50'] == pytest.approx(
        0.5 * (15 * 19) ** 0.5, rel=1e-3
    )
    (tmp_path / 'roofs.py').write_text(
        "_base_ = ['net.py', 'statistics.json']\n"
        'model = dict(data_preprocessor=dict(mean=_base_.statistics.bands.mean))\n'
    )
    (tmp_path / 'net.py').write_text("model = dict(type='Net')")
    config = Config.fromfile(tmp_path / 'roofs.py')
    assert config.model.data_preprocessor.mean == pytest.approx(mean.tolist())
    assert 'Labels of each class' in files['--html'].read_text('utf-8')


def test_splits_of_a_table_are_compared(tmp_path):
    sound_config(tmp_path)
    rows = ['image,labels,split', 'town.tif,houses.gpkg,train', 'town.tif,houses.gpkg,val']
    (tmp_path / 'catalog.csv').write_text('\n'.join(rows))
    found = geo_mm.doctor(tmp_path / 'catalog.csv', DoctorOptions(chip_size=64))
    assert [finding.check for finding in found.findings] == ['split-leak']


def test_the_command_takes_a_config(tmp_path, capsys):
    config, _ = sound_config(tmp_path)
    config.dump(tmp_path / 'town.py')
    assert (
        main(
            [
                'doctor',
                str(tmp_path / 'town.py'),
                '--cfg-options',
                'model.data_preprocessor.mean=[0]',
            ]
        )
        == 1
    )
    assert 'ERROR normalisation' in capsys.readouterr().out
