import gc
import pickle

import numpy as np
import pytest
from affine import Affine

from geo_mm.classes import ClassSet
from geo_mm.datasets import GeoDetDataset, chip_datasets, chips
from geo_mm.errors import CatalogError, ConfigError, GeoMMError, LabelError
from geo_mm.raster import Scene
from tests.data.chips import build_dataset, fresh_mmengine
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster


@pytest.fixture
def scene(tmp_path):
    """One entry: 100 x 80 pixels, 3 bands, two buildings."""
    image = write_raster(tmp_path / 'a.tif', noise((3, 80, 100)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(2, 2, 12, 12), box(50, 40, 70, 60)])
    return dict(image=str(image), labels=str(labels))


def test_every_position_is_a_chip(scene):
    dataset = build_dataset('det', [scene])
    assert len(dataset) == (100 - 31) * (80 - 31)
    assert build_dataset('det', [scene], stride=32, chip_size=(32, 50)).chip_space.shapes == [
        (3, 3)
    ]


def test_a_chip_says_where_on_earth_it_is(scene):
    dataset = build_dataset('det', [scene])
    sample = dataset[dataset.chip_space.index(0, 40, 20)]['data_samples']
    assert sample.scene_id == 'a'
    assert sample.window == (40, 20, 32, 32)
    assert Affine(*sample.transform) @ (0, 0) == TRANSFORM @ (40, 20)
    assert 'UTM zone 17N' in sample.crs
    assert isinstance(sample.img_id, int)


def test_a_negative_index_counts_from_the_end(scene):
    dataset = build_dataset('det', [scene])
    assert dataset.get_data_info(-1)['window'] == (68, 48, 32, 32)
    with pytest.raises(IndexError):
        dataset.get_data_info(len(dataset))


def test_chips_do_not_depend_on_what_was_read_before_or_on_the_process(scene):
    dataset = build_dataset('det', [scene])
    before = dataset[1234]['inputs']
    dataset[5], dataset[3210]
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(dataset[1234]['inputs'], before)
    np.testing.assert_array_equal(copy[1234]['inputs'], before)


def test_image_ids_differ_between_datasets_and_agree_between_runs(scene, tmp_path):
    other = dict(scene, image=str(write_raster(tmp_path / 'b.tif', noise((3, 80, 100)))))
    ids = [
        [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
        for dataset in (build_dataset('det', [item], stride=32) for item in (scene, other, scene))
    ]
    assert ids[0] == ids[2]
    assert len(set(ids[0] + ids[1])) == 2 * len(ids[0])


def test_three_utm_zones_in_one_dataset_without_warping(tmp_path, monkeypatch):
    """Each chip holds the stored numbers of its scene, in the scene's own CRS."""
    import rasterio.vrt

    def warp(*args, **kwargs):
        raise AssertionError('an image was warped')

    monkeypatch.setattr(rasterio.vrt, 'WarpedVRT', warp)
    arrays, scenes = [], []
    for zone in (32617, 32618, 32719):
        array = noise((4, 60, 70), 'uint16', seed=zone)
        image = write_raster(tmp_path / f'{zone}.tif', array, crs=f'EPSG:{zone}')
        labels = write_labels(
            tmp_path / f'{zone}.geojson', [box(20, 10, 30, 25)], crs=f'EPSG:{zone}', to_crs=4326
        )
        arrays.append(array)
        scenes.append(dict(image=str(image), labels=str(labels)))
    dataset = build_dataset('det', scenes)
    for number, array in enumerate(arrays):
        item = dataset[dataset.chip_space.index(number, 11, 7)]
        np.testing.assert_array_equal(item['inputs'], array[:, 7:39, 11:43].astype('float32'))
        np.testing.assert_allclose(
            item['data_samples'].gt_instances.bboxes.tensor, [[9, 3, 19, 18]], atol=0.02
        )
    zones = [dataset[dataset.chip_space.index(n, 0, 0)]['data_samples'].crs for n in range(3)]
    assert ['zone 17N' in zones[0], 'zone 18N' in zones[1], 'zone 19S' in zones[2]] == [True] * 3


def test_reading_at_another_gsd_moves_boxes_along(scene):
    dataset = build_dataset('det', [scene], gsd=1.0)
    item = dataset[dataset.chip_space.index(0, 10, 5)]
    assert dataset.labelled[0].scene.width == 50
    np.testing.assert_allclose(
        item['data_samples'].gt_instances.bboxes.tensor, [[15, 15, 25, 25]], atol=0.03
    )
    expected = Scene.open(scene['image'], gsd=1.0).read()[0][:, 5:37, 10:42]
    np.testing.assert_array_equal(item['inputs'], expected.astype('float32'))


def test_bands_by_name_in_the_order_asked_for(tmp_path):
    array = noise((3, 40, 40))
    names = ('red', 'green', 'nir')
    image = write_raster(tmp_path / 'a.tif', array, descriptions=names)
    labels = write_labels(tmp_path / 'a.gpkg', [box(2, 2, 12, 12)])
    scenes = [dict(image=str(image), labels=str(labels))]
    dataset = build_dataset('det', scenes, bands=('nir', 'red'))
    np.testing.assert_array_equal(dataset[0]['inputs'], array[[2, 0], :32, :32])


def test_scenes_with_the_same_bands_in_another_order_need_names(tmp_path):
    scenes = []
    for number, names in enumerate([('red', 'green'), ('green', 'red')]):
        array = np.stack([np.full((40, 40), 1 + (name == 'green'), 'uint8') for name in names])
        image = write_raster(tmp_path / f'{number}.tif', array, descriptions=names)
        labels = write_labels(tmp_path / f'{number}.gpkg', [box(2, 2, 12, 12)])
        scenes.append(dict(image=str(image), labels=str(labels)))
    with pytest.raises(ConfigError, match=r"(?s)1.tif has the bands green, red.*bands=\('red'"):
        build_dataset('det', scenes)
    dataset = build_dataset('det', scenes, bands=('red', 'green'))
    for number in range(2):
        chip = dataset[dataset.chip_space.index(number, 0, 0)]['inputs']
        assert chip[0].unique().tolist() == [1] and chip[1].unique().tolist() == [2]


def test_scenes_with_different_numbers_of_bands(tmp_path, scene):
    other = dict(scene, image=str(write_raster(tmp_path / 'b.tif', noise((4, 80, 100)))))
    with pytest.raises(ConfigError, match=r'(?s)b has 4 bands.*a has 3.*choose the common ones'):
        build_dataset('det', [scene, other])


@pytest.mark.parametrize(
    ('kwargs', 'error', 'message'),
    [
        (dict(chipsize=64), ConfigError, r"(?s)no argument 'chipsize'.*did you mean 'chip_size'"),
        (dict(chip_size=0), ConfigError, 'chip_size=0'),
        (dict(chip_size=(32, 32, 3)), ConfigError, 'positive numbers of pixels'),
        (dict(stride=0), ConfigError, 'stride=0'),
        (dict(indices=10), ConfigError, '(?s)does not support indices.*num_chips'),
        (dict(filter_cfg=dict(min_size=3)), ConfigError, '(?s)filter_cfg.*positive_share'),
        (dict(ann_file='a.json'), ConfigError, '(?s)ann_file.*labels='),
        (dict(metainfo={}), ConfigError, 'without classes'),
        (dict(split='val', scenes=[]), CatalogError, 'no scenes'),
        (dict(bands=('red', 'swir')), GeoMMError, "(?s)a.tif: no band 'red'.*B1"),
        (dict(label_cfg=dict(class_column='kind')), LabelError, "(?s)no column 'kind'.*correct"),
        (
            dict(metainfo=dict(classes=('background', 'building'))),
            ConfigError,
            'GeoDetDataset with a background class',
        ),
    ],
)
def test_mistakes(scene, kwargs, error, message):
    with pytest.raises(error, match=message):
        build_dataset('det', kwargs.pop('scenes', [scene]), **kwargs)


def test_an_argument_left_at_the_librarys_default_is_no_mistake(scene):
    assert len(build_dataset('det', [scene], filter_cfg=None, indices=None, ann_file=''))


def test_pixels_need_their_background_among_the_classes(scene):
    with pytest.raises(
        ConfigError, match=r"(?s)class 'background'.*building.*label_cfg.background"
    ):
        build_dataset('seg', [scene], metainfo=dict(classes=('building',)))


def test_value_zero_cannot_be_reduced(scene):
    with pytest.raises(ConfigError, match=r'(?s)reduce_zero_label.*class_map'):
        build_dataset('seg', [scene], reduce_zero_label=True)


def test_a_label_raster_has_no_objects(tmp_path, scene):
    raster = write_raster(tmp_path / 'l.tif', np.zeros((80, 100), 'uint8'))
    with pytest.raises(LabelError, match=r'(?s)l.tif: a label raster has no single objects'):
        build_dataset('det', [dict(scene, labels=str(raster))])


def test_classes_in_a_chip_for_class_balancing(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 80, 100)))
    labels = write_labels(
        tmp_path / 'a.gpkg',
        [box(2, 2, 12, 12), box(50, 40, 70, 60), box(5, 5, 9, 9)],
        ['tree', 'building', 'unsure'],
    )
    dataset = build_dataset(
        'det',
        [dict(image=str(image), labels=str(labels))],
        ('building', 'tree'),
        label_cfg=dict(class_column='class', class_map={'unsure': 'ignore'}),
    )
    assert isinstance(dataset, GeoDetDataset)
    assert dataset.get_cat_ids(0) == [1]
    assert dataset.get_cat_ids(dataset.chip_space.index(0, 60, 45)) == [0]
    assert dataset.get_cat_ids(dataset.chip_space.index(0, 14, 0)) == []


def test_only_chip_datasets_hold_chips():
    with pytest.raises(ConfigError, match=r'chip samplers need a geo_mm dataset, got list'):
        chip_datasets([1, 2, 3])


def test_opening_many_scenes_tells_how_far_it_is(scene, monkeypatch, capsys):
    for seconds, told in ((0.0, True), (60.0, False)):
        monkeypatch.setattr('geo_mm.datasets.opening._SECONDS', seconds)
        with fresh_mmengine():
            build_dataset('det', [scene, scene, scene])
        assert ('opened 2 of 3 scenes' in capsys.readouterr().out) == told


def test_a_dataset_knows_its_classes(scene, tmp_path):
    assert build_dataset('det', [scene]).classes == ClassSet('building')
    colours = [(1, 2, 3), (4, 5, 6)]
    names = ('background', 'building')
    dataset = build_dataset('seg', [scene], metainfo=dict(classes=names, palette=colours))
    assert dataset.classes == ClassSet(names, tuple(colours), 'background')
    (tmp_path / 'classes.txt').write_text('background\nbuilding\n')
    listed = build_dataset('seg', [scene], metainfo=dict(classes=str(tmp_path / 'classes.txt')))
    assert listed.classes == ClassSet(names, background='background')
    assert listed.metainfo['palette'] == [list(colour) for colour in listed.classes.colours]


def test_as_many_colours_as_classes(scene):
    with pytest.raises(ConfigError, match=r'(?s)1 colours for the 2 classes.*`palette`'):
        build_dataset(
            'seg', [scene], metainfo=dict(classes=('background', 'b'), palette=[(1, 2, 3)])
        )


def test_the_garbage_collector_pauses_only_while_scenes_are_opened(scene, monkeypatch):
    seen = []
    opened = chips.open_labelled

    def watched(*args, **kwargs):
        seen.append(gc.isenabled())
        return opened(*args, **kwargs)

    monkeypatch.setattr(chips, 'open_labelled', watched)
    build_dataset('det', [scene])
    assert seen == [False] and gc.isenabled()
    with pytest.raises(GeoMMError) as error:
        build_dataset('det', [scene, dict(scene, image='missing.tif')])
    assert error.tb is not None  # which keeps the frames that were left
    assert gc.isenabled()
