import json
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely import box

import geo_mm
from geo_mm.formats import write_layer
from geo_mm.raster import Grid, RasterMetadata, RasterWriter
from tests.data.provenance import provenance
from tests.data.rasters import TRANSFORM, write_raster

ROOT = Path(__file__).parents[2]


def describe(*arguments):
    return subprocess.run(
        [sys.executable, 'tools/describe.py', *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def class_raster(path, made):
    grid = Grid(TRANSFORM, 40, 30, rasterio.crs.CRS.from_epsg(32617))
    with RasterWriter(
        path,
        grid,
        1,
        'uint8',
        nodata=255,
        metadata=RasterMetadata(
            colors=dict(enumerate(made.spec.classes.colours)),
            class_names=dict(enumerate(made.spec.classes.names)),
            band_names=['class'],
            tags=made.tags(),
        ),
    ) as writer:
        classes = np.zeros((30, 40), 'uint8')
        classes[:7], classes[-2:] = 2, 255
        writer.write(classes)
    return path


def test_an_image(tmp_path):
    path = write_raster(tmp_path / 'town.tif', np.ones((3, 30, 40), np.uint16))
    lines = str(geo_mm.describe(path)).splitlines()
    assert [line.strip() for line in lines[1:4:2]] == [
        'raster of 40 x 30 pixels, uint16, nodata None',
        f'CRS: {rasterio.open(path).crs.to_string()}',
    ]
    bounds = rasterio.open(path).bounds
    assert lines[5].startswith(f'  extent: {" ".join(f"{side:.10g}" for side in bounds)} (x_min')
    assert 'in metres of the CRS' in lines[5]
    assert geo_mm.describe(path).to_dict()['bounds'] == list(bounds)


def test_a_class_raster(tmp_path):
    made = provenance(tmp_path)
    result = describe(class_raster(tmp_path / 'town.tif', made))
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert 'raster of 40 x 30 pixels, uint8, nodata 255.0' in lines
    assert 'CRS: EPSG:32617' in lines
    assert 'class 0 background: #e69f00, 840 pixels' in lines
    assert 'class 2 building: #009e73, 280 pixels' in lines
    assert f'checkpoint: {tmp_path / "model.pth"} ({made.checkpoints[0].sha256})' in lines
    assert 'overlap: 64' in lines and 'note: a <b> & ü' in lines
    assert lines[-1] == made.rerun
    in_python = geo_mm.describe(tmp_path / 'town.tif')
    assert str(in_python) == result.stdout.rstrip()
    assert in_python.provenance == made


@pytest.mark.parametrize('suffix', ['.gpkg', '.geojson', '.parquet'])
def test_a_layer(tmp_path, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    made = provenance(tmp_path, 'objects')
    table = gpd.GeoDataFrame(
        {'class': ['building', 'building', 'road & rail']},
        geometry=[box(i, 0, i + 1, 1) for i in range(3)],
        crs='EPSG:32617',
    )
    path = write_layer(table, tmp_path / f'town{suffix}', metadata=made.metadata(), style='<qgis/>')
    result = describe(path)
    assert result.returncode == 0, result.stderr
    assert 'class 2 building: #009e73, 2 features' in result.stdout
    assert result.stderr == ''


def test_json_for_programs(tmp_path):
    made = provenance(tmp_path)
    result = describe(class_raster(tmp_path / 'town.tif', made), '--json')
    assert json.loads(result.stdout) == made.to_dict()


def test_a_file_of_others(tmp_path):
    result = describe(tmp_path / 'none.tif')
    assert result.returncode == 2
    assert result.stderr.startswith(f'error: {tmp_path / "none.tif"}: no such file')
