"""Every raster of the real-data folder reads, or gives one clear SceneError."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from geo_mm.errors import SceneError
from geo_mm.labels import read_onto
from geo_mm.raster import Grid, Scene, Window, band_statistics

REFUSED = {
    'corrupt.tif': 'cannot read the window',
    'RGB.byte.gcp.vrt': 'ground control points only',
    'RGB.byte.rpc.vrt': 'RPC',
    'compdcs.vrt': 'ground control points only',
    'white-gemini-iv.vrt': 'ground control points only',
}


def rasters(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.rglob('*') if f.suffix in ('.tif', '.vrt', '.png', '.jpg'))
    # Seventy chips of one mosaic test no more than three.
    return [f for f in files if f.suffix != '.jpg'] + [f for f in files if f.suffix == '.jpg'][:3]


def read_all(path: Path) -> Scene:
    scene = Scene.open(path)
    w, h = scene.width, scene.height
    for window in (
        Window(0, 0, min(w, 700), min(h, 700)),
        Window(w // 2 - 60, h // 2 - 70, 141, 123),
        Window(w - 50, h - 40, 100, 90),
    ):
        data, valid = scene.read(window)
        assert data.shape == (scene.count, window.height, window.width)
        assert data.dtype == scene.dtype and np.isfinite(data).all()
        assert not data[:, ~valid].any()
    scene.read_overview(64)
    if scene.gsd is not None:
        coarse = scene.at_gsd(scene.gsd[0] * 1.7)
        coarse.read(Window(-5, -5, 40, 40))
    return scene


def test_every_raster_reads_or_is_refused(data_root):
    files = rasters(data_root)
    assert len(files) > 50
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            if path.name in REFUSED:
                with pytest.raises(SceneError, match=REFUSED[path.name]) as caught:
                    scene = Scene.open(path)
                    scene.read()
                assert str(path) in str(caught.value) and 'to do' in str(caught.value)
            else:
                read_all(path)


def test_share_of_valid_pixels(data_root):
    awkward = data_root / 'awkward_a' / 'rasterio'
    for name, share in {
        'RGB.byte.tif': 0.6746,  # nodata 0 in all bands
        'RGB2.byte.tif': 0.6740,  # .msk file
        'RGBA.byte.tif': 0.6745,  # alpha
        'RGBA.uint16.tif': 0.4886,  # alpha of 16 bits
        'all-nodata.tif': 0,
        'float_nan.tif': 5 / 6,
        'shade.tif': 0.1186,  # nodata 255
    }.items():
        assert Scene.open(awkward / name).read()[1].mean() == pytest.approx(share, abs=1e-4), name


def test_sparse_scene(data_root):
    scene = Scene.open(data_root / 'trees_santa_monica' / 'santa_monica_2020.tif')
    assert scene.band_names == ('Red', 'Green', 'Blue', 'NIR')
    exact = scene.read_valid().mean()
    assert exact == pytest.approx(0.077, abs=1e-3)
    assert scene.read_valid(out_shape=(264, 288)).mean() == pytest.approx(exact, abs=0.004)


def test_nir_tagged_as_alpha_is_data_when_chosen(data_root):
    path = data_root / 'trees_chips_long_beach_2018' / 'images' / 'long_beach_2018_0.tif'
    assert Scene.open(path).count == 3
    scene = Scene.open(path, bands=[1, 2, 3, 4])
    data, valid = scene.read()
    assert data.shape == (4, 256, 256) and valid.all()
    assert data[3].std() > 10


def test_two_sensors_as_one_stack(data_root):
    folder = data_root / 'terramesh_a'
    files = [folder / kind / '282D_485L_3_3.tif' for kind in ('S2L2A', 'S1RTC', 'DEM')]
    scene = Scene.open(files)
    assert scene.count == 15 and scene.dtype == np.float64
    assert len(set(scene.band_names)) == 15
    assert band_statistics([scene]).count == 224 * 224


def test_dense_labels_lie_on_their_image(data_root):
    folder = data_root / 'terramesh_a'
    scene = Scene.open(folder / 'S2L2A' / '609U_541L_3_0.tif')
    labels = folder / 'LULC' / '609U_541L_3_0.tif'
    window = Window(-10, 100, 64, 64)
    result = read_onto(labels, scene.grid, window, fill=255)
    expected = Scene.open(labels).read(window)
    np.testing.assert_array_equal(result, np.where(expected[1], expected[0][0], 255))
    # The same through another CRS: nearly all classes agree.
    web = Grid(scene.transform, scene.width, scene.height, CRS.from_epsg(3857))
    assert (read_onto(labels, web, window, fill=255) == 255).all()


def test_gsd_of_web_mercator_is_measured_on_the_ground(data_root):
    scene = Scene.open(data_root / 'banepa_a' / 'banepa_a.tif')
    assert scene.transform.a == pytest.approx(0.149, abs=5e-4)
    assert scene.gsd == pytest.approx((0.132, 0.132), abs=1e-3)
    coarse = scene.at_gsd(0.3)
    assert (coarse.width, coarse.height) == (1355, 1124)
    assert coarse.gsd == pytest.approx((0.3, 0.3), abs=2e-3)
