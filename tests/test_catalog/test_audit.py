from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import calculate_default_transform, reproject

from geo_mm.catalog import CatalogEntry, SplitOptions, audit_splits, split_entries
from geo_mm.catalog.audit import catalog_scenes
from geo_mm.catalog.ground import read_ground
from geo_mm.errors import CatalogError
from tests.data.rasters import TRANSFORM, UTM_17N, write_raster


def write_scene(path, x=0, y=0, side=100, crs=UTM_17N):
    """A scene of 0.5 m pixels whose corner is so many metres to the east and south."""
    transform = Affine.translation(x, -y) @ TRANSFORM
    return str(write_raster(path, np.ones((1, side, side), 'uint8'), crs, transform))


def audited(entries, chip_size=40):
    return audit_splits(*catalog_scenes(entries, chip_size))


def test_blocks_with_a_buffer_do_not_leak(tmp_path):
    image = write_scene(tmp_path / 'a.tif', side=400)
    split = split_entries([CatalogEntry(image)], SplitOptions(block_size=50, chip_size=20))
    audit = audited(split.entries, 20)
    assert not audit.leaks and audit.findings() == []
    first = audit.pairs[0]
    assert (first.first, first.second, first.overlaps) == ('train', 'val', ())
    assert first.distance == pytest.approx(10 * 2**0.5, rel=0.01)
    assert first.chip_distances.min() >= first.distance * 0.99


def test_neighbours_without_a_buffer_are_near_but_no_leak(tmp_path):
    image = write_scene(tmp_path / 'a.tif', side=400)
    split = split_entries([CatalogEntry(image)], SplitOptions(block_size=50, buffer=0))
    audit = audited(split.entries, 20)
    assert not audit.leaks
    assert audit.findings()[0].startswith('warning: train and')
    assert 'as near as 0.0 m, less than the diagonal of a chip (14.1 m)' in audit.findings()[0]


def test_random_chips_of_one_scene_leak(tmp_path):
    rng = np.random.default_rng(0)
    entries = [
        CatalogEntry(write_scene(tmp_path / f'{n}.tif', *rng.uniform(0, 100, 2)), name=f'chip {n}')
        for n in range(20)
    ]
    split = split_entries(entries, SplitOptions(by='scene', allow_overlap=True))
    audit = audited(split.entries)
    assert audit.leaks and audit.pairs[0].distance == 0
    assert audit.findings()[0].startswith('LEAK: train and val share ')
    assert audit.to_dict()['pairs'][0]['overlaps'][0]['area'] > 100


def test_ground_that_several_scenes_cover_counts_once(tmp_path):
    """Half of the training scene is in three chips of val, two of which are of one place."""
    places = {'train': [0], 'val': [25, 25, 50]}
    entries = [
        CatalogEntry(write_scene(tmp_path / f'{split}{n}.tif', x), split=split, name=f'{split}{n}')
        for split, all_x in places.items()
        for n, x in enumerate(all_x)
    ]
    audit = audited(entries)
    assert len(audit.pairs[0].overlaps) == 2
    assert audit.pairs[0].shared == pytest.approx(25 * 50, rel=0.001)
    assert audit.area('val') == pytest.approx(75 * 50 / 1e6, rel=0.001)
    assert audit.area('train') == pytest.approx(50 * 50 / 1e6, rel=0.001)


@pytest.mark.parametrize('splits', [('val', 'train'), ('test', 'train'), ('fold_1', 'fold_2')])
def test_a_leak_is_one_in_any_order_and_between_folds(tmp_path, splits):
    image = write_scene(tmp_path / 'a.tif')
    assert audited([CatalogEntry(image, split=split) for split in splits]).leaks


def test_overlap_is_found_across_crs(tmp_path):
    """The same 50 m of ground, 20 m to the east, in Web Mercator."""
    here = write_scene(tmp_path / 'here.tif')
    there = write_scene(tmp_path / 'there.tif', x=20)
    moved = tmp_path / 'moved.tif'
    with rasterio.open(there) as source:
        transform, width, height = calculate_default_transform(
            source.crs, 'EPSG:3857', source.width, source.height, *source.bounds
        )
        with rasterio.open(
            moved, 'w', driver='GTiff', width=width, height=height, count=1, dtype='uint8',
            crs='EPSG:3857', transform=transform, nodata=0,
        ) as target:  # fmt: skip
            reproject(rasterio.band(source, 1), rasterio.band(target, 1))
    audit = audited(
        [CatalogEntry(here, split='train', name='a'), CatalogEntry(str(moved), split='val')]
    )
    [overlap] = audit.pairs[0].overlaps
    assert audit.leaks and overlap.area == pytest.approx(30 * 50, rel=0.03)


def test_scenes_of_other_zones_far_away(tmp_path):
    entries = [
        CatalogEntry(write_scene(tmp_path / 'a.tif'), split='train'),
        CatalogEntry(write_scene(tmp_path / 'b.tif', crs='EPSG:32618'), split='val'),
    ]
    audit = audited(entries)
    # 6 degrees of longitude at 36 degrees north.
    assert not audit.leaks and audit.pairs[0].distance == pytest.approx(540e3, rel=0.01)


def test_val_and_test_of_the_same_ground_are_a_warning_only(tmp_path):
    entries = [
        CatalogEntry(write_scene(tmp_path / 'a.tif'), split='train'),
        *(CatalogEntry(write_scene(tmp_path / 'b.tif', x=500), split=s) for s in ('val', 'test')),
    ]
    audit = audited(entries)
    assert not audit.leaks
    [finding] = audit.findings()
    assert finding.startswith('warning: val and test share 2,50')


def test_parts_of_a_picture_without_crs(tmp_path):
    image = str(write_raster(tmp_path / 'a.tif', np.ones((10, 10), 'uint8'), None, None))

    def leaks(left, right):
        entries = [
            CatalogEntry(image, split='train', area=(0, 0, left, 1)),
            CatalogEntry(image, split='val', area=(right, 0, 1, 1)),
        ]
        return audited(entries).leaks

    assert leaks(0.6, 0.5) and not leaks(0.5, 0.5)


def test_a_map_far_from_training_is_named(tmp_path):
    entries = [
        CatalogEntry(write_scene(tmp_path / 'a.tif'), split='train'),
        CatalogEntry(write_scene(tmp_path / 'b.tif', x=100), split='val'),
    ]
    far = read_ground(CatalogEntry(write_scene(tmp_path / 'far.tif', x=5000))).outline
    audit = audit_splits(*catalog_scenes(entries, 40), [far])
    assert np.median(audit.map_distances) == pytest.approx(4975, abs=30)
    assert 'scores on the map will be lower' in audit.findings()[-1]


def test_classes_that_differ(tmp_path):
    scenes, chip = catalog_scenes(
        [
            CatalogEntry(write_scene(tmp_path / 'a.tif'), split='train'),
            CatalogEntry(write_scene(tmp_path / 'b.tif', x=500), split='val'),
        ],
        40,
    )
    scenes['train'] = [replace(scenes['train'][0], classes={'roof': 50, 'pool': 50})]
    scenes['val'] = [replace(scenes['val'][0], classes={'roof': 10, 'pool': 0})]
    audit = audit_splits(scenes, chip)
    assert audit.pairs[0].shift == 0.5
    assert audit.findings() == [
        'warning: the classes of train and val differ by 50%',
        'warning: val has no pool',
    ]


def test_a_catalog_without_splits(tmp_path):
    with pytest.raises(CatalogError, match='geo-mm split'):
        catalog_scenes([CatalogEntry(write_scene(tmp_path / 'a.tif'))], 40)
