from dataclasses import replace

import numpy as np
import pytest
from affine import Affine

from geo_mm.errors import LabelError, SceneError, SpecError
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.options import PredictOptions
from geo_mm.raster import Scene
from tests.data.models import spec_of
from tests.data.rasters import TRANSFORM, noise, write_raster

SPEC = spec_of('pixels', ['a', 'b'], ['B1'])


def opened(source, spec=SPEC, **changes):
    return SceneToPredict(source, **changes).open(spec, PredictOptions())


@pytest.mark.parametrize(
    'transform',
    [TRANSFORM, TRANSFORM @ Affine.rotation(30), Affine(0.5, 0, 10, 0, 0.5, 20)],
)
def test_window_takes_all_pixels_that_it_touches(tmp_path, transform):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80)), transform=transform))
    corners = [transform @ xy for xy in ((20.2, 10.4), (30.2, 10.4), (20.2, 25), (30.2, 25))]
    xs, ys = zip(*corners, strict=True)
    bounds = (min(xs), min(ys), max(xs), max(ys))
    found = opened(scene, window=bounds).native
    inverse = ~scene.transform
    offset = inverse @ (found.transform @ (0, 0))
    left, top = (round(value) for value in offset)
    assert offset == pytest.approx((left, top))
    assert left <= 20 and top <= 10 and left + found.width >= 31 and top + found.height >= 25
    if transform.is_rectilinear:
        assert (left, top, found.width, found.height) == (20, 10, 11, 15)


def test_window_that_ends_where_it_begins(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80))))
    x, y = TRANSFORM @ (5, 5)
    with pytest.raises(SceneError, match='is empty'):
        opened(scene, window=(x + 9, y, x, y + 9))


def test_window_of_a_picture_as_qgis_shows_it(tmp_path):
    """QGIS draws a picture downwards from y = 0."""
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80)), None, None))
    expected = opened(scene, window=(10, 20, 30, 50)).native.grid
    assert opened(scene, window=(10, -50, 30, -20)).native.grid == expected


def test_an_aoi_that_cannot_be_used_is_called_one(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80))))
    with pytest.raises(LabelError, match=r'the AOI cannot be used: (.|\n)*nowhere.gpkg') as error:
        opened(scene, aoi=tmp_path / 'nowhere.gpkg')
    assert 'label' not in str(error.value)


def test_gsd_of_a_scene_that_does_not_say(tmp_path):
    spec = replace(SPEC, gsd=0.5)
    path = write_raster(tmp_path / 's.tif', noise((1, 60, 80)), crs=None, transform=None)
    with pytest.raises(SpecError, match='--gsd'):
        opened(path, spec)
    assert opened(path, spec, gsd=0.5).scene.grid == opened(path, spec, gsd=0.5).native.grid
    area = opened(path, spec, gsd=0.25)
    assert (area.scene.width, area.scene.height) == (40, 30)
    np.testing.assert_array_equal(
        area.scene.read()[0], np.rint(noise((1, 60, 80)).reshape(1, 30, 2, 40, 2).mean((2, 4)))
    )


def test_bands_that_are_chosen_are_those_of_the_model(tmp_path):
    spec = spec_of('pixels', ['a', 'b'], ['Red', 'NIR'])
    image = noise((3, 20, 30))
    path = write_raster(tmp_path / 's.tif', image, descriptions=['x', 'y', 'z'])
    area = opened(path, spec, bands=['z', 1])
    assert area.scene.band_names == ('Red', 'NIR')
    np.testing.assert_array_equal(area.scene.read()[0], image[[2, 0]])
    with pytest.raises(SceneError, match='1 bands are chosen'):
        opened(path, spec, bands=[2])
