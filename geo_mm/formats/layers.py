"""Writing vector layers, completely or not at all."""

import contextlib
import datetime
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from geo_mm.errors import OutputError
from geo_mm.formats.parquet import write_parquet

DRIVERS = {
    '.gpkg': 'GPKG',
    '.geojson': 'GeoJSON',
    '.json': 'GeoJSON',
    '.fgb': 'FlatGeobuf',
    '.parquet': 'Parquet',
}

_BATCH = 10_000  # features written at once

_DRIVER_ERRORS = (
    OSError,
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
    spatial index where the format has one. Memory is a batch of features (and
    for FlatGeobuf a few bytes for each). An error removes what was written and
    leaves an earlier file of that name alone.

    GeoPackage, FlatGeobuf and GeoParquet keep the CRS. GeoJSON follows RFC
    7946: longitude and latitude on WGS 84, with eight decimals (1 mm).
    FlatGeobuf puts features in the order of its index; the others keep the
    order in which they were appended.

    The same features give the same bytes, whatever batches they came in; for a
    GeoPackage, which holds times, if ``time`` is given.

    Example:
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
        self._waiting.append(features)
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
            for path in (self._staged, self._partial):
                for suffix in ('', '-journal', '-wal', '-shm'):
                    with contextlib.suppress(OSError):
                        Path(f'{path}{suffix}').unlink()

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
        """Make the file from the staged features, a batch at a time."""
        staged = pyogrio.open_arrow(self._staged, layer=self.layer, batch_size=_BATCH)
        with staged as (meta, stream), _dated(self.time), _quiet():
            geometry = meta['geometry_name'] or 'wkb_geometry'
            if self.driver == 'Parquet':
                write_parquet(
                    stream,
                    self._partial,
                    geometry=geometry,
                    crs=self.crs,
                    geometry_type=self.geometry_type,
                    metadata=self.metadata,
                )
                return
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
                layer_options=self._layer_options(meta['fields']),
            )
        if self.driver == 'GPKG' and self.style:
            self._add_style(geometry)

    def _layer_options(self, columns: np.ndarray) -> dict[str, str]:
        if self.driver == 'GPKG':
            return {'FID': _key(columns)}
        if self.driver != 'GeoJSON':
            return {}
        options = {'RFC7946': 'YES', 'COORDINATE_PRECISION': '8'}
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
            'update_time': self.time or datetime.datetime.now(datetime.timezone.utc),
        }
        with _dated(self.time):
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
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f'{path}: the suffix {path.suffix!r} names no vector format',
            f'one of {", ".join(DRIVERS)}',
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


@contextlib.contextmanager
def _dated(time: datetime.datetime | None) -> Iterator[None]:
    """Let GDAL write this time instead of the present one."""
    if time is None:
        yield
        return
    utc = time.astimezone(datetime.timezone.utc)
    option = 'OGR_CURRENT_DATE'
    pyogrio.set_gdal_config_options({option: utc.strftime('%Y-%m-%dT%H:%M:%S.000Z')})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({option: None})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # No CRS is what a plain picture has; it is no news to the caller.
        warnings.filterwarnings('ignore', "'crs' was not provided")
        yield
