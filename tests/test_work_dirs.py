"""Which checkpoint a work dir stands for."""

import os

import pytest

from geo_mm.errors import ConfigError
from geo_mm.work_dirs import best_checkpoint, model_file


def checkpoints(folder, *names):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (number, number))
    return folder


def test_the_newest_of_the_best_comes_before_the_last(tmp_path):
    run = checkpoints(tmp_path / 'run', 'best_mIoU_iter_50.pth', 'best_mIoU_iter_20.pth', 'x.pth')
    (run / 'last_checkpoint').write_text(str(run / 'x.pth'))
    assert model_file(run) == str(run / 'best_mIoU_iter_20.pth')


def test_the_last_is_found_where_the_folder_has_been_moved(tmp_path):
    run = checkpoints(tmp_path / 'run', 'iter_20.pth')
    (run / 'last_checkpoint').write_text('/somewhere/else/iter_20.pth')
    assert model_file(str(run)) == str(run / 'iter_20.pth')


def test_other_paths_are_themselves(tmp_path):
    folder = checkpoints(tmp_path / 'scenes', 'a.tif')
    for path in (str(folder), 'iter_20.pth', 's3://bucket/iter_20.pth', 'a\0b', ''):
        assert model_file(path) == path


def test_a_work_dir_that_has_lost_its_checkpoint(tmp_path):
    run = checkpoints(tmp_path / 'run', 'last_checkpoint')
    with pytest.raises(ConfigError, match='run: no checkpoint'):
        model_file(run)
    with pytest.raises(ConfigError, match='no checkpoint'):
        best_checkpoint(tmp_path)
