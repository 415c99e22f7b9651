import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from geo_mm.visualization import contact_sheet, draw_chip
from tests.data.models import spec_of

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
