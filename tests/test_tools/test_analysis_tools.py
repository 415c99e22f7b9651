"""What the analysis tools show of a config, for both tasks and with missing data."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.data.chips import CONFIGS, run_tool
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

CONFIG = """
_base_ = {bases}
chips = dict(
    data_root={root!r},
    scenes=[dict(image='a.tif', labels='labels.gpkg'), dict(image='b.tif', labels='labels.gpkg')],
    metainfo=dict(classes={classes}, palette={palette}),
    label_cfg=dict(class_column='class'),
    chip_size=40,
    fill=[100.0, 200.0],
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=chips, **loader)
val_dataloader = dict(dataset=dict(stride=40, **chips), **loader)
test_dataloader = None
model = dict(
    data_preprocessor=dict(mean=[100.0, 200.0], std=[50.0, 60.0]),
    backbone=dict(in_channels=2),
)
"""
RED, MAGENTA = (250, 10, 10), (255, 0, 255)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Two scenes of 80 x 40 pixels; the right half of the second has no data."""
    folder = tmp_path_factory.mktemp('analysis')
    arrays = [noise((2, 40, 80), 'uint16', seed) for seed in (1, 2)]
    arrays[1][:, :, 40:] = 0
    for name, array in zip('ab', arrays, strict=True):
        write_raster(folder / f'{name}.tif', array, nodata=0, descriptions=['red', 'nir'])
    write_labels(folder / 'labels.gpkg', [box(5, 5, 25, 20)], ['house'])
    return folder, arrays


def write_config(folder, task):
    bases = {
        'seg': ('models/unet.py', 'datasets/geo_seg.py', 'seg_runtime.py'),
        'det': ('models/faster-rcnn_r50_fpn.py', 'datasets/geo_det.py', 'det_runtime.py'),
    }[task]
    config = CONFIG.format(
        bases=[str(CONFIGS / '_base_' / base) for base in bases],
        root=str(folder),
        classes=('background', 'house') if task == 'seg' else ('house',),
        palette=[(0, 0, 0), RED] if task == 'seg' else [RED],
    )
    path = folder / f'{task}.py'
    path.write_text(config)
    return path


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_browse_shows_labels_and_missing_data(tmp_path, images, task, capsys):
    config = write_config(images[0], task)
    run_tool('analysis_tools/browse_dataset.py', config, '--split', 'val', '-o', tmp_path)
    assert '4 chips of 40 x 40 pixels' in capsys.readouterr().out
    sheet = Image.open(tmp_path / f'{task}_val.png').convert('RGB')
    # Pixels are squares of 6 x 6 below a title.
    chips = [sheet.crop((246 * i, 18, 246 * i + 240, 258)) for i in range(4)]
    first, _, _, empty = (chip.resize((40, 40), Image.Resampling.NEAREST) for chip in chips)
    assert empty.getcolors() == [(1600, MAGENTA)]
    if task == 'det':
        assert [first.getpixel(xy) for xy in ((5, 10), (24, 19))] == [RED, RED]
    else:
        inside, outside = (np.array(first)[rows, 8:20] for rows in (slice(8, 18), slice(25, 40)))
        assert inside[..., 0].min() > inside[..., 1].max() / 2
        assert inside[..., 0].mean() - inside[..., 1].mean() > 80
        assert (outside[..., 0] == outside[..., 1]).all()


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_browse_paints_missing_data_magenta(tmp_path, images, task):
    config = write_config(images[0], task)
    options = ['train_dataloader.sampler.min_valid=0']
    run_tool(
        *('analysis_tools/browse_dataset.py', config, '-o', tmp_path, '-n', 40),
        *('--cfg-options', *options),
    )
    sheet = np.array(Image.open(tmp_path / f'{task}_train.png').convert('RGB'))
    assert (sheet == MAGENTA).all(axis=2).any()


def test_browse_of_a_split_that_the_config_lacks(images, capsys):
    config = write_config(images[0], 'seg')
    with pytest.raises(SystemExit) as end:
        run_tool('analysis_tools/browse_dataset.py', config, '--split', 'test')
    assert end.value.code == 2
    assert 'has no test_dataloader' in capsys.readouterr().err


def test_browse_of_a_transform_that_fails(images, capsys):
    """That of MMSegmentation takes three bands, and the chips have two."""
    config = write_config(images[0], 'seg')
    steps = ('geo_mm.LoadChip', 'geo_mm.LoadChipClasses', 'PhotoMetricDistortion', 'PackSegInputs')
    pipeline = f"train_dataloader['dataset']['pipeline'] = {[{'type': step} for step in steps]}"
    config.write_text(f'{config.read_text()}\n{pipeline}\n')
    with pytest.raises(SystemExit) as end:
        run_tool('analysis_tools/browse_dataset.py', config)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert 'PhotoMetricDistortion of mmseg fails on these chips' in message
    assert 'Traceback' not in message


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_band_statistics_are_those_of_all_valid_pixels(images, task, capsys):
    folder, arrays = images
    run_tool('analysis_tools/band_statistics.py', write_config(folder, task))
    printed = capsys.readouterr().out
    pixels = np.concatenate([array.reshape(2, -1) for array in arrays], axis=1)
    pixels = pixels[:, pixels.any(axis=0)].astype(float)
    for name in ('mean', 'std'):
        values = [float(v) for v in re.search(rf'^{name} = \[(.*)\]', printed, re.M)[1].split(',')]
        np.testing.assert_allclose(values, getattr(pixels, name)(axis=1), rtol=1e-3)
    assert f'# nir: {pixels[1].min():g} to {pixels[1].max():g}, mean' in printed


def test_class_weights_fit_into_a_config(images, capsys):
    folder, _ = images
    run_tool('analysis_tools/class_weights.py', write_config(folder, 'seg'))
    printed = capsys.readouterr().out
    # 80 x 40 and 40 x 40 valid pixels, 20 x 15 of houses in both.
    assert '# house: 12.50% of 4800 labelled pixels' in printed
    weights = re.search(r'^class_weight = \[(.*), (.*)\]', printed, re.M)
    assert float(weights[1]) < 1 < float(weights[2])


def test_class_weights_of_objects_are_their_numbers(images, capsys):
    """One house, which is in both scenes."""
    run_tool('analysis_tools/class_weights.py', write_config(images[0], 'det'))
    assert 'house: 2 objects' in capsys.readouterr().out
