import json

import numpy as np
import pytest
from mmengine.config import Config

from geo_mm.inference import Predictor, TrainedModel
from geo_mm.inference.tasks.detection import Detection, most_objects
from tests.data.models import object_files, spec_of
from tests.data.rasters import write_raster

for_tiles = Detection.for_tiles


def config_of(test_cfg, **model):
    return Config(dict(model=dict(test_cfg=test_cfg, **model)))


def test_limits_grow_with_the_area():
    rpn = dict(nms_pre=800, max_per_img=500, nms=dict(type='nms', iou_threshold=0.7))
    rcnn = dict(score_thr=0.05, max_per_img=300, nms=dict(iou_threshold=0.5))
    config = config_of(dict(rpn=rpn, rcnn=rcnn))
    test_cfg = for_tiles(config, (256, 256), 512).model.test_cfg
    assert test_cfg.to_dict() == dict(
        rpn=rpn | dict(nms_pre=3200, max_per_img=2000), rcnn=rcnn | dict(max_per_img=1200)
    )
    assert config.model.test_cfg.rcnn.max_per_img == 300


def test_of_detectors_in_one_stage_too():
    config = for_tiles(config_of(dict(nms_pre=1000, max_per_img=100)), (200, 300), 600)
    assert config.model.test_cfg.to_dict() == dict(nms_pre=6000, max_per_img=600)
    assert most_objects(config) == 600


def test_limits_are_whole_numbers():
    config = for_tiles(config_of(dict(max_per_img=100)), (300, 300), 512)
    assert most_objects(config) == 292  # 100 * 2.913 = 291.3


def test_small_tiles_keep_the_limits_of_a_chip():
    assert most_objects(for_tiles(config_of(dict(max_per_img=100)), (512, 512), 256)) == 100


def test_no_limit_stays_no_limit():
    assert most_objects(for_tiles(config_of(dict(max_per_img=-1)), (256, 256), 512)) == -1


@pytest.mark.parametrize('where', [dict(num_queries=100), dict(head=[dict(num_proposals=100)])])
def test_models_with_a_fixed_number_of_queries_stay_as_they_are(where):
    config = config_of(dict(max_per_img=100), **where)
    assert most_objects(for_tiles(config, (256, 256), 1024)) == 100


def test_model_without_settings():
    config = Config(dict(model=dict(type='X')))
    assert most_objects(for_tiles(config, (256, 256), 1024)) is None


@pytest.mark.parametrize(('tile', 'most'), [(32, 3), (64, 12), (None, 768)])
def test_model_is_built_with_the_limits_of_its_tiles(tmp_path, tile, most):
    files = object_files(tmp_path, spec_of('objects', ['x']), test_cfg=dict(max_per_img=3))
    model = TrainedModel(files[1], device='cpu', tile=tile)
    assert model.model.test_cfg['max_per_img'] == most_objects(model.config) == most


def test_limit_is_in_the_record(tmp_path):
    files = object_files(tmp_path, spec_of('objects', ['x']), test_cfg=dict(max_per_img=3))
    scene = write_raster(tmp_path / 'scene.tif', np.zeros((40, 40), np.uint8))
    Predictor(files[1], device='cpu', tile=64).predict(scene, tmp_path / 'out')
    record = json.loads((tmp_path / 'out' / 'scene.json').read_text())
    assert record['provenance']['options']['objects_per_tile'] == 12
