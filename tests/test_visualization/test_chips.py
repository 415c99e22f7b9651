"""Sheets of chips, by our hook in a real training and by the libraries' own hooks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample
from PIL import Image

from geo_mm.engine import launch
from geo_mm.visualization.chips import GeoLocalVisualizer, contact_sheet, draw_chip
from tests.data.chips import build_dataset, fresh_mmengine, write_scene, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.models import spec_of
from tests.data.rasters import noise, write_raster

MAGENTA = (255, 0, 255)
BANDS = ('r', 'g', 'b', 'nir')


def test_classes_with_outlines_over_the_chip_and_ignored_pixels_magenta():
    classes = torch.zeros(1, 8, 9, dtype=torch.uint8)
    classes[0, 2:5, 2:5] = 1
    classes[0, 7, 8] = 255
    sample = SegDataSample(gt_sem_seg=PixelData(data=classes))
    spec = spec_of('pixels', ('background', 'road'), BANDS)
    chip = draw_chip(np.zeros((4, 8, 9), np.float32), sample, spec)
    assert chip.size == (9, 8)
    assert chip.getpixel((8, 7)) == MAGENTA
    assert chip.getpixel((3, 2)) == spec.classes.colours[1]  # its outline
    inside = [int(part * 0.35) for part in spec.classes.colours[1]]
    np.testing.assert_allclose(chip.getpixel((3, 3)), inside, atol=1)
    assert chip.getpixel((0, 0)) == (0, 0, 0)


def object_sample(boxes, labels, ignored=(), **fields):
    def instances(boxes, labels, **fields):
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return InstanceData(
            bboxes=HorizontalBoxes(boxes), labels=torch.tensor(labels, dtype=torch.int64), **fields
        )

    return DetDataSample(
        gt_instances=instances(boxes, labels, **fields),
        ignored_instances=instances(ignored, [0] * len(ignored)),
    )


def test_boxes_in_the_colour_of_their_class_and_ignored_ones_magenta():
    spec = spec_of('objects', ('house', 'tree'), BANDS)
    sample = object_sample([[2, 3, 12, 13], [20, 3, 28, 13]], [0, 1], [[30, 20, 38, 28]])
    chip = draw_chip(np.zeros((4, 30, 40), np.float32), sample, spec)
    assert chip.getpixel((2, 8)) == spec.classes.colours[0]
    assert chip.getpixel((20, 8)) == spec.classes.colours[1]
    assert chip.getpixel((30, 24)) == MAGENTA
    assert chip.getpixel((7, 8)) == (0, 0, 0)


def test_masks_are_filled():
    mask = np.zeros((1, 30, 40), np.uint8)
    mask[0, 5:10, 5:10] = 1
    spec = spec_of('objects', ('house',), BANDS)
    sample = object_sample([[2, 3, 14, 15]], [0], masks=BitmapMasks(mask, 30, 40))
    chip = draw_chip(np.zeros((4, 30, 40), np.float32), sample, spec)
    assert chip.getpixel((7, 7)) == tuple(int(part * 0.4) for part in spec.classes.colours[0])
    assert chip.getpixel((11, 7)) == (0, 0, 0)


def test_pixels_without_data_are_magenta_under_objects():
    valid = torch.zeros(1, 10, 10, dtype=torch.uint8)
    valid[0, :, 5:] = 255
    sample = object_sample([], [])
    sample.gt_sem_seg = PixelData(sem_seg=valid)
    chip = draw_chip(np.zeros((4, 10, 10), np.float32), sample, spec_of('objects', ('a',), BANDS))
    assert [chip.getpixel((x, 3)) for x in (4, 5)] == [(0, 0, 0), MAGENTA]


def test_contact_sheet():
    images = [Image.new('RGB', (10, 8), (number, 0, 0)) for number in range(5)]
    sheet = contact_sheet(images, columns=2)
    assert sheet.size == (2 * 16, 3 * 14)
    assert [sheet.getpixel((x, y))[0] for y in (0, 14, 28) for x in (0, 16)] == [0, 1, 2, 3, 4, 255]


PALETTE = [(10, 200, 30), (250, 10, 10)]
SHEETS = 'vis_data/vis_image'


@pytest.mark.slow
def test_a_training_leaves_sheets_of_every_validation(tmp_path):
    write_scene(tmp_path)
    config_path = write_seg_config(tmp_path)
    with fresh_mmengine():
        config = launch.load_config(config_path, {})
        launch.set_work_dir(config, tmp_path / 'work')
        launch.build_runner(config).train()
    (folder,) = (tmp_path / 'work').glob(f'*/{SHEETS}')
    assert sorted(file.name for file in folder.iterdir()) == [f'val_{i}_2.png' for i in range(4)]
    with Image.open(folder / 'val_0_2.png') as sheet:
        assert sheet.width >= 3 * 64 and sheet.height > 64


@pytest.fixture
def scene(tmp_path):
    """Two chips of 32 pixels, 6 bands that OpenCV cannot make a picture of."""
    image = write_raster(tmp_path / 's.tif', noise((6, 32, 64), 'uint16'))
    labels = write_labels(tmp_path / 'l.gpkg', [box(4, 4, 20, 20)], ['building'])
    return {'image': str(image), 'labels': str(labels)}


def sample_of(task, scene, classes=('building',)):
    dataset = build_dataset(
        task,
        [scene],
        classes,
        label_cfg={'class_column': 'class'},
        metainfo={
            'classes': classes if task == 'det' else ('background', *classes),
            'palette': PALETTE[-len(classes) :] if task == 'det' else PALETTE,
        },
        stride=32,
    )
    item = dataset[0]
    sample = item['data_samples']
    sample.set_metainfo({'img_path': scene['image']})
    if task == 'seg':
        found = torch.zeros(1, 32, 32, dtype=torch.long)
        found[0, 20:30, 20:30] = 1
        sample.pred_sem_seg = PixelData(data=found)
    else:
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor([[18.0, 18, 30, 30], [1, 1, 5, 5]]),
            labels=torch.tensor([0, 0]),
            scores=torch.tensor([0.9, 0.1]),
        )
    return item['inputs'].numpy().transpose(1, 2, 0), sample, dataset.metainfo


@pytest.fixture(params=['seg', 'det'])
def chip(request, scene):
    return request.param, *sample_of(request.param, scene)


def drawn(sheet, panel, colour):
    """Where a colour stands in one of the three pictures, below its title."""
    part = sheet[20 : 18 + 224 : 7, panel * 230 + 2 : panel * 230 + 224 : 7]
    return np.argwhere((part == colour).all(axis=2))


def test_a_sheet_shows_image_truth_and_prediction_in_the_colours_of_the_data(chip):
    _, image, sample, metainfo = chip
    visualizer = GeoLocalVisualizer()
    visualizer.dataset_meta = metainfo
    sheet = visualizer.draw_sheet(image, sample)
    assert not len(drawn(sheet, 0, PALETTE[1]))
    truth, prediction = drawn(sheet, 1, PALETTE[1]), drawn(sheet, 2, PALETTE[1])
    assert truth.min() in (3, 4) and truth.max() in (19, 20)
    # What the model is less sure of than pred_score_thr is left out.
    assert prediction.min() in (17, 18, 20) and prediction.max() in (29, 30)
    legend = sheet[18 + 224 + 6 :]
    assert (legend == PALETTE[1]).all(axis=2).any()


def test_truth_and_prediction_can_be_left_out(chip):
    _, image, sample, metainfo = chip
    visualizer = GeoLocalVisualizer()
    visualizer.dataset_meta = metainfo
    assert not len(drawn(visualizer.draw_sheet(image, sample, draw_pred=False), 2, PALETTE[1]))
    both = visualizer.draw_sheet(image, sample, draw_gt=False, draw_pred=False)
    assert not len(drawn(both, 1, PALETTE[1]))


def test_a_chip_is_read_anew_where_the_whole_file_is_handed_over(chip):
    _, image, sample, metainfo = chip
    visualizer = GeoLocalVisualizer()
    visualizer.dataset_meta = metainfo
    expected = visualizer.draw_sheet(image, sample)
    whole = np.zeros((32, 64, 3), np.uint8)
    np.testing.assert_array_equal(visualizer.draw_sheet(whole, sample), expected)


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_the_hooks_of_the_libraries(tmp_path, task):
    """Of a scene that is no chip, which ended in an IndexError or AssertionError."""
    image = write_raster(tmp_path / 's.tif', noise((3, 32, 64)))
    labels = write_labels(tmp_path / 'l.gpkg', [box(4, 4, 20, 20)], ['building'])
    _, sample, metainfo = sample_of(task, {'image': str(image), 'labels': str(labels)})
    with fresh_mmengine():
        visualizer = GeoLocalVisualizer.get_instance(
            f'hooks_{task}', vis_backends=[{'type': 'LocalVisBackend'}], save_dir=str(tmp_path)
        )
        visualizer.dataset_meta = metainfo
        hook = {'seg': SegVisualizationHook, 'det': DetVisualizationHook}[task](draw=True)
        hook.interval = 1
        hook.after_val_iter(SimpleNamespace(iter=3), 0, {}, [sample])
    (sheet,) = (tmp_path / SHEETS).iterdir()
    found = np.array(Image.open(sheet))
    assert len(drawn(found, 1, PALETTE[1])) and len(drawn(found, 2, PALETTE[1]))
