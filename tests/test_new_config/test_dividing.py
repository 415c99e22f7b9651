"""Shares of the ground to validate with."""

import pytest
from affine import Affine

from geo_mm.catalog import CatalogEntry, SceneOptions
from geo_mm.catalog.label_classes import find_classes
from geo_mm.catalog.profile import profile_catalog
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.new_config.dividing import Dividing
from geo_mm.new_config.plan import NewOptions
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster

SCENE = SceneOptions()


def divided(entries, size, **options):
    labels = find_classes(entries, objects=False)
    profile = profile_catalog(entries, labels, SCENE, objects=False)
    return Dividing(NewOptions(**options), SCENE, None).of(entries, profile, size)


def scene(folder, number=0, **fields):
    place = Affine.translation(0, 2000 * number) @ TRANSFORM
    image = write_raster(folder / f'{number}.tif', noise((3, 128, 512)), transform=place)
    labels = write_labels(folder / f'{number}.gpkg', [box(9, 9, 60, 50)], transform=place)
    return CatalogEntry(str(image), str(labels), **fields)


@pytest.mark.parametrize('share', [0.2, 0.4])
def test_a_scene_is_cut_so_that_val_has_its_share(share, tmp_path):
    found, why, size = divided([scene(tmp_path)], 32, val_split_pct=share)
    areas = {entry.split: entry.area for entry in found}
    train, val = areas['train'][2] - areas['train'][0], areas['val'][2] - areas['val'][0]
    assert val / (train + val) == pytest.approx(share, abs=0.03)
    assert areas['test'] == areas['val'] and 'val is test' in why
    assert size == 32


def test_chips_are_smaller_for_a_small_share_unless_their_size_is_given(tmp_path):
    entries = [scene(tmp_path)]
    found, _, size = divided(entries, 128, val_split_pct=0.2)
    assert size < 128 and {entry.split for entry in found} == {'train', 'val', 'test'}
    with pytest.raises(CatalogError, match=r'too little ground for parts of 80% and 20%'):
        divided(entries, 128, val_split_pct=0.2, chip_size=128)


def test_whole_scenes_are_divided_by_share_and_seed(tmp_path):
    entries = [scene(tmp_path, number) for number in range(8)]
    found, why, _ = divided(entries, 32, val_split_pct=0.25)
    splits = [entry.split for entry in found]
    assert [splits.count(name) for name in ('train', 'val', 'test')] == [6, 2, 2]
    assert why.endswith('; val is test')
    others = [divided(entries, 32, val_split_pct=0.25, seed=seed)[0] for seed in range(4)]
    assert others[0] == found
    assert any(other != found for other in others)


def test_splits_of_a_catalog_do_not_go_with_a_share(tmp_path):
    entries = [scene(tmp_path, number, split=name) for number, name in enumerate(('train', 'val'))]
    with pytest.raises(ConfigError, match='the data say which scene is for train'):
        divided(entries, 32, val_split_pct=0.2)


@pytest.mark.parametrize('share', [0, 1, 10])
def test_shares_are_between_0_and_1(share):
    with pytest.raises(ConfigError, match='between 0 and 1'):
        NewOptions(val_split_pct=share)
