"""Writing vector layers, completely or not at all."""

import contextlib
import os
import uuid
import warnings
from os import PathLike
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from geo_mm.errors import OutputError

DRIVERS = {
    '.gpkg': 'GPKG',
    '.geojson': 'GeoJSON',
    '.json': 'GeoJSON',
    '.fgb': 'FlatGeobuf',
    '.parquet': 'Parquet',
}


def write_layer(
    gdf: gpd.GeoDataFrame,
    path: str | PathLike,
    layer: str | None = None,
    *,
    geometry_type: str | None = None,
) -> Path:
    """Write features to a file, replacing it only when all are written.

    GeoJSON follows RFC 7946: longitude and latitude on WGS 84, with eight
    decimals (1 mm). The other formats keep the CRS. A layer without features
    still has its columns, geometry type and CRS, so that it opens like any
    other (GeoJSON can hold neither).

    Args:
        gdf: The features.
        path: Where to; the suffix chooses the format (.gpkg, .geojson, .fgb,
            .parquet). Missing folders are made.
        layer: Name of the layer; the stem of the file name by default.
        geometry_type: Type of the layer, such as 'Polygon'; by default that of
            the features, or Polygon if there are none.

    Returns:
        The path.

    Raises:
        OutputError: If the suffix is unknown, the file cannot be written, or
            GeoJSON is asked for without a CRS.
    """
    path = Path(path)
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f'{path}: the suffix {path.suffix!r} names no vector format',
            f'one of {", ".join(DRIVERS)}',
        )
    # The same folder, so that the rename cannot cross file systems; the same
    # suffix, because GDAL looks at it.
    partial = path.with_name(f'.{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if driver == 'Parquet':
            _write_parquet(gdf, partial, path)
        else:
            if driver == 'GeoJSON':
                gdf = _on_wgs84(gdf, path)
            options = {'layer': layer or path.stem, 'driver': driver}
            options |= _layer_options(gdf, driver, geometry_type)
            with warnings.catch_warnings():
                # No CRS is what a plain picture has; it is no news to the caller.
                warnings.filterwarnings('ignore', "'crs' was not provided")
                pyogrio.write_dataframe(gdf, partial, **options)
        os.replace(partial, path)
    except (
        OSError,
        DataSourceError,
        DataLayerError,
        FieldError,
        FeatureError,
        GeometryError,
    ) as error:
        raise OutputError(
            f'{path}: the layer of {len(gdf)} features could not be written: {error}',
            fix='check that the folder is writable and the disk not full',
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _write_parquet(gdf: gpd.GeoDataFrame, partial: Path, path: Path) -> None:
    try:
        gdf.to_parquet(partial, index=False)
    except ImportError as error:
        raise OutputError(
            f'{path}: writing Parquet needs pyarrow', fix='pip install pyarrow, or write .gpkg'
        ) from error


def _on_wgs84(gdf: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    if gdf.crs is None:
        raise OutputError(
            f'{path}: the features have no CRS, and GeoJSON is always in WGS 84',
            'georeferenced features',
            'write .gpkg, which can do without a CRS',
        )
    return gdf.to_crs('EPSG:4326')


def _layer_options(gdf: gpd.GeoDataFrame, driver: str, geometry_type: str | None) -> dict:
    options = {}
    if geometry_type is not None:
        options['geometry_type'] = geometry_type
    elif gdf.empty:
        options['geometry_type'] = 'Polygon'
    elif driver == 'FlatGeobuf' and _is_mixed(gdf):
        options['promote_to_multi'] = True
    layer_options = {}
    if driver == 'GeoJSON':
        layer_options = {'RFC7946': 'YES', 'COORDINATE_PRECISION': '8'}
    elif driver == 'GPKG' and 'fid' in {str(column).lower() for column in gdf.columns}:
        # 'fid' is the default name of the key column; the attribute may repeat.
        layer_options = {'FID': 'ogc_fid'}
    if layer_options:
        options['layer_options'] = layer_options
    return options


def _is_mixed(gdf: gpd.GeoDataFrame) -> bool:
    return len(np.unique(shapely.get_type_id(np.asarray(gdf.geometry.array)))) > 1
