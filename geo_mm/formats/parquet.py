"""GeoParquet from a stream of record batches."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyproj
import shapely

from geo_mm.errors import OutputError

_GEOMETRY = 'geometry'


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


def write_parquet(
    stream: object,
    path: Path,
    *,
    geometry: str,
    crs: pyproj.CRS | None,
    geometry_type: str,
    metadata: Mapping[str, str],
) -> None:
    """Write GeoParquet 1.1 batch by batch.

    Args:
        stream: What gives record batches by the Arrow PyCapsule interface.
        path: The file to make.
        geometry: Name of the column with the geometries as WKB.
        crs: That of the geometries.
        geometry_type: Their type, or 'Unknown'.
        metadata: Texts for the file.

    Raises:
        OutputError: If pyarrow is not installed.
    """
    require_pyarrow(str(path))
    import pyarrow as pa
    from pyarrow import parquet

    reader = pa.RecordBatchReader.from_stream(stream)
    fields = [
        pa.field(_GEOMETRY, pa.binary()) if field.name == geometry else field.remove_metadata()
        for field in reader.schema
    ]
    schema = pa.schema(fields)
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with parquet.ParquetWriter(path, schema, compression='zstd') as writer:
        for batch in reader:
            batch = pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch, fields, strict=True)],
                schema=schema,
            )
            geometries = shapely.from_wkb(batch.column(_GEOMETRY).to_numpy(zero_copy_only=False))
            low, high = np.split(np.asarray(shapely.total_bounds(geometries)), 2)
            bounds = np.append(np.fmin(bounds[:2], low), np.fmax(bounds[2:], high))
            writer.write_batch(batch)
        column = {
            'encoding': 'WKB',
            'geometry_types': [] if geometry_type == 'Unknown' else [geometry_type],
            # Without the key, readers take longitude and latitude for granted.
            'crs': None if crs is None else crs.to_json_dict(),
        }
        if np.isfinite(bounds).all():
            column['bbox'] = bounds.tolist()
        geo = {'version': '1.1.0', 'primary_column': _GEOMETRY, 'columns': {_GEOMETRY: column}}
        writer.add_key_value_metadata({**metadata, 'geo': json.dumps(geo)})
