"""anchors.py: what it tells of a config's objects, and the config that it writes."""

import re

import numpy as np
import pytest

from geo_mm.engine.launch import load_config
from tests.data.chips import CONFIGS, run_tool
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

CONFIG = """
_base_ = {bases}
chips = dict(
    data_root={root!r},
    scenes=[dict(image='scene.tif', labels='labels.gpkg')],
    metainfo=dict(classes=('house',)),
    chip_size=64,
    fill=100.0,
)
train_dataloader = dict(dataset=chips)
val_dataloader = dict(dataset=chips)
test_dataloader = dict(dataset=chips)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """256 x 256 pixels with 64 houses of 14 x 7 pixels, 4 of them in each chip of 64."""
    folder = tmp_path_factory.mktemp('anchors')
    write_raster(folder / 'scene.tif', noise((3, 256, 256)))
    shapes = [box(x, y, x + 14, y + 7) for x in range(4, 256, 32) for y in range(5, 256, 32)]
    write_labels(folder / 'labels.gpkg', shapes, ['house'] * len(shapes))
    return folder


def config_of(folder, model, task='det'):
    names = [f'models/{model}.py', f'datasets/geo_{task}.py', f'{task}_runtime.py']
    path = folder / f'{model}.py'
    path.write_text(
        CONFIG.format(bases=[str(CONFIGS / '_base_' / n) for n in names], root=str(folder))
    )
    return path


@pytest.mark.parametrize(
    'model', ['faster-rcnn_r50_fpn', 'retinanet_r50_fpn', 'ssd_vgg16', 'yolov3_d53']
)
def test_more_objects_have_a_good_anchor(folder, tmp_path, capsys, model):
    config, written = config_of(folder, model), tmp_path / 'deep' / 'fitted.py'
    run_tool('analysis_tools/anchors.py', config, '-n', 12, '--write', written)
    printed = capsys.readouterr().out
    before, after = map(float, re.search(r'^all +([\d.]+)% +([\d.]+)%', printed, re.M).groups())
    assert after > before
    # The written config differs from its base in anchors alone, and is as good at once.
    parent, child = load_config(config), load_config(written)
    head = 'rpn_head' if model.startswith('faster') else 'bbox_head'
    assert child.model[head].anchor_generator != parent.model[head].anchor_generator
    child.model[head].anchor_generator = parent.model[head].anchor_generator
    assert child.model == parent.model
    run_tool('analysis_tools/anchors.py', written, '-n', 12)
    again = re.search(r'^all +([\d.]+)% ', capsys.readouterr().out, re.M)
    assert float(again[1]) == after


def test_sizes_are_those_of_the_labels(folder, capsys):
    run_tool('analysis_tools/anchors.py', config_of(folder, 'retinanet_r50_fpn'), '-n', 12)
    printed = capsys.readouterr().out

    def median(row):
        return float(re.search(rf'^{row} +(.*)$', printed, re.M)[1].split()[3])

    assert (median('width, pixels'), median('height, pixels')) == (14, 7)
    assert median('side, pixels: house') == pytest.approx(np.sqrt(14 * 7), rel=5e-3)
    assert median('height / width') == 0.5
    assert 'less than 16 pixels wide or high' in printed


def test_pixels_have_no_anchors(folder, capsys):
    with pytest.raises(SystemExit):
        run_tool('analysis_tools/anchors.py', config_of(folder, 'unet', 'seg'))
    assert 'EncoderDecoder has no anchors' in capsys.readouterr().err


def test_a_detector_without_anchors(folder, capsys):
    with pytest.raises(SystemExit):
        run_tool('analysis_tools/anchors.py', config_of(folder, 'fcos_r18-c128_fpn'))
    assert 'FCOS has no anchors' in capsys.readouterr().err
