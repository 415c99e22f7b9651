"""Map scores from chips: the numbers of tools/evaluate.py on the scene predicted as a whole."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from geo_mm.errors import ConfigError
from geo_mm.evaluation import ObjectSettings, evaluate_objects, evaluate_pixels
from geo_mm.evaluation.metric import CocoMetric, MapMetric, _windows_and_cores, on_data
from geo_mm.inference import Predictor
from geo_mm.registry import METRICS
from tests.data.chips import build_dataset, fresh_mmengine
from tests.data.labels import box, write_labels
from tests.data.models import (
    PLACE_KEYS,
    map_pipeline,
    object_files,
    paint,
    pixel_files,
    spec_of,
    write_test_config,
)
from tests.data.rasters import noise, write_raster
from tests.test_evaluation.run_metric import scores_of

ROOT = Path(__file__).parents[2]
HOUSES = [box(5, 5, 40, 50), box(70, 20, 100, 80), box(50, 60, 66, 88)]


def run(*args, **kwargs) -> dict[str, float]:
    with fresh_mmengine():
        return scores_of(write_test_config(*args, **kwargs))


@pytest.fixture(scope='module')
def pixel_model(tmp_path_factory):
    spec = spec_of('pixels', ('background', 'high'), mean=(127.5,), std=(10.0,))
    return pixel_files(tmp_path_factory.mktemp('pixels'), spec, [[0.0], [1.0]])


@pytest.fixture(scope='module', params=[False, True], ids=['boxes', 'masks'])
def object_model(tmp_path_factory, request):
    spec = spec_of('objects', ['even', 'odd'], dtype='uint16')
    folder = tmp_path_factory.mktemp('objects')
    return object_files(folder, spec, with_masks=request.param), request.param


@pytest.fixture
def town(tmp_path):
    """90 x 120 pixels of noise in two scenes, and houses."""
    for name, seed in (('a', 0), ('b', 1)):
        write_raster(tmp_path / f'{name}.tif', noise((1, 90, 120), seed=seed))
        write_labels(tmp_path / f'{name}.gpkg', HOUSES[seed:])
    scenes = [dict(image=f'{name}.tif', labels=f'{name}.gpkg') for name in 'ab']
    return tmp_path, scenes


@pytest.mark.parametrize(('chip', 'stride'), [(32, 32), (64, 64), (32, 20)])
def test_pixels_are_those_of_whole_scenes(pixel_model, town, chip, stride):
    folder, scenes = town
    scores = run(pixel_model, folder, 'seg', scenes, ['high'], chip=chip, stride=stride)
    predictor = Predictor(pixel_model[1], device='cpu', tile=32)
    pairs = []
    for name in 'ab':
        result = predictor.predict(folder / f'{name}.tif', folder / 'out')
        pairs.append((name, result.files[0], folder / f'{name}.gpkg'))
    expected = evaluate_pixels(pairs).scores
    assert scores['map/accuracy'] == expected.overall.accuracy
    assert scores['map/kappa'] == pytest.approx(expected.overall.kappa, abs=1e-12)
    assert scores['map/mean_iou'] == pytest.approx(expected.overall.mean_iou, abs=1e-12)
    assert scores['map/high/iou'] == expected.classes['high'].iou
    assert scores['map/background/f1'] == expected.classes['background'].f1


def found_and_true(folder):
    """Objects of two classes, some of them across the borders of tiles; what is true differs."""
    rng = np.random.default_rng(3)
    boxes, true, kinds = [], [], []
    for row in range(0, 160, 20):
        for col in range(0, 160, 20):
            width, height = rng.integers(5, 19, 2)
            boxes.append([col, row, col + width, row + height])
            left, top = rng.integers(-2, 3, 2)
            if len(boxes) % 5:
                true.append(box(col + left, row + top, col + left + width, row + top + height))
                kinds.append(['even', 'odd'][len(boxes) % 2])
    true[3], kinds[3] = box(70, 70, 120, 120), 'blurred'
    write_raster(folder / 'a.tif', paint((170, 170), boxes))
    return write_labels(folder / 'a.gpkg', true, kinds)


def test_objects_are_those_of_whole_scenes(object_model, tmp_path):
    files, with_masks = object_model
    labels = found_and_true(tmp_path)
    kinds = dict(class_column='class', class_map={'blurred': 'ignore'})
    scene = dict(image='a.tif', labels='a.gpkg')
    # Tiles start at 0, 53 and 106, as chips do.
    scores = run(
        *(files, tmp_path, 'det', scene, ['even', 'odd']),
        **dict(chip=64, stride=53, dataset=dict(label_cfg=kinds)),
    )
    predictor = Predictor(files[1], device='cpu', tile=64, overlap=11, score=0.0)
    layer = predictor.predict(tmp_path / 'a.tif', tmp_path / 'out').files[0]
    settings = ObjectSettings(
        coco=True, min_score=0.3, boxes=not with_masks, class_map={'blurred': 'ignore'}
    )
    expected = evaluate_objects([('a', layer, labels)], settings).scores
    counts = expected.overall.counts
    assert counts.true_positives > 15 and counts.false_positives > 3 and counts.false_negatives > 2
    overall = expected.to_dict()['overall']
    for key in ('precision', 'recall', 'f1', 'mean_iou', 'ap', 'ap_50_95'):
        assert scores[f'map/{key}'] == pytest.approx(overall[key], abs=1e-6), key
    for name, each in expected.classes.items():
        assert scores[f'map/{name}/ap'] == pytest.approx(each.curve.ap, abs=1e-6)
        assert scores[f'map/{name}/f1'] == pytest.approx(each.counts.f1, abs=1e-6)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(pixel_model, town):
    folder, scenes = town
    given, options = (pixel_model, folder, 'seg', scenes, ['high']), dict(chip=32, stride=20)
    alone = run(*given, **options)
    config = write_test_config(*given, **options, launcher='pytorch')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    script = ROOT / 'tests/test_evaluation/run_metric.py'
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += [f'--master_port={port}', str(script), str(config), str(folder / 'scores.json')]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES='')
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((folder / 'scores.json').read_text()) == alone


def test_what_is_undefined_is_nan(pixel_model, tmp_path):
    write_raster(tmp_path / 'a.tif', np.zeros((1, 40, 80), np.uint8))
    write_labels(tmp_path / 'a.gpkg', [box(50, 5, 60, 15)])
    scene = dict(image='a.tif', labels='a.gpkg', area=(0, 0, 0.5, 1))
    scores = run(pixel_model, tmp_path, 'seg', scene, ['high'], chip=32)
    assert math.isnan(scores['map/high/iou'])
    assert scores['map/accuracy'] == 1


def test_objects_without_data_do_not_count(object_model, tmp_path):
    """The AOI of a dataset, and nodata, are no ground to score on."""
    write_raster(tmp_path / 'a.tif', paint((40, 80), [[5, 5, 15, 15], [50, 5, 60, 15]]))
    true = [box(5, 5, 15, 15), box(50, 5, 60, 15), box(60, 25, 70, 35)]
    write_labels(tmp_path / 'a.gpkg', true, ['odd', 'even', 'odd'])
    write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 40, 40)])
    scene = dict(image='a.tif', labels='a.gpkg', aoi='aoi.gpkg')
    kinds = dict(class_column='class')
    given = object_model[0], tmp_path, 'det', scene, ['even', 'odd']
    scores = run(*given, chip=80, dataset=dict(label_cfg=kinds))
    assert (scores['map/precision'], scores['map/recall']) == (1, 1)
    assert math.isnan(scores['map/even/ap'])


def test_cores_are_those_of_prediction():
    from geo_mm.raster import tile_plan

    plan = tile_plan(170, 150, 64, 11)
    _, cores = _windows_and_cores([tuple(tile.window) for tile in plan], (170, 150))
    expected = [(t.core.col_off, t.core.row_off, t.core.col_end, t.core.row_end) for t in plan]
    assert cores.tolist() == [list(map(float, core)) for core in expected]


def sample_of(folder, **load):
    write_raster(folder / 'a.tif', paint((40, 40), [[5, 5, 15, 15]]))
    write_labels(folder / 'a.gpkg', [box(5, 5, 15, 15)])
    dataset = build_dataset(
        'det',
        dict(image='a.tif', labels='a.gpkg'),
        data_root=str(folder),
        pipeline=map_pipeline('det', **load),
    )
    sample = dataset[0]['data_samples'].to_dict()
    none = dict(bboxes=torch.empty(0, 4), scores=torch.empty(0), labels=torch.empty(0).long())
    return sample | {'pred_instances': none}


def test_chips_without_outlines(tmp_path):
    with pytest.raises(ConfigError, match=r'LoadChipObjects.*with_outlines=True'):
        MapMetric().process(None, [sample_of(tmp_path)])


def test_chips_without_their_place(tmp_path):
    sample = sample_of(tmp_path, with_outlines=True)
    del sample['scene_size']
    with pytest.raises(ConfigError, match=r'without scene_size'):
        MapMetric().process(None, [sample])


def test_unknown_suppression():
    with pytest.raises(ConfigError, match=r"suppress='wbf'(.|\n)*nms, soft-nms"):
        METRICS.build(dict(type='MapMetric', suppress='wbf'))


def test_base_configs_pack_what_the_metric_needs():
    for name in ('geo_det', 'geo_ins', 'geo_seg'):
        config = Config.fromfile(ROOT / f'configs/_base_/datasets/{name}.py')
        *_, load, pack = config.test_dataloader.dataset.pipeline
        assert {*PLACE_KEYS} <= {*pack.meta_keys}
        assert name == 'geo_seg' or load.with_outlines


def test_a_single_class_has_one_score():
    """120 objects, of which the 110 most confident detections miss all and others find some."""
    rows = [
        [10 * (i % 12), 10 * (i // 12), 10 * (i % 12) + 8, 10 * (i // 12) + 8] for i in range(120)
    ]
    boxes = torch.tensor([*[[200.0, 200, 208, 208]] * 110, *rows[:60]])
    sample = {
        'img_id': 1,
        'ori_shape': (256, 256),
        'instances': [{'bbox': row, 'bbox_label': 0, 'ignore_flag': 0} for row in rows],
        'pred_instances': {
            'bboxes': boxes,
            'scores': torch.linspace(0.9, 0.1, len(boxes)),
            'labels': torch.zeros(len(boxes), dtype=torch.int64),
        },
    }
    metric = CocoMetric(metric='bbox', classwise=True)
    metric.dataset_meta = {'classes': ('palm',)}
    metric.process({}, [sample])
    found = metric.evaluate(1)
    assert found['coco/palm_precision'] == found['coco/bbox_mAP'] == found['coco/bbox_mAP_50'] == 0
    assert math.isnan(found['coco/bbox_mAP_l'])  # there are none of this size


def padded_chip(scale: int = 1):
    """40 x 60 pixels, 30 columns with data and an object. One is found there, two are beside."""
    unknown = torch.zeros(1, 48 * scale, 64 * scale, dtype=torch.uint8)
    unknown[:, : 40 * scale, 30 * scale : 60 * scale] = 255  # beyond it, the batch is padded
    boxes = torch.tensor([[28.0, 5, 58, 30], [4, 5, 20, 25], [40, 10, 50, 20]])
    found = {
        'bboxes': boxes,
        'scores': torch.tensor([0.9, 0.8, 0.7]),
        'labels': torch.zeros(3, dtype=torch.int64),
    }
    return {
        'img_id': 1,
        'ori_shape': (40, 60),
        'img_shape': (40 * scale, 60 * scale),
        'gt_sem_seg': {'sem_seg': unknown},
        'instances': [{'bbox': [4, 5, 20, 25], 'bbox_label': 0, 'ignore_flag': 0}],
        'pred_instances': found,
    }


@pytest.mark.parametrize('scale', [1, 2], ids=['as read', 'resized'])
def test_objects_where_there_is_no_data_are_not_scored(scale):
    metric = CocoMetric(metric='bbox')
    metric.dataset_meta = {'classes': ('palm',)}
    metric.process({}, [padded_chip(scale)])
    assert metric.evaluate(1)['coco/bbox_mAP_50'] == 1


@pytest.mark.parametrize(('last', 'counts'), [(32, True), (33, False)])
def test_masks_count_if_half_of_them_has_data(last, counts):
    sample = padded_chip()
    masks = torch.zeros(3, 40, 60, dtype=torch.bool)
    masks[0, 5:30, 28:last] = True  # two columns of it have data
    masks[1, 5:25, 4:20] = True
    masks[2, 10:20, 40:50] = True
    sample['pred_instances']['masks'] = masks
    assert on_data(sample).tolist() == [counts, True, False]
    assert on_data(padded_chip()).tolist() == [False, True, False]


@pytest.mark.parametrize('masks', [False, True], ids=['boxes', 'masks'])
def test_nothing_found_is_a_score_of_nothing(masks):
    sample = padded_chip()
    nothing = {key: value[:0] for key, value in sample['pred_instances'].items()}
    if masks:
        nothing['masks'] = torch.zeros(0, 40, 60, dtype=torch.bool)
        sample['instances'][0]['mask'] = [[4.0, 5, 20, 5, 20, 25, 4, 25]]
    kinds = ['bbox', 'segm'] if masks else ['bbox']
    metric = CocoMetric(metric=kinds, classwise=True)
    metric.dataset_meta = {'classes': ('palm',)}
    metric.process({}, [{**sample, 'pred_instances': nothing}])
    found = metric.evaluate(1)
    assert found['coco/palm_precision'] == 0
    assert all(found[f'coco/{kind}_mAP{each}'] == 0 for kind in kinds for each in ('', '_50'))
