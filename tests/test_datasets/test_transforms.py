import numpy as np
import pytest
import shapely
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS

from geo_mm.catalog import CatalogEntry, SceneOptions, open_labelled
from geo_mm.datasets import LoadChip, LoadChipClasses, LoadChipObjects
from geo_mm.errors import ConfigError
from geo_mm.labels import LabelOptions
from geo_mm.raster import Window
from tests.data.chips import build_dataset, scope
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


def loaded(
    image,
    window,
    labels=None,
    *,
    fill=0.0,
    nodata='auto',
    classes=('building',),
    objects=False,
    **options,
):
    """Results as after LoadChip."""
    entry = CatalogEntry(str(image), labels=labels and str(labels))
    scene_options, label_options = SceneOptions(nodata=nodata), LabelOptions(**options)
    item = open_labelled(entry, classes, scene_options, label_options, objects=objects)
    results = dict(labelled_scene=item, window=Window(*window), fill=fill, scene_id='a')
    return LoadChip()(results)


@pytest.fixture
def image(tmp_path):
    """100 x 80 pixels without holes."""
    return write_raster(tmp_path / 'scene.tif', noise((3, 80, 100)))


class TestLoadChip:
    @pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32'])
    def test_numbers_of_every_type_arrive_as_they_are(self, tmp_path, dtype):
        array = noise((5, 40, 50), dtype)
        if dtype == 'int16':
            array = -array
        results = loaded(write_raster(tmp_path / 'a.tif', array), (7, 3, 16, 20))
        assert results['img'].dtype == np.float32
        np.testing.assert_array_equal(
            results['img'], np.moveaxis(array[:, 3:23, 7:23], 0, -1).astype('float32')
        )
        assert results['valid'].all()
        assert results['img_shape'] == results['ori_shape'] == (20, 16)

    def test_nodata_is_filled_band_by_band(self, tmp_path):
        array = noise((2, 30, 30), 'uint16')
        array[:, 4, 5] = 7
        array[0, 6, 6] = 7  # one band only: a value like any other
        path = write_raster(tmp_path / 'a.tif', array, nodata=7)
        results = loaded(path, (0, 0, 16, 16), fill=(1.5, -2))
        assert results['img'][4, 5].tolist() == [1.5, -2]
        assert results['img'][6, 6].tolist() == [7, array[1, 6, 6]]
        assert np.argwhere(~results['valid']).tolist() == [[4, 5]]

    def test_nan_in_any_band_is_filled(self, tmp_path):
        array = noise((2, 30, 30), 'float32')
        array[1, 2, 3], array[0, 5, 5] = np.nan, np.inf
        results = loaded(write_raster(tmp_path / 'a.tif', array), (0, 0, 16, 16), fill=9)
        assert np.argwhere(~results['valid']).tolist() == [[2, 3], [5, 5]]
        assert results['img'][2, 3].tolist() == [9, 9]
        assert np.isfinite(results['img']).all()

    def test_beyond_the_edge_is_filled(self, image):
        results = loaded(image, (90, 70, 16, 16), fill=3)
        assert results['valid'].sum() == 100
        assert (results['img'][10:] == 3).all() and (results['img'][:, 10:] == 3).all()

    def test_one_band_keeps_its_axis(self, tmp_path):
        results = loaded(write_raster(tmp_path / 'a.tif', noise((30, 30))), (0, 0, 8, 8))
        assert results['img'].shape == (8, 8, 1)

    def test_fill_of_the_wrong_length(self, image):
        with pytest.raises(ConfigError, match=r'(?s)fill of 2 values, scene has 3 bands.*one per'):
            loaded(image, (0, 0, 8, 8), fill=(1, 2))


class TestLoadChipObjects:
    def objects(self, tmp_path, image, shapes, window=(20, 10, 32, 32), classes=None, **kwargs):
        labels = write_labels(tmp_path / 'l.gpkg', shapes, classes)
        options = dict(class_column='class') if classes else {}
        names = ('building', 'tree') if classes else ('building',)
        if classes and 'unsure' in classes:
            options['class_map'] = {'unsure': 'ignore'}
        results = loaded(image, window, labels, classes=names, objects=True, **options)
        return LoadChipObjects(**kwargs)(results)

    def test_known_corners_give_the_exact_box(self, tmp_path, image):
        results = self.objects(tmp_path, image, [box(23, 14, 30.5, 20.25)])
        np.testing.assert_allclose(results['gt_bboxes'].numpy(), [[3, 4, 10.5, 10.25]], atol=1e-4)
        assert results['gt_bboxes'].numpy().dtype == np.float32
        assert results['gt_bboxes_labels'].tolist() == [0]
        assert results['gt_bboxes_labels'].dtype == np.int64
        assert results['gt_ignore_flags'].tolist() == [False]

    def test_labels_in_another_crs_lie_at_the_same_pixels(self, tmp_path, image):
        labels = write_labels(tmp_path / 'l.geojson', [box(23, 14, 30.5, 20.25)], to_crs=4326)
        results = LoadChipObjects()(loaded(image, (20, 10, 32, 32), labels, objects=True))
        np.testing.assert_allclose(results['gt_bboxes'].numpy(), [[3, 4, 10.5, 10.25]], atol=0.01)

    @pytest.mark.parametrize(
        ('direction', 'expected'),
        [
            ('horizontal', [32 - 10, 4, 32 - 3, 9]),
            ('vertical', [3, 32 - 9, 10, 32 - 4]),
            ('diagonal', [32 - 10, 32 - 9, 32 - 3, 32 - 4]),
        ],
    )
    def test_upstream_flip_moves_boxes_masks_and_valid_map(
        self, tmp_path, image, direction, expected
    ):
        results = self.objects(tmp_path, image, [box(23, 14, 30, 19)], with_mask=True)
        results['gt_seg_map'][0, 5] = 255
        image_before = results['img'].copy()
        with scope('det'):
            flip = TRANSFORMS.build(dict(type='RandomFlip', prob=1.0, direction=direction))
        flipped = flip(results)
        np.testing.assert_allclose(flipped['gt_bboxes'].numpy(), [expected], atol=1e-4)
        left, top, right, bottom = expected
        mask = np.zeros((32, 32))
        mask[top:bottom, left:right] = 1
        np.testing.assert_array_equal(flipped['gt_masks'].masks[0], mask)
        axes = dict(horizontal=[1], vertical=[0], diagonal=[0, 1])[direction]
        np.testing.assert_array_equal(flipped['img'], np.flip(image_before, axes))
        where = dict(horizontal=[0, 26], vertical=[31, 5], diagonal=[31, 26])[direction]
        assert np.argwhere(flipped['gt_seg_map'] == 255).tolist() == [where]

    def test_an_object_cut_by_the_edge_is_clipped_and_kept_if_enough_is_visible(
        self, tmp_path, image
    ):
        # 10 wide, 4 of it in the chip that starts at column 20.
        shape = [box(14, 15, 24, 25)]
        kept = self.objects(tmp_path, image, shape, min_visible=0.39)
        np.testing.assert_allclose(kept['gt_bboxes'].numpy(), [[0, 5, 4, 15]], atol=1e-4)
        assert kept['gt_ignore_flags'].tolist() == [False]
        ignored = self.objects(tmp_path, image, shape, min_visible=0.41)
        np.testing.assert_allclose(ignored['gt_bboxes'].numpy(), [[0, 5, 4, 15]], atol=1e-4)
        assert ignored['gt_ignore_flags'].tolist() == [True]

    def test_a_visible_sliver_is_ignored(self, tmp_path, image):
        shape = [box(25, 15, 26.5, 40)]
        assert self.objects(tmp_path, image, shape)['gt_ignore_flags'].all()
        assert not self.objects(tmp_path, image, shape, min_size=1)['gt_ignore_flags'].any()

    def test_an_object_without_a_pixel_in_its_mask_is_ignored(self, tmp_path, image):
        thin = shapely.Polygon([(24.1, 14.1), (24.2, 14.1), (30.2, 20.3), (30.1, 20.3)])
        results = self.objects(tmp_path, image, [thin, box(40, 30, 45, 35)], with_mask=True)
        assert results['gt_masks'].masks.sum(axis=(1, 2)).tolist()[1] == 25
        assert results['gt_ignore_flags'].tolist() == [
            not mask.any() for mask in results['gt_masks'].masks
        ]

    def test_an_object_on_invalid_pixels_is_ignored(self, tmp_path):
        array = noise((3, 80, 100))
        array[:, :, 35:] = 0
        path = write_raster(tmp_path / 'hole.tif', array, nodata=0)
        shapes = [box(23, 14, 29, 20), box(40, 14, 46, 20)]
        results = self.objects(tmp_path, path, shapes)
        order = np.argsort(results['gt_bboxes'].numpy()[:, 0])
        assert results['gt_ignore_flags'][order].tolist() == [False, True]
        assert (results['gt_seg_map'] == np.where(np.arange(32) < 15, 0, 255)).all()

    def test_an_ignored_class_is_flagged(self, tmp_path, image):
        results = self.objects(
            tmp_path, image, [box(22, 12, 30, 20), box(32, 12, 40, 20)], classes=['tree', 'unsure']
        )
        order = np.argsort(results['gt_bboxes'].numpy()[:, 0])
        assert results['gt_ignore_flags'][order].tolist() == [False, True]
        assert results['gt_bboxes_labels'][order].tolist()[0] == 1

    def test_a_chip_without_objects(self, tmp_path, image):
        results = self.objects(tmp_path, image, [box(0, 0, 5, 5)], with_mask=True)
        assert results['gt_bboxes'].shape == (0, 4)
        assert results['gt_bboxes_labels'].shape == (0,)
        assert results['gt_ignore_flags'].shape == (0,)
        assert results['gt_masks'].masks.shape == (0, 32, 32)
        assert results['instances'] == []

    def test_a_hole_stays_a_hole(self, tmp_path, image):
        ring = shapely.Polygon(
            [(22, 12), (32, 12), (32, 22), (22, 22)], [[(25, 15), (29, 15), (29, 19), (25, 19)]]
        )
        mask = self.objects(tmp_path, image, [ring], with_mask=True)['gt_masks'].masks[0]
        expected = np.zeros((32, 32))
        expected[2:12, 2:12] = 1
        expected[5:9, 5:9] = 0
        np.testing.assert_array_equal(mask, expected)

    def test_instances_are_the_same_objects_for_metrics(self, tmp_path, image):
        from pycocotools import mask as coco

        results = self.objects(tmp_path, image, [box(23, 14, 30, 20)], with_mask=True)
        (instance,) = results['instances']
        np.testing.assert_allclose(instance['bbox'], [3, 4, 10, 10], atol=1e-4)
        assert (instance['bbox_label'], instance['ignore_flag']) == (0, 0)
        np.testing.assert_array_equal(coco.decode(instance['mask']), results['gt_masks'].masks[0])

    def test_a_point_is_a_square_of_ground_size(self, tmp_path, image):
        labels = write_labels(tmp_path / 'l.gpkg', [shapely.Point(30, 20)])
        results = LoadChipObjects()(
            loaded(image, (20, 10, 32, 32), labels, objects=True, point_size=3.0)
        )
        # 3 m are 6 pixels of 0.5 m; a metre on the ground is not quite one of UTM's.
        np.testing.assert_allclose(results['gt_bboxes'].numpy(), [[7, 7, 13, 13]], atol=0.01)

    def test_a_scene_without_labels(self, image):
        with pytest.raises(ConfigError, match=r'(?s)a has no labels.*to predict only'):
            LoadChipObjects()(loaded(image, (0, 0, 8, 8)))


class TestLoadChipClasses:
    def test_classes_are_exact_with_overlaps_on_top_and_holes_in_the_image_ignored(self, tmp_path):
        array = noise((3, 80, 100))
        array[:, 12, 22] = 0
        image = write_raster(tmp_path / 'hole.tif', array, nodata=0)
        shapes = [box(24, 14, 34, 24), box(30, 20, 40, 30), box(24, 14, 26, 16)]
        labels = write_labels(tmp_path / 'l.gpkg', shapes, ['tree', 'building', 'unsure'])
        dataset = build_dataset(
            'seg',
            [dict(image=str(image), labels=str(labels))],
            ('building', 'tree'),
            label_cfg=dict(class_column='class', class_map={'unsure': 'ignore'}),
        )
        sample = dataset[dataset.chip_space.index(0, 20, 10)]['data_samples']
        expected = np.zeros((32, 32))
        expected[10:20, 10:20] = 1
        expected[4:14, 4:14] = 2
        expected[4:6, 4:6] = 255
        expected[2, 2] = 255
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], expected)

    def test_a_scene_without_labels(self, image):
        with pytest.raises(ConfigError, match=r'(?s)a has no labels.*to predict only'):
            LoadChipClasses()(loaded(image, (0, 0, 8, 8)))


def test_the_aoi_is_respected_in_image_and_labels(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 10, 52, 42)])
    aoi = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 30, 100)])
    dataset = build_dataset(
        'seg', [dict(image=str(image), labels=str(labels), aoi=str(aoi))], fill=(5, 6, 7)
    )
    item = dataset[dataset.chip_space.index(0, 20, 10)]
    classes = item['data_samples'].gt_sem_seg.data[0].numpy()
    assert (classes[:, :10] == 1).all() and (classes[:, 10:] == 255).all()
    assert (item['inputs'][:, :, 10:].numpy() == np.array([5, 6, 7])[:, None, None]).all()


def test_steps_are_found_by_their_names():
    with scope('seg'):
        steps = Compose([dict(type='geo_mm.LoadChip'), dict(type='geo_mm.LoadChipClasses')])
    assert [type(step) for step in steps.transforms] == [LoadChip, LoadChipClasses]
