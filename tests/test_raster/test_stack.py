import pickle

import numpy as np
import pytest
from affine import Affine

from geo_mm.errors import SceneError
from geo_mm.raster import Scene, Window
from geo_mm.raster.stack import files_of_roles
from tests.data.rasters import TRANSFORM, noise, write_raster


def shifted(cols, rows=0):
    return TRANSFORM @ Affine.translation(cols, rows)


@pytest.fixture
def pair(tmp_path):
    """Two RGB images of a place, and their pixels."""
    arrays = [noise((2, 8, 10), 'uint8', seed) for seed in (1, 2)]
    paths = [
        write_raster(tmp_path / f'paris_{year}.tif', array, descriptions=['red', 'nir'])
        for year, array in zip((2020, 2024), arrays, strict=True)
    ]
    return paths, arrays


# --- roles ------------------------------------------------------------------------------------


def test_bands_are_named_by_role(pair):
    (a, b), arrays = pair
    scene = Scene.open({'before': a, 'after': b})
    assert scene.band_names == ('before:red', 'before:nir', 'after:red', 'after:nir')
    assert scene.roles == ('before', 'after')
    assert scene.name == 'paris_2020'
    np.testing.assert_array_equal(scene.read()[0], np.concatenate(arrays))
    chosen = Scene.open({'before': a, 'after': b}, bands=['After:Red', 'before:nir'])
    np.testing.assert_array_equal(chosen.read()[0], [arrays[1][0], arrays[0][1]])


def test_the_bare_name_will_do_where_one_band_has_it(tmp_path, pair):
    (a, _), _ = pair
    dem = write_raster(tmp_path / 'x.tif', noise((1, 8, 10)), descriptions=['height'])
    scene = Scene.open({'s2': a, 'dem': dem}, bands=['height', 'nir'])
    assert scene.band_names == ('dem:height', 's2:nir')
    with pytest.raises(SceneError, match=r"no band 'red'\n.*before:red"):
        Scene.open({'before': a, 'after': a}).select(['red'])


def test_bands_without_names_are_numbered_within_their_role(tmp_path):
    paths = [write_raster(tmp_path / name, noise((2, 5, 5))) for name in ('a.tif', 'b.tif')]
    scene = Scene.open(dict(zip(('s1', 's2'), paths, strict=True)))
    assert scene.band_names == ('s1:B1', 's1:B2', 's2:B1', 's2:B2')


def test_a_single_role_names_bands_as_well(pair):
    (a, _), _ = pair
    assert Scene.open({'s2': a}).band_names == ('s2:red', 's2:nir')


def test_the_files_of_a_scene_open_it_again(pair):
    (a, b), _ = pair
    for files in ({'before': [a], 'after': [b]}, [a, b], a):
        scene = Scene.open(files)
        assert Scene.open(scene.files) == scene
        assert pickle.loads(pickle.dumps(scene)) == scene


def test_files_of_roles_from_a_command_line():
    texts = ['s2=north.tif', 'dem=x=1.tif', 's2=south.tif']
    assert files_of_roles(texts) == {'s2': ['north.tif', 'south.tif'], 'dem': ['x=1.tif']}
    for wrong in ('a.tif', '=a.tif', 's2=', 'C:/s2=a.tif'):
        with pytest.raises(SceneError, match=f'{wrong}: neither role nor file'):
            files_of_roles([wrong])


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'before:': 'a.tif'}, "the role 'before:' of files"),
        ({3: 'a.tif'}, 'the role 3 of files'),
        ({'before': []}, 'role before without files'),
        ({}, 'a scene without files'),
        ({'before': 'nowhere.tif'}, r'role before, .*nowhere\.tif: no such file'),
    ],
)
def test_mistakes_name_role_and_file(files, message):
    with pytest.raises(SceneError, match=message):
        Scene.open(files)


def test_a_file_that_does_not_fit_is_named_with_its_role(tmp_path, pair):
    (a, _), _ = pair
    far = write_raster(tmp_path / 'far.tif', noise((2, 8, 10)), transform=shifted(100))
    with pytest.raises(SceneError, match=r'role after, .*far\.tif: does not overlap'):
        Scene.open({'before': a, 'after': far})
    other = write_raster(tmp_path / 'other.tif', noise((2, 8, 10)), crs='EPSG:32618')
    with pytest.raises(SceneError, match=r'role after, .*other\.tif: its CRS'):
        Scene.open({'before': a, 'after': other})


# --- neighbours -------------------------------------------------------------------------------


@pytest.fixture
def quarters(tmp_path):
    """One image cut in four files, of which the last lacks."""
    whole = noise((2, 20, 30), 'int16', 5)
    paths = []
    for row, col in ((0, 0), (0, 13), (7, 0)):
        part = whole[:, row : row + (7 if not row else 13), col : col + (13 if not col else 17)]
        paths.append(
            write_raster(
                tmp_path / f'{row}_{col}.tif',
                part,
                transform=shifted(col, row),
                descriptions=['red', 'nir'],
            )
        )
    valid = np.ones((20, 30), bool)
    valid[7:, 13:] = False
    return paths, whole * valid, valid


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_neighbours_of_a_role_are_one_image(quarters, order):
    paths, whole, valid = quarters
    scene = Scene.open({'s2': [paths[i] for i in order]})
    assert scene.band_names == ('s2:red', 's2:nir')
    assert (scene.width, scene.height, scene.transform) == (30, 20, TRANSFORM)
    for window in (scene.grid.window, Window(10, 3, 12, 11), Window(-5, -5, 50, 50)):
        data, mask = scene.read(window)
        part = window.intersection(scene.grid.window)
        here, there = part.slices(window), part.slices()
        np.testing.assert_array_equal(data[(slice(None), *here)], whole[(slice(None), *there)])
        np.testing.assert_array_equal(mask[here], valid[there])
        assert mask.sum() == valid[there].sum()
        np.testing.assert_array_equal(scene.read_valid(window), mask)


def test_neighbours_leave_no_seam_at_another_gsd(quarters, tmp_path):
    paths, _, _ = quarters
    whole = noise((2, 20, 30), 'int16', 5)
    one = Scene.open(write_raster(tmp_path / 'one.tif', whole), gsd=1.1)
    scene = Scene.open({'s2': paths}, gsd=1.1)
    assert scene.grid == one.grid
    data, valid = scene.read()
    # Pixels that the seam between two files crosses are averages of one of them.
    inside = valid.copy()
    inside[3] = inside[:, 6] = False
    np.testing.assert_array_equal(data[:, inside], one.read()[0][:, inside])
    # 13 of 20 rows and 17 of 30 columns are not there.
    assert 1 - valid.mean() == pytest.approx(13 / 20 * 17 / 30, abs=0.06)


def test_the_first_file_with_data_counts(tmp_path):
    a = np.full((1, 4, 6), 1, 'uint8')
    a[0, :, 4:] = 0
    first = write_raster(tmp_path / 'a.tif', a, nodata=0)
    second = write_raster(
        tmp_path / 'b.tif', np.full((1, 4, 6), 2, 'uint8'), nodata=0, transform=shifted(3)
    )
    data, valid = Scene.open({'x': [first, second]}).read()
    assert data[0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert valid.all()


def test_neighbours_beside_the_other_roles_are_left_out(tmp_path, quarters):
    paths, _, _ = quarters
    small = write_raster(
        tmp_path / 'dem.tif',
        np.ones((1, 8, 8), 'int16'),
        transform=TRANSFORM @ Affine.scale(0.5),
    )
    scene = Scene.open({'s2': paths, 'dem': small})
    assert (scene.width, scene.height) == (8, 8)
    assert scene.read()[1].all()
    assert len(scene.sources) == 4


def test_neighbours_hold_the_same_bands(tmp_path, quarters):
    paths, _, _ = quarters
    other = write_raster(tmp_path / 'other.tif', noise((3, 5, 5)))
    with pytest.raises(SceneError, match=r'role s2, .*other\.tif: 3 bands .*has 2 \(red, nir\)'):
        Scene.open({'s2': [*paths, other]})
