"""Chips with ground truth, prediction and errors, from a checkpoint."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from geo_mm.cli import main
from geo_mm.engine import TestOptions, TrainOptions, test, train
from geo_mm.errors import ConfigError
from geo_mm.learn import ShowOptions, show_results
from geo_mm.learn.results import ComparedChip, _chosen
from geo_mm.visualization.chip_errors import ChipErrors
from tests.data.chips import fresh_mmengine, write_scene, write_seg_config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config and checkpoint of a U-Net after two iterations; six chips to test."""
    folder = tmp_path_factory.mktemp('trained')
    write_scene(folder)
    config = write_seg_config(folder)
    with fresh_mmengine():
        train(config, TrainOptions(work_dir=folder / 'run'))
    return config, folder / 'run' / 'iter_2.pth'


def test_the_worst_chips_of_all_come_first(trained):
    config, checkpoint = trained
    every = show_results(checkpoint, config, ShowOptions(number=100)).info['shares']
    assert len(every) == 6
    assert every == sorted(every, reverse=True)
    assert show_results(checkpoint, config, ShowOptions(number=2)).info['shares'] == every[:2]


def test_chips_with_little_data_come_last():
    chips = [
        ComparedChip(np.zeros((1, 1, 3)), None, ChipErrors(None, share, 1, ''), valid)
        for share, valid in ((0.2, 1.0), (0.9, 0.4), (0.5, 0.5))
    ]
    split = SimpleNamespace(numbers=[0, 1, 2], compared=lambda numbers, compare: iter(chips))
    chosen = _chosen(split, ShowOptions(number=3))
    assert [chip.errors.share for chip in chosen] == [0.5, 0.2, 0.9]


def test_a_random_choice_depends_on_the_seed_alone(trained):
    config, checkpoint = trained
    options = ShowOptions(number=2, order='random')
    shares = [
        show_results(checkpoint, config, replace(options, seed=seed)).info['shares']
        for seed in (0, 0, 1, 2, 3)
    ]
    assert shares[0] == shares[1]
    assert len({tuple(each) for each in shares}) > 1


def test_each_chip_is_a_row_of_four_pictures_as_large_as_titles_need(trained):
    config, checkpoint = trained
    one, two = (show_results(checkpoint, config, ShowOptions(number=number)) for number in (1, 2))
    side = 192  # three times the 64 pixels of a chip
    assert one.width == two.width >= 4 * side
    assert two.height - one.height >= side


def test_the_command_takes_the_checkpoint_alone(trained, tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    assert main(['show', str(trained[1]), '-n', '2', '-o', str(out)]) == 0
    assert out.read_bytes().startswith(b'\x89PNG')
    assert '2 chips of test' in capsys.readouterr().out


def test_a_split_that_the_checkpoint_does_not_give_is_an_error(trained):
    with pytest.raises(ConfigError, match=r'CONFIG CHECKPOINT --split val'):
        show_results(trained[1], options=ShowOptions(split='val'))


def test_the_split_of_a_config_is_shown(trained):
    config, checkpoint = trained
    sheet = show_results(checkpoint, config, ShowOptions(split='train', number=3))
    assert len(sheet.info['shares']) == 3
    assert np.isfinite(sheet.info['shares']).all()


def test_no_chips_are_not_shown():
    with pytest.raises(ConfigError, match='0 chips'):
        ShowOptions(number=0)


def test_a_test_opens_no_training_data(trained, tmp_path):
    config, checkpoint = trained
    with fresh_mmengine():
        runner = test(checkpoint, config, TestOptions(work_dir=tmp_path / 'test'))
    assert isinstance(runner._train_loop, dict)
    assert 'mIoU' in runner.scores
