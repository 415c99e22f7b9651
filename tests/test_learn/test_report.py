"""The report of a trained model, as a page and in numbers."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from geo_mm.cli import main
from geo_mm.engine import TrainOptions, train
from geo_mm.errors import ConfigError
from geo_mm.learn import ReportOptions, report
from tests.data.chips import fresh_mmengine, write_scene, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.models import object_files, paint, spec_of, write_test_config
from tests.data.rasters import write_raster


class Page(HTMLParser):
    """What a browser would load, and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.without_text = 0
        self.feed(text)
        self.headings = re.findall(r'<h[123]>(?:<[^>]+>)*([^<]+)', text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [values[key] for key in ('src', 'href') if key in values]
        self.without_text += tag == 'img' and not values.get('alt')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config and work dir of a U-Net after two iterations; six chips to test."""
    folder = tmp_path_factory.mktemp('trained')
    write_scene(folder)
    more = "val_evaluator = [dict(type='geo_mm.MapMetric')]\n"
    more += "default_hooks = dict(checkpoint=dict(save_best='map/mean_iou'))\n"
    config = write_seg_config(folder, more=more)
    with fresh_mmengine():
        train(config, TrainOptions(work_dir=folder / 'run'))
    return config, folder / 'run'


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A detector that finds painted boxes: those with an odd number are odd."""
    spec = spec_of('objects', ['even', 'odd'], dtype='uint16')
    return object_files(tmp_path_factory.mktemp('objects'), spec)


def numbers_of(page: Path) -> dict:
    return json.loads(page.with_suffix('.json').read_text())


def test_objects_are_told_by_kind_of_error(detector, tmp_path):
    found = [[4, 4, 14, 14], [24, 4, 34, 14], [44, 4, 54, 14], [4, 24, 14, 34]]
    write_raster(tmp_path / 'a.tif', paint((64, 64), found))
    right, other_class = box(4, 4, 14, 14), box(24, 4, 34, 14)  # numbers 1 and 2
    moved, missed = box(50, 4, 60, 14), box(44, 44, 60, 60)  # 3 is moved, 4 is not there
    labels = [right, other_class, moved, missed]
    write_labels(tmp_path / 'a.gpkg', labels, ['odd', 'odd', 'odd', 'even'])
    config = write_test_config(
        *(detector, tmp_path, 'det', dict(image='a.tif', labels='a.gpkg'), ['even', 'odd']),
        **dict(chip=64, dataset=dict(label_cfg=dict(class_column='class'))),
    )
    page = report(detector[1], config, path=tmp_path / 'out' / 'page.html')
    numbers = numbers_of(page)
    assert numbers['errors'] == {'missed': 3, 'background': 1, 'wrong class': 1, 'inexact': 1}
    # even, odd and background: rows are true, columns predicted.
    assert numbers['confusion'] == [[0, 0, 1], [1, 1, 1], [1, 1, 0]]
    assert numbers['scores']['classes']['odd']['precision'] == 0.5
    assert numbers['curves']['odd']['recall'][-1] == pytest.approx(1 / 3, abs=1e-4)
    # One average precision for each class, of the scores.
    assert 'average_precision' not in numbers['curves']['odd']
    assert numbers['scores']['classes']['odd']['ap'] == pytest.approx(17 / 101)
    sizes = numbers['sizes']
    assert (sum(sizes['found']), sum(sizes['missed']), sum(sizes['extra'])) == (1, 3, 3)
    read = Page(page.read_text())
    assert all(source.startswith('data:') for source in read.sources)
    assert len(read.sources) == 6 and not read.without_text  # curves, sizes, four kinds
    assert 'wrong class: 1 object' in read.headings


def test_pixels_are_those_of_the_chips_that_are_shown(trained):
    config, run = trained
    page = report(run / 'iter_2.pth', config)
    numbers = numbers_of(page)
    assert page == run / 'report_test.html'
    # 160 x 128 pixels, whose six chips reach beyond the scene.
    assert sum(map(sum, numbers['scores']['confusion'])) == 160 * 128
    wrong = sum(numbers['errors'].values())
    matrix = np.array(numbers['scores']['confusion'])
    assert wrong == matrix.sum() - np.trace(matrix) > 0
    names = {'background', 'building'}
    assert set(numbers['curves']) == set(numbers['scores']['classes']) == names
    assert [record['iter'] for record in numbers['training'][0] if 'loss' in record]
    assert set(numbers['splits']) == {'train', 'val', 'test'}
    read = Page(page.read_text())
    assert {'Training', 'Data', 'Map of splits', 'Configuration'} <= set(read.headings)
    assert all(source.startswith('data:') for source in read.sources)


def test_the_command_takes_a_work_dir(trained, tmp_path, capsys):
    out = tmp_path / 'deep' / 'mine.html'
    assert main(['report', str(trained[1]), '-o', str(out), '--examples', '1']) == 0
    assert str(out) in capsys.readouterr().out
    # Of a config in a checkpoint no training data are opened.
    assert numbers_of(out)['splits'] == {}


def test_a_work_dir_without_a_checkpoint_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['report', str(tmp_path)])
    assert 'no checkpoint' in capsys.readouterr().err


def test_a_split_that_the_checkpoint_does_not_give_is_an_error(trained):
    with pytest.raises(ConfigError, match='CONFIG CHECKPOINT --split val'):
        report(trained[1] / 'iter_2.pth', options=ReportOptions(split='val'))
