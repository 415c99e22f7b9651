"""geo-mm split and audit as they are called, and what a dataset makes of the result."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geo_mm.cli import main
from geo_mm.datasets.samplers import RandomChipSampler
from tests.data.chips import build_dataset, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

IN_SPLITS = """
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader['dataset'] = dict(loader['dataset'], scenes='splits.gpkg')
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A scene of 160 pixels and 80 m, and its splits in blocks of 20 m."""
    folder = tmp_path_factory.mktemp('splits')
    write_raster(folder / 'scene.tif', noise((3, 160, 160)))
    corners = [(x, y) for x in range(0, 160, 10) for y in range(0, 160, 10)]
    write_labels(
        folder / 'labels.gpkg',
        [box(x, y, x + 6, y + 6) for x, y in corners],
        ['building'] * len(corners),
    )
    options = ('--labels', str(folder / 'labels.gpkg'), '--block-size', '20', '--buffer', '4')
    split(folder, *options)
    return folder


def split(folder, *options):
    main(['split', str(folder / 'scene.tif'), '-o', str(folder / 'splits.gpkg'), *options])


def test_pixels_of_other_splits_and_of_the_buffer_count_nowhere(folder):
    seen = {}
    for name in ('train', 'val'):
        dataset = build_dataset('seg', str(folder / 'splits.gpkg'), split=name)
        seen[name] = np.zeros((160, 160), bool)
        sampler = RandomChipSampler(dataset, num_chips=60, min_valid=0.5, seed=0)
        for index in sampler:
            chip = dataset[index]
            col, row, width, height = chip['data_samples'].window
            labelled = chip['data_samples'].gt_sem_seg.data[0].numpy() != 255
            image = chip['inputs'].numpy().any(axis=0)
            assert (labelled | ~image).all()  # what is not labelled is filled
            seen[name][row : row + height, col : col + width] |= labelled
    assert not (seen['train'] & seen['val']).any()
    rows, cols = np.nonzero(seen['val'])
    for row, col in zip(rows[::50], cols[::50], strict=True):
        around = seen['train'][max(row - 7, 0) : row + 8, max(col - 7, 0) : col + 8]
        assert not around.any()  # 4 m are 8 pixels


def test_audit_of_a_config(folder, tmp_path, capsys):
    config = write_seg_config(folder, IN_SPLITS)
    assert main(['audit', str(config), '-o', str(tmp_path)]) == 0
    assert 'train and val: at least 4' in capsys.readouterr().out
    found = json.loads((tmp_path / 'audit.json').read_text())
    assert not found['leaks'] and found['splits']['train']['labels']['building'] > 20
    assert Image.open(tmp_path / 'audit.png').size[0] > 800
    assert (tmp_path / 'audit.gpkg').is_file()


def test_audit_of_random_chips_fails(folder, tmp_path, capsys):
    config = write_seg_config(folder)
    assert main(['audit', str(config), '-o', str(tmp_path)]) == 1
    assert 'LEAK: train and val share 6,405 m2, most of all scene and scene' in (
        capsys.readouterr().out
    )
