import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from geo_mm.errors import ConfigError
from tests.data.chips import scope


def build(task, **kwargs):
    name = dict(seg='Seg', det='Det')[task]
    with scope(task):
        return MODELS.build(dict(type=f'geo_mm.Geo{name}DataPreprocessor', **kwargs))


def batch(bands, size=20, count=2):
    images = [torch.full((bands, size, size), 10.0 * (n + 1)) for n in range(count)]
    for image in images:
        image += torch.arange(bands)[:, None, None]
    return images


@pytest.mark.parametrize('bands', [1, 2, 3, 4, 13])
def test_every_band_has_its_own_mean_and_deviation(bands):
    mean, std = list(range(bands)), [band + 1.0 for band in range(bands)]
    samples = [DetDataSample(metainfo=dict(img_shape=(20, 20))) for _ in range(2)]
    preprocessor = build('det', mean=mean, std=std, pad_size_divisor=32)
    found = preprocessor(dict(inputs=batch(bands), data_samples=samples), True)['inputs']
    assert found.shape == (2, bands, 32, 32)
    for band in range(bands):
        assert (found[0, band, :20, :20] == 10 / (band + 1)).all()
    # What is padded is the mean: it comes after normalising.
    assert (found[:, :, 20:] == 0).all() and (found[:, :, :, 20:] == 0).all()


def test_padded_pixels_are_ignored_in_labels():
    from mmengine.structures import PixelData

    preprocessor = build('seg', mean=[0.0] * 5, std=[1.0] * 5, size_divisor=16)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.ones(1, 20, 20, dtype=torch.uint8)))
        for _ in range(2)
    ]
    found = preprocessor(dict(inputs=batch(5), data_samples=samples), True)
    assert found['inputs'].shape == (2, 5, 32, 32)
    labels = found['data_samples'][0].gt_sem_seg.data[0]
    assert (labels[:20, :20] == 1).all()
    assert (labels == 255).sum() == 32 * 32 - 20 * 20


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_a_wrong_number_of_bands(task):
    preprocessor = build(task, mean=[0.0] * 4, std=[1.0] * 4)
    with pytest.raises(
        ConfigError, match=r'(?s)a chip of a scene has 3 bands.*4, as .*in_channels'
    ):
        preprocessor(dict(inputs=batch(3)), False)


def test_the_message_names_the_file():
    preprocessor = build('det', mean=[0.0] * 4, std=[1.0] * 4)
    samples = [DetDataSample(metainfo=dict(img_path='/data/a.tif'))]
    with pytest.raises(ConfigError, match=r'a chip of /data/a.tif has 3 bands'):
        preprocessor(dict(inputs=batch(3, count=1), data_samples=samples), False)


@pytest.mark.parametrize('task', ['seg', 'det'])
@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(mean=[0.0] * 3, std=[1.0] * 4), '3 means and 4 standard deviations'),
        (dict(mean=[], std=[]), '0 means'),
        (dict(mean=[0.0], std=[0.0]), 'positive numbers'),
        (dict(mean=[0.0], std=[1.0], bgr_to_rgb=True), '(?s)bgr_to_rgb.*choose the order'),
    ],
)
def test_mistakes(task, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        build(task, **kwargs)


def test_the_valid_pixels_of_a_chip_with_objects_pass():
    """MMDetection's name of the map in a PixelData is sem_seg."""
    with scope('det'):
        pre = MODELS.build(
            dict(type='geo_mm.GeoDetDataPreprocessor', mean=[0.0], std=[1.0], pad_size_divisor=1)
        )
    sample = DetDataSample(
        gt_sem_seg=PixelData(sem_seg=torch.zeros(1, 4, 4, dtype=torch.uint8)),
        metainfo=dict(img_shape=(4, 4)),
    )
    data = pre(dict(inputs=[torch.ones(1, 4, 4)], data_samples=[sample]), True)
    assert data['data_samples'][0].gt_sem_seg.sem_seg.shape == (1, 4, 4)
