"""Writing vector layers, completely or not at all."""

import contextlib
import datetime
import json
import os
import sqlite3
import uuid
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from geo_mm.errors import OutputError
from geo_mm.paths import discard


class LayerFormat(NamedTuple):
    """A file format of vector layers: GDAL's name for it, and its media type."""

    driver: str
    media_type: str


LAYER_FORMATS = {
    '.gpkg': LayerFormat('GPKG', 'application/geopackage+sqlite3'),
    '.geojson': LayerFormat('GeoJSON', 'application/geo+json'),
    '.fgb': LayerFormat('FlatGeobuf', 'application/vnd.flatgeobuf'),
    '.parquet': LayerFormat('Parquet', 'application/vnd.apache.parquet'),
}
"""The formats of results by suffix; :data:`geo_mm.inference.options.Format` names them, too."""

_DRIVERS = {suffix: known.driver for suffix, known in LAYER_FORMATS.items()} | {'.json': 'GeoJSON'}

_BATCH = 10_000  # features written at once

_DRIVER_ERRORS = (
    OSError,
    sqlite3.Error,
    DataSourceError,
    DataLayerError,
    FieldError,
    FeatureError,
    GeometryError,
)


class LayerWriter:
    """A vector file that features are appended to, and that appears when it is complete.

    Use it as a context manager. Features go to a temporary GeoPackage in the
    same folder, and leaving the block makes the file of it in one go, with its
    spatial index where the format has one. Memory is a batch of features (for
    FlatGeobuf a few bytes more for each), but all of them for GeoParquet. An
    error removes what was written and leaves an earlier file of that name alone.

    GeoPackage, FlatGeobuf and GeoParquet keep the CRS. GeoJSON follows RFC
    7946: longitude and latitude on WGS 84, with eight decimals (1 mm), and
    bounding boxes. FlatGeobuf puts features in the order of its index; the
    others keep the order in which they were appended. Outer rings run
    counterclockwise, holes clockwise, in all formats.

    GeoPackages are of version 1.2, which QGIS 3.22 and GDAL 3.6 read without a
    warning.

    The same features give the same bytes, whatever batches they came in; for a
    GeoPackage, which holds times, if ``time`` is given.

    Examples:
        >>> with LayerWriter('trees.gpkg', 'EPSG:32617') as writer:
        ...     for batch in batches:
        ...         writer.append(batch)

    Args:
        path: Where to; the suffix chooses the format (.gpkg, .geojson, .fgb,
            .parquet). Missing folders are made.
        crs: Anything pyproj understands; None for the pixels of a plain picture.
        layer: Name of the layer; the stem of the file name by default.
        geometry_type: Type of all features, such as 'Polygon'. With
            'MultiPolygon', polygons become such; 'Unknown' takes everything.
        metadata: Texts to keep in the file. In GeoJSON they are the collection's
            ``description``.
        style: QGIS style (QML) that a GeoPackage brings along.
        time: When the layer was made; needed for equal bytes.

    Raises:
        OutputError: If the suffix is unknown, the file cannot be written, or
            GeoJSON is asked for without a CRS.
    """

    def __init__(
        self,
        path: str | PathLike,
        crs: object,
        *,
        layer: str | None = None,
        geometry_type: str = 'Polygon',
        metadata: Mapping[str, str] | None = None,
        style: str | None = None,
        time: datetime.datetime | None = None,
    ) -> None:
        self.path = Path(path)
        self.driver = _driver(self.path)
        self.crs = None if crs is None else pyproj.CRS.from_user_input(crs)
        self.layer = layer or self.path.stem
        self.geometry_type = geometry_type
        self.metadata = dict(metadata or {})
        self.style = style
        self.time = time
        self.count = 0
        if self.driver == 'GeoJSON' and self.crs is None:
            raise OutputError(
                f'{self.path}: the features have no CRS, and GeoJSON is always in WGS 84',
                'georeferenced features',
                'write .gpkg, which can do without a CRS',
            )
        # The same folder, so that the rename cannot cross file systems; the same
        # suffix, because GDAL looks at it.
        stem = f'.{self.path.stem}.{uuid.uuid4().hex[:8]}'
        self._staged = self.path.with_name(f'{stem}.staged.gpkg')
        self._partial = self.path.with_name(stem + self.path.suffix)
        self._waiting: list[gpd.GeoDataFrame] = []

    def __enter__(self) -> 'LayerWriter':
        with self._reported():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def append(self, features: gpd.GeoDataFrame) -> None:
        """Add features.

        Args:
            features: Of the CRS of the layer. The first, which may be empty,
                tell the columns; all must have the same.

        Raises:
            OutputError: If they do not fit or cannot be written.
        """
        if features.crs is not None and features.crs != self.crs:
            raise OutputError(
                f'{self.path}: features in {features.crs.name} in a layer in '
                f'{self.crs.name if self.crs else "no CRS"}'
            )
        turned = shapely.orient_polygons(features.geometry.to_numpy())
        self._waiting.append(features.set_geometry(gpd.GeoSeries(turned, features.index, self.crs)))
        self.count += len(features)
        if sum(map(len, self._waiting)) >= _BATCH:
            self._stage()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._stage()
                with self._reported():
                    self._finish()
                    os.replace(self._partial, self.path)
        finally:
            discard(self._staged)
            discard(self._partial)

    def _stage(self) -> None:
        """Write what waits to the temporary GeoPackage."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            if self._staged.exists():
                return
            raise OutputError(
                f'{self.path}: no features and no columns either',
                'at least one call of append, with an empty table if need be',
            )
        filled = [part for part in waiting if len(part)] or waiting[:1]
        features = pd.concat(filled, ignore_index=True) if len(filled) > 1 else filled[0]
        with self._reported(), _quiet():
            pyogrio.write_dataframe(
                features,
                self._staged,
                layer=self.layer,
                driver='GPKG',
                geometry_type=self.geometry_type,
                promote_to_multi=self.geometry_type.startswith('Multi'),
                append=self._staged.exists(),
                layer_options={'SPATIAL_INDEX': 'NO', 'FID': _key(features.columns)},
            )

    def _finish(self) -> None:
        """Make the file from the staged features."""
        if self.driver == 'Parquet':
            self._write_parquet()
            return
        staged = pyogrio.open_arrow(self._staged, layer=self.layer, batch_size=_BATCH)
        with staged as (meta, stream), _quiet():
            geometry = meta['geometry_name'] or 'wkb_geometry'
            pyogrio.write_arrow(
                stream,
                self._partial,
                layer=self.layer,
                driver=self.driver,
                geometry_name=geometry,
                geometry_type=self.geometry_type,
                crs=None if self.crs is None else self.crs.to_wkt(),
                dataset_metadata=self.metadata if self.driver == 'GPKG' else None,
                layer_metadata=self.metadata if self.driver == 'FlatGeobuf' else None,
                dataset_options={'VERSION': '1.2'} if self.driver == 'GPKG' else {},
                layer_options=self._layer_options(meta['fields']),
            )
        if self.driver == 'GPKG':
            if self.style:
                self._add_style(geometry)
            _date(self._partial, self.time or datetime.datetime.now(datetime.timezone.utc))

    def _write_parquet(self) -> None:
        require_pyarrow(str(self.path))
        table = pyogrio.read_dataframe(self._staged, layer=self.layer)
        table = table.set_crs(self.crs, allow_override=True) if self.crs else table
        table.attrs = dict(self.metadata)
        table.to_parquet(self._partial, index=False, compression='zstd', schema_version='1.1.0')

    def _layer_options(self, columns: np.ndarray) -> dict[str, str]:
        if self.driver == 'GPKG':
            return {'FID': _key(columns)}
        if self.driver != 'GeoJSON':
            return {}
        options = {'RFC7946': 'YES', 'COORDINATE_PRECISION': '8', 'WRITE_BBOX': 'YES'}
        return options | ({'DESCRIPTION': json.dumps(self.metadata)} if self.metadata else {})

    def _add_style(self, geometry: str) -> None:
        """Put the style where QGIS looks for it in a GeoPackage, as its default one."""
        row = {
            'f_table_catalog': '',
            'f_table_schema': '',
            'f_table_name': self.layer,
            'f_geometry_column': geometry,
            'styleName': 'classes',
            'styleQML': self.style,
            'styleSLD': '',
            'useAsDefault': True,
            'description': '',
            'owner': '',
            'ui': '',
            'update_time': datetime.datetime.now(datetime.timezone.utc),
        }
        pyogrio.write_dataframe(
            pd.DataFrame({key: [value] for key, value in row.items()}),
            self._partial,
            layer='layer_styles',
            driver='GPKG',
            layer_options={'FID': 'id'},
        )

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except _DRIVER_ERRORS as error:
            raise OutputError(
                f'{self.path}: the layer of {self.count} features could not be written: {error}',
                fix='check that the folder is writable and the disk not full',
            ) from error


def write_layer(
    gdf: gpd.GeoDataFrame,
    path: str | PathLike,
    layer: str | None = None,
    *,
    geometry_type: str | None = None,
    **options,
) -> Path:
    """Write features to a file, replacing it only when all are written.

    A layer without features still has its columns, geometry type and CRS, so
    that it opens like any other (GeoJSON can hold neither).

    Args:
        gdf: The features.
        path: Where to; the suffix chooses the format, see :class:`LayerWriter`.
        layer: Name of the layer; the stem of the file name by default.
        geometry_type: Type of the layer, such as 'Polygon'; by default that of
            the features, or Polygon if there are none.
        **options: Others of :class:`LayerWriter`.

    Returns:
        The path.

    Raises:
        OutputError: If the suffix is unknown, the file cannot be written, or
            GeoJSON is asked for without a CRS.
    """
    kind = geometry_type or _common_type(gdf)
    with LayerWriter(path, gdf.crs, layer=layer, geometry_type=kind, **options) as writer:
        writer.append(gdf)
    return Path(path)


def _driver(path: Path) -> str:
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f'{path}: the suffix {path.suffix!r} names no vector format',
            f'one of {", ".join(_DRIVERS)}',
        )
    return driver


def _common_type(gdf: gpd.GeoDataFrame) -> str:
    """The one geometry type of all features; multi-part if some are."""
    names = {name for name in gdf.geom_type.unique() if name is not None}
    single = {name.removeprefix('Multi') for name in names}
    if len(single) > 1:
        return 'Unknown'
    return max(names, key=len, default='Polygon')


def _key(columns: pd.Index | np.ndarray) -> str:
    """Name of a GeoPackage's key column; an attribute 'fid' may repeat."""
    taken = 'fid' in {str(column).lower() for column in columns}
    return 'ogc_fid' if taken else 'fid'


def _date(path: Path, time: datetime.datetime) -> None:
    """Give all times in a GeoPackage one value, with milliseconds as its standard wants.

    GDAL's own way is an option of the whole process.
    """
    utc = time.astimezone(datetime.timezone.utc)
    text = f'{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z'
    columns = {
        'gpkg_contents': 'last_change',
        'gpkg_metadata_reference': 'timestamp',
        'layer_styles': 'update_time',
    }
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        tables = {name for (name,) in database.execute('SELECT name FROM sqlite_master')}
        for table, column in columns.items():
            if table in tables:
                database.execute(f'UPDATE {table} SET {column} = ?', [text])


def require_pyarrow(what: str) -> None:
    """Makes sure that GeoParquet can be written.

    Args:
        what: What is to be written, for the message.

    Raises:
        OutputError: If pyarrow is not installed.
    """
    try:
        from pyarrow import parquet  # noqa: F401
    except ImportError as error:
        raise OutputError(
            f'{what}: writing GeoParquet needs pyarrow: {error}',
            'pyarrow in the environment',
            'pip install pyarrow, or write GeoPackage (gpkg)',
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # No CRS is what a plain picture has; it is no news to the caller.
        warnings.filterwarnings('ignore', "'crs' was not provided")
        yield
