import json
from dataclasses import replace

import numpy as np
import pytest

from geo_mm.classes import ClassSet
from geo_mm.errors import SpecError
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene
from tests.data.rasters import noise, write_raster

SPEC = InputSpec(
    task='pixels',
    classes=ClassSet(('background', 'building'), ((0, 0, 0), (255, 0, 0)), 'background'),
    bands=('red', 'nir'),
    gsd=0.5,
    dtype='uint16',
    nodata='auto',
    mean=(100.0, 200.5),
    std=(10.0, 20.0),
    chip_size=(256, 512),
)


def test_json_and_back():
    assert InputSpec.from_dict(json.loads(SPEC.to_json())) == SPEC
    plain = replace(SPEC, task='objects', gsd=None, nodata=None, classes=ClassSet('building'))
    assert InputSpec.from_dict(json.loads(plain.to_json())) == plain


def test_a_spec_of_another_version_with_other_fields():
    data = SPEC.to_dict() | {'scale': 1}
    del data['gsd']
    with pytest.raises(SpecError, match=r'missing or unknown fields: gsd, scale'):
        InputSpec.from_dict(data)


def test_fields_that_older_specs_lack():
    data = SPEC.to_dict()
    del data['background'], data['version']
    assert InputSpec.from_dict(data).classes == ClassSet(
        ('background', 'building'), ((0, 0, 0), (255, 0, 0))
    )


def scene(tmp_path, names=None, shape=(40, 60), **kwargs):
    array = noise((len(names) if names else 2, *shape), 'uint16')
    return Scene.open(write_raster(tmp_path / 'a.tif', array, descriptions=names, **kwargs)), array


def test_bands_are_found_by_name_in_another_order(tmp_path):
    opened, array = scene(tmp_path, ('NIR', 'green', 'Red'))
    fitted = SPEC.fit(opened)
    np.testing.assert_array_equal(fitted.read()[0], array[[2, 0]])


def test_a_missing_band_is_refused(tmp_path):
    opened, _ = scene(tmp_path, ('red', 'green', 'blue'))
    with pytest.raises(SpecError, match=r'(?s)a.tif has the bands red, green, blue.*missing: nir'):
        SPEC.fit(opened)


def test_other_names_of_the_same_number_are_refused(tmp_path):
    opened, _ = scene(tmp_path, ('red', 'swir'))
    with pytest.raises(SpecError, match=r'missing: nir'):
        SPEC.fit(opened)


def test_bands_without_names_are_taken_in_order_with_a_warning(tmp_path, caplog):
    opened, array = scene(tmp_path)
    fitted = SPEC.fit(opened)
    np.testing.assert_array_equal(fitted.read()[0], array)
    assert 'a: bands B1, B2 taken as red, nir in this order' in caplog.text


def test_too_few_bands_without_names_are_refused(tmp_path):
    opened, _ = scene(tmp_path)
    with pytest.raises(SpecError, match=r'missing: red, green, nir'):
        replace(SPEC, bands=('red', 'green', 'nir')).fit(opened)


def test_a_scene_is_read_at_the_trained_gsd(tmp_path):
    opened, _ = scene(tmp_path, ('red', 'nir'))
    fitted = replace(SPEC, gsd=1.0).fit(opened)
    assert (fitted.width, fitted.height) == (30, 20)
    assert fitted.grid.bounds == pytest.approx(opened.grid.bounds)


@pytest.mark.parametrize(('gsd', 'resampled'), [(0.505, False), (0.495, False), (0.53, True)])
def test_a_small_difference_is_not_worth_resampling(tmp_path, gsd, resampled):
    opened, _ = scene(tmp_path, ('red', 'nir'))
    fitted = replace(SPEC, gsd=gsd).fit(opened)
    assert (fitted.grid != opened.grid) == resampled


def test_a_scene_without_georeference_is_refused_only_if_the_model_knows_a_gsd(tmp_path):
    opened, _ = scene(tmp_path, ('red', 'nir'), crs=None)
    with pytest.raises(SpecError, match=r'(?s)a.tif has no georeference.*0.5 m'):
        SPEC.fit(opened)
    assert replace(SPEC, gsd=None).fit(opened).grid == opened.grid


@pytest.mark.parametrize(
    ('gsd', 'refused'), [(7.9, False), (8.1, True), (0.126, False), (0.12, True)]
)
def test_a_gsd_far_from_the_trained_one_is_refused(tmp_path, caplog, gsd, refused):
    opened, _ = scene(tmp_path, ('red', 'nir'))
    spec = replace(SPEC, gsd=gsd)
    if refused:
        with pytest.raises(SpecError, match=r'a.tif has 0.5 m per pixel(.|\n)*--force'):
            spec.fit(opened)
    assert spec.fit(opened, force=True).gsd[0] == pytest.approx(gsd, rel=0.1)  # the scene is small
    assert ('accepted because of --force' in caplog.text) == refused


@pytest.mark.parametrize(
    ('trained', 'refused'),
    [('uint16', False), ('int16', False), ('uint8', True), ('float32', True), ('int32', True)],
)
def test_values_likely_on_another_scale_are_refused(tmp_path, trained, refused):
    opened, _ = scene(tmp_path, ('red', 'nir'))
    spec = replace(SPEC, dtype=trained)
    if refused:
        with pytest.raises(SpecError, match=rf'a.tif has uint16 pixels(.|\n)*{trained}'):
            spec.fit(opened)
    assert spec.fit(opened, force=True).grid == opened.grid


# --- roles ------------------------------------------------------------------------------------

PAIR = replace(
    SPEC,
    bands=('before:red', 'after:red'),
    roles=('before', 'after'),
    mean=(0.0, 0.0),
    std=(1.0, 1.0),
)


def pair(tmp_path, names):
    arrays = [noise((2, 40, 60), 'uint16', seed) for seed in (1, 2)]
    paths = [
        write_raster(tmp_path / f'{name}.tif', array, descriptions=['nir', 'red'])
        for name, array in zip(names, arrays, strict=True)
    ]
    return paths, [array[1] for array in arrays]


def test_files_of_any_name_are_found_by_role(tmp_path):
    (a, b), red = pair(tmp_path, ('lyon_2020', 'lyon_2024'))
    fitted = PAIR.fit(Scene.open({'after': b, 'before': a}))
    np.testing.assert_array_equal(fitted.read()[0], red)
    assert InputSpec.from_dict(json.loads(PAIR.to_json())) == PAIR


def test_missing_roles_are_named_with_what_to_write(tmp_path):
    (a, b), _ = pair(tmp_path, ('a', 'b'))
    message = r'(?s)a has files without role: .*b\.tif.*before, after.*--image before=FILE --im'
    with pytest.raises(SpecError, match=message):
        PAIR.fit(Scene.open([a, b]))
    with pytest.raises(SpecError, match=r'(?s)the roles before: .*missing: after'):
        PAIR.fit(Scene.open({'before': a}))


def test_a_model_of_single_files_takes_a_role_that_has_its_bands(tmp_path):
    (a, b), red = pair(tmp_path, ('a', 'b'))
    dem = write_raster(tmp_path / 'dem.tif', noise((1, 40, 60), 'uint16'), descriptions=['z'])
    fitted = replace(SPEC, bands=('red',)).fit(Scene.open({'s2': a, 'dem': dem}))
    np.testing.assert_array_equal(fitted.read()[0], red[:1])
    with pytest.raises(SpecError, match='missing: red'):  # two bands of that name
        replace(SPEC, bands=('red',)).fit(Scene.open({'s2': a, 's2b': b}))


def test_files_without_roles_are_known_by_their_order(tmp_path):
    paris, _ = pair(tmp_path, ('paris_2020', 'paris_2024'))
    spec = replace(PAIR, bands=Scene.open(paris, bands=[2, 4]).band_names, roles=())
    lyon, red = pair(tmp_path, ('lyon_2020', 'lyon_2024'))
    np.testing.assert_array_equal(spec.fit(Scene.open(lyon)).read()[0], red)


def test_bands_named_after_files_still_find_these_files(tmp_path):
    """As in checkpoints of geo_mm 0.1."""
    paths, red = pair(tmp_path, ('a', 'b'))
    old = SPEC.to_dict() | {'bands': ['b:red', 'a:red'], 'mean': [0.0, 0.0], 'std': [1.0, 1.0]}
    del old['roles'], old['ignore']
    fitted = InputSpec.from_dict(old).fit(Scene.open(paths))
    np.testing.assert_array_equal(fitted.read()[0], red[::-1])


@pytest.mark.parametrize(
    'change',
    [
        {'task': 5},
        {'classes': 5},
        {'classes': [5]},
        {'bands': []},
        {'bands': [None]},
        {'gsd': 'x'},
        {'gsd': -1.0},
        {'dtype': 'text'},
        {'dtype': 'object'},
        {'nodata': 'x'},
        {'mean': [1.0]},
        {'mean': 5},
        {'std': [0.0] * len(SPEC.bands)},
        {'std': ['a'] * len(SPEC.bands)},
        {'chip_size': [256]},
        {'chip_size': ['a', 'b']},
        {'palette': 5},
        {'palette': [[1, 2]]},
    ],
)
def test_fields_of_other_types(change):
    with pytest.raises(SpecError, match='wrong values'):
        InputSpec.from_dict(SPEC.to_dict() | change)
