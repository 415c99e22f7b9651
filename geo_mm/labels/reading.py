"""Reading vector files into clean, single-part, two-dimensional features."""

import io
import logging
import os
import warnings
from os import PathLike
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.exceptions import ProjError
from shapely.errors import GEOSException

from geo_mm.errors import LabelError, listed
from geo_mm.paths import is_missing
from geo_mm.raster.handles import layer_source, without_side_files
from geo_mm.stores import in_store, read_bytes

logger = logging.getLogger(__name__)

MULTI_TYPES = (4, 5, 6, 7)  # GEOS type ids: MultiPoint ... GeometryCollection
_TEXT = 'SRID=4326;'
REPORTED = 3  # features named in a report


def read_layer(
    source: str | PathLike | gpd.GeoDataFrame,
    *,
    layer: str | None = None,
    where: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    choose: str = 'name it with layer=...',
) -> gpd.GeoDataFrame:
    """Read a vector layer and make its geometries fit for computing.

    Z and M are dropped, curves become line segments, features without a
    geometry are left out, invalid geometries are repaired, and multi-part
    geometries and collections become one row per part. What was left out or
    repaired is logged once as a warning.

    Args:
        source: Anything GDAL can open as a vector source (files, ``/vsizip/``,
            URLs), a ``.parquet`` file, or a GeoDataFrame (which is not changed).
        layer: Layer name; needed only if there are several with geometries.
        where: Filter in OGR SQL, such as ``"height > 3"``. Files only.
        bbox: ``(min_x, min_y, max_x, max_y)`` in the CRS of the layer; only
            features that intersect it.
        choose: What to do if there are several layers, for the message.

    Returns:
        Features with Point, LineString or Polygon geometries, a fresh index,
        all attributes, and the feature id of the source in column ``fid``
        (equal for the parts of one feature). An attribute that is itself called
        ``fid`` is kept as ``fid_attribute``.

    Raises:
        LabelError: If the source is missing, unreadable or without geometries,
            if the layer must be named, or if the filter is wrong.
    """
    frame = read_unrepaired(source, layer=layer, where=where, bbox=bbox, choose=choose)
    return _clean(frame, layer_name(source))


def read_unrepaired(
    source: str | PathLike | gpd.GeoDataFrame,
    *,
    layer: str | None = None,
    where: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    choose: str = 'name it with layer=...',
) -> gpd.GeoDataFrame:
    """Read a vector layer as it is stored, to see what is wrong with it.

    Arguments and errors are those of :func:`read_layer`.
    """
    name = layer_name(source)
    if is_polygon_text(source):
        source = _of_polygon_text(os.fspath(source), name)
    if isinstance(source, gpd.GeoDataFrame):
        if where is not None:
            raise LabelError(
                f'{name}: where={where!r} was given together with a GeoDataFrame',
                'an OGR SQL filter on a file',
                'filter the GeoDataFrame before passing it',
            )
        frame = source
    else:
        path = _existing(source, name)
        if path.lower().endswith(('.parquet', '.geoparquet')):
            frame = read_parquet(path, name, where)
        else:
            frame = _read_file(path, name, layer, where, bbox, choose)
    if bbox is not None:
        frame = frame[frame.geometry.intersects(shapely.box(*bbox))]
    return frame


def layer_name(source: str | PathLike | gpd.GeoDataFrame) -> str:
    """How messages call this source: its file name, or 'GeoDataFrame'."""
    if isinstance(source, gpd.GeoDataFrame):
        return 'GeoDataFrame'
    if is_polygon_text(source):
        return 'the polygon in the catalog'
    return os.path.basename(os.fspath(source).rstrip('/')) or os.fspath(source)


def polygon_text(polygon: shapely.Geometry) -> str:
    """A polygon in longitude and latitude as text that stands for it in place of a file."""
    return _TEXT + shapely.to_wkt(polygon, rounding_precision=-1)


def is_polygon_text(source: object) -> bool:
    """Whether a source is a polygon itself, as PostGIS writes one: ``SRID=4326;POLYGON (...)``."""
    return isinstance(source, str) and source.startswith('SRID=')


def _of_polygon_text(text: str, name: str) -> gpd.GeoDataFrame:
    srid, _, wkt = text.removeprefix('SRID=').partition(';')
    try:
        return gpd.GeoDataFrame(geometry=[shapely.from_wkt(wkt)], crs=f'EPSG:{int(srid)}')
    except (ValueError, GEOSException, ProjError) as error:
        raise LabelError(
            f'{name} cannot be read: {text[:60]} ...',
            'an EPSG code and well-known text, such as SRID=4326;POLYGON ((...))',
            str(error),
        ) from error


def _existing(source: str | PathLike, name: str) -> str:
    path = layer_source(source)
    if is_missing(path):
        raise LabelError(
            f'{name}: no such file ({Path(path).absolute()})',
            'an existing vector file',
            'check the path; relative paths start at the current folder or at the catalog',
        )
    if '!' in path and os.path.exists(path):
        raise LabelError(
            f"{name}: the '!' in {path} stands for a file inside an archive",
            "a path without '!'",
            'rename the file or its folder',
        )
    return path


@without_side_files()
def _read_file(path, name, layer, where, bbox, choose) -> gpd.GeoDataFrame:
    # GDAL's remarks arrive as Python warnings, some of them for each call.
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter('always')
        try:
            layer = _choose_layer(path, name, layer, choose)
        except (DataSourceError, DataLayerError, UnicodeDecodeError) as error:
            raise _unreadable(name, error) from error
        try:
            frame = _read_features(path, layer=layer, where=where, bbox=bbox)
        except (DataSourceError, DataLayerError, GEOSException, ValueError) as error:
            if where is None:
                raise _unreadable(name, error) from error
            raise LabelError(
                f'{name}: the filter where={where!r} cannot be used: {error}',
                'an OGR SQL condition on the attributes of the layer',
            ) from error
    for remark in dict.fromkeys(str(remark.message) for remark in remarks):
        if not remark.startswith('Measured (M) geometry types'):  # M is dropped anyway
            logger.warning('%s: %s', name, remark)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise _no_geometry(name, layer)
    if frame.empty and where is None and bbox is None:
        # GDAL reads nothing from a FlatGeobuf that ends too early, without a word.
        stated = pyogrio.read_info(path, layer=layer)['features']
        if stated > 0:
            raise _unreadable(name, ValueError(f'none of its {stated} features is there'))
    return frame


def _read_features(path: str, **options) -> gpd.GeoDataFrame:
    try:
        return pyogrio.read_dataframe(path, fid_as_index=True, **options)
    except GEOSException:
        # Rings that are not closed and the like, which GEOS cannot even hold;
        # GDAL has remarked on them.
        return pyogrio.read_dataframe(path, fid_as_index=True, on_invalid='fix', **options)


def _unreadable(name: str, error: Exception) -> LabelError:
    if name.lower().endswith('.xml'):
        return LabelError(
            f'{name}: boxes of one chip in Pascal VOC format, as ArcGIS exports training data '
            '(Export Training Data For Deep Learning)',
            'a vector layer with a CRS, such as a GeoPackage',
            'in a catalog, give the whole export in place of its images and labels',
        )
    return LabelError(
        f'{name}: cannot be read as a vector layer: {error}',
        'a file that GDAL reads, such as GeoPackage, GeoJSON, FlatGeobuf or Shapefile',
        'open it in a GIS and export it again',
    )


def _choose_layer(path: str, name: str, layer: str | None, choose: str) -> str:
    layers = pyogrio.list_layers(path)
    names = [str(found) for found, _ in layers]
    if layer is not None:
        if layer not in names:
            raise LabelError(f'{name}: has no layer {layer!r}', f'one of {names}')
        return layer
    # QGIS keeps its styles in a table beside the layer: not a candidate.
    spatial = [str(found) for found, kind in layers if kind is not None]
    if not spatial:
        raise _no_geometry(name, None)
    if len(spatial) > 1:
        raise LabelError(
            f'{name}: has {len(spatial)} layers: {spatial}',
            'one layer',
            choose,
        )
    return spatial[0]


def _no_geometry(name: str, layer: str | None) -> LabelError:
    what = f'layer {layer!r} has' if layer else 'has'
    return LabelError(
        f'{name}: {what} no geometries, only a table',
        'points, lines or polygons',
        'save the table as a GeoPackage or GeoJSON with geometries',
    )


def read_parquet(path: str, name: str, where: str | None) -> gpd.GeoDataFrame:
    # The GDAL of the pyogrio wheels is built without its Parquet driver.
    if where is not None:
        raise LabelError(f'{name}: where= is not supported for Parquet', 'a GeoPackage')
    try:
        return gpd.read_parquet(io.BytesIO(read_bytes(path)) if in_store(path) else path)
    except ImportError as error:
        raise LabelError(
            f'{name}: reading Parquet needs pyarrow', fix='pip install pyarrow'
        ) from error
    except (ValueError, OSError) as error:
        raise LabelError(f'{name}: cannot be read as GeoParquet: {error}') from error


def _clean(frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """Two-dimensional, non-empty, valid single parts with their fid."""
    if frame.active_geometry_name is None:
        raise _no_geometry(name, None)
    fids = np.asarray(frame.index)
    if fids.dtype.kind not in 'iu':
        fids = np.arange(len(frame))
    geometries = shapely.force_2d(np.asarray(frame.geometry.array))
    crs = frame.crs
    if crs is not None and len(crs.axis_info) > 2:
        crs = crs.to_2d()

    usable = usable_geometries(geometries)
    fixed, rows, repaired = _valid_parts(geometries)
    _report(name, len(frame), fids, usable, geometries, repaired)
    table = frame.drop(columns=frame.active_geometry_name).rename(columns={'fid': 'fid_attribute'})
    table = table.iloc[rows].reset_index(drop=True)
    table.insert(0, 'fid', fids[rows].astype(np.int64))
    return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries(fixed, crs=crs, index=table.index))


def usable_geometries(geometries: np.ndarray) -> np.ndarray:
    """Which geometries exist, are not empty and have only finite coordinates."""
    usable = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    usable[owner[~np.isfinite(xy).all(axis=1)]] = False
    return usable


def _valid_parts(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Valid single parts of the usable geometries.

    Returns:
        The parts, for each the row it comes from, and the rows repaired.
    """
    rows = np.flatnonzero(usable_geometries(geometries))
    fixed, broken = repair(geometries[rows])
    parts, owner = single_parts(fixed)
    return parts, rows[owner], rows[broken]


def repair(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The geometries made valid, and which of them were not.

    A ring is read as the outline of an area (what a digitiser meant), and no
    part of a polygon becomes a line.
    """
    broken = ~shapely.is_valid(geometries)
    fixed = geometries.copy()
    fixed[broken] = shapely.make_valid(fixed[broken], method='structure', keep_collapsed=False)
    return fixed, broken


def single_parts(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take multi-part geometries and (nested) collections apart.

    Returns:
        The non-empty parts, and for each the index of its geometry.
    """
    parts, owner = shapely.get_parts(geometries, return_index=True)
    while np.isin(shapely.get_type_id(parts), MULTI_TYPES).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    filled = ~shapely.is_empty(parts)
    return parts[filled], owner[filled]


def _report(name, count, fids, usable, geometries, repaired) -> None:
    notes = []
    unusable = np.flatnonzero(~usable)
    if len(unusable):
        gone = [str(fid) for fid in fids[unusable[:REPORTED]]]
        notes.append(
            f'{len(unusable)} of {count} features without a usable geometry left out: '
            f'fid {listed(gone, REPORTED, len(unusable))}'
        )
    if len(repaired):
        first = repaired[:REPORTED]
        reasons = shapely.is_valid_reason(geometries[first])
        found = [f'fid {fid} ({why})' for fid, why in zip(fids[first], reasons, strict=True)]
        notes.append(
            f'{len(repaired)} of {count} geometries repaired: '
            f'{listed(found, REPORTED, len(repaired))}'
        )
    if notes:
        logger.warning('%s: %s', name, '; '.join(notes))
