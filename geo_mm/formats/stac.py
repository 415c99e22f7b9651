"""STAC items that describe results, for catalogs and search engines."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely

from geo_mm.formats.file_records import FileRecord, file_sha256
from geo_mm.formats.provenance import Provenance
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Grid

STAC_VERSION = '1.1.0'

EXTENSIONS = tuple(
    f'https://stac-extensions.github.io/{name}/schema.json'
    for name in (
        'file/v2.1.0',
        'raster/v1.1.0',
        'processing/v1.1.0',
        'mlm/v1.4.0',
        'classification/v1.1.0',
        'projection/v2.0.0',
    )
)
"""Raster, classification and mlm are those that the mlm extension refers to."""

_MEDIA_TYPES = {
    '.tif': 'image/tiff; application=geotiff; profile=cloud-optimized',
    '.gpkg': 'application/geopackage+sqlite3',
    '.geojson': 'application/geo+json',
    '.fgb': 'application/vnd.flatgeobuf',
    '.parquet': 'application/vnd.apache.parquet',
    '.png': 'image/png',
    '.json': 'application/json',
    '.qml': 'application/xml',
    '.xml': 'application/xml',
}
_ROLES = {'.png': 'overview', '.json': 'metadata', '.qml': 'metadata', '.xml': 'metadata'}


def stac_item(files: Sequence[Path], provenance: Provenance, grid: Grid, name: str) -> dict:
    """Describe the files of a result as one STAC item.

    The item's time is that of the prediction: when the image was taken is not
    known to us. The model is one of its assets, as the mlm extension asks for;
    the scene's files are links ``derived_from``.

    Args:
        files: The files, all in one folder, complete.
        provenance: How they came to be.
        grid: Of the scene that was predicted; without a CRS the item has no place.
        name: Identifier of the item.

    Returns:
        The item, plain data.
    """
    footprint = grid.lonlat_footprint()
    if footprint is not None:
        footprint = shapely.transform(footprint, lambda lonlat: lonlat.round(7))
    item = {
        'type': 'Feature',
        'stac_version': STAC_VERSION,
        'stac_extensions': list(EXTENSIONS),
        'id': name,
        'geometry': None if footprint is None else shapely.geometry.mapping(footprint),
        'properties': {
            'datetime': _zulu(provenance),
            'description': f'Prediction of {provenance.spec.task} by geo_mm',
            'processing:lineage': provenance.rerun or 'geo_mm.inference',
            'processing:software': dict(provenance.versions),
            **_projection(grid),
            **_model(provenance),
        },
        'links': [{'rel': 'derived_from', 'href': _href(record)} for record in provenance.inputs],
        'assets': {
            **{Path(file).name: _asset(Path(file), provenance.spec) for file in files},
            **_weights(provenance),
        },
    }
    if footprint is not None:
        item['bbox'] = [float(value) for value in footprint.bounds]
    return json.loads(json.dumps(item))


def write_stac_item(
    folder: Path, files: Sequence[Path], provenance: Provenance, grid: Grid, name: str
) -> Path:
    """Write ``<name>.stac.json``, see :func:`stac_item`; returns its path."""
    path = Path(folder) / f'{name}.stac.json'
    path.write_text(json.dumps(stac_item(files, provenance, grid, name), indent=2) + '\n')
    return path


def _projection(grid: Grid) -> dict:
    if grid.crs is None:
        return {}
    code = grid.crs.to_authority()
    return {
        'proj:code': None if code is None else ':'.join(code),
        **({} if code else {'proj:wkt2': grid.crs.to_wkt(version='WKT2_2019')}),
        'proj:shape': [grid.height, grid.width],
        'proj:transform': list(grid.transform)[:6],
    }


def _model(provenance: Provenance) -> dict:
    """The fields of the mlm extension."""
    spec = provenance.spec
    task = 'semantic-segmentation' if spec.task == 'pixels' else 'object-detection'
    height, width = spec.chip_size
    config = Path(provenance.config).stem
    return {
        'mlm:name': _letters(config, 'geo_mm model'),
        'mlm:architecture': _letters(config.partition('_')[0], 'geo_mm'),
        'mlm:framework': 'PyTorch',
        'mlm:tasks': [task],
        'mlm:input': [
            {
                'name': 'chip',
                'bands': list(spec.bands),
                'input': {
                    'shape': [-1, len(spec.bands), height, width],
                    'dim_order': ['batch', 'bands', 'height', 'width'],
                    'data_type': 'float32',
                },
                'value_scaling': [
                    {'type': 'z-score', 'mean': mean, 'stddev': std}
                    for mean, std in zip(spec.mean, spec.std, strict=True)
                ],
            }
        ],
        'mlm:output': [_output(spec, task)],
    }


def _output(spec: InputSpec, task: str) -> dict:
    if spec.task == 'pixels':
        shape, order = (
            [-1, len(spec.classes), *spec.chip_size],
            ['batch', 'class', 'height', 'width'],
        )
    else:
        shape, order = [-1, -1, 6], ['batch', 'object', 'box-score-class']
    return {
        'name': spec.task,
        'tasks': [task],
        'result': {'shape': shape, 'dim_order': order, 'data_type': 'float32'},
        'classification:classes': _classes(spec),
    }


def _classes(spec: InputSpec) -> list[dict]:
    return [
        {
            'value': value,
            'name': re.sub(r'[^0-9A-Za-z_-]+', '-', name).strip('-') or f'class-{value}',
            'description': name,
            'color_hint': '{:02X}{:02X}{:02X}'.format(*colour),
        }
        for value, name, colour in spec.classes.items()
    ]


def _weights(provenance: Provenance) -> dict:
    """The models' files as assets."""
    assets = {}
    bands = [{'name': name} for name in provenance.spec.bands]
    for number, record in enumerate(provenance.checkpoints):
        assets['model' if not number else f'model-{number + 1}'] = {
            'href': _href(record),
            'type': 'application/octet-stream; application=pytorch',
            'roles': ['mlm:model', 'mlm:weights'],
            'mlm:artifact_type': 'torch.save',
            'raster:bands': bands,
            **_facts(record.size, record.sha256),
        }
    return assets


def _asset(path: Path, spec: InputSpec) -> dict:
    suffix = path.suffix.lower()
    asset = {
        'href': f'./{path.name}',
        'roles': [_ROLES.get(suffix, 'data')],
        **_facts(os.path.getsize(path), file_sha256(path)),
    }
    if suffix in _MEDIA_TYPES:
        asset['type'] = _MEDIA_TYPES[suffix]
    if suffix == '.tif':
        with rasterio.open(path) as dataset:
            asset['raster:bands'] = _bands(dataset)
            if dataset.colorinterp[0] == rasterio.enums.ColorInterp.palette:
                asset['classification:classes'] = _classes(spec)
    return asset


def _bands(dataset: rasterio.DatasetReader) -> list[dict]:
    bands = []
    for name, dtype, nodata in zip(
        dataset.descriptions, dataset.dtypes, dataset.nodatavals, strict=True
    ):
        band = {'name': name or 'band', 'data_type': dtype}
        if nodata is not None:
            band['nodata'] = 'nan' if np.isnan(nodata) else nodata
        bands.append(band)
    return bands


def _facts(size: int | None, sha256: str | None) -> dict:
    """Fields of the file extension; the checksum is a multihash (0x12: SHA-256, 0x20: 32 bytes)."""
    facts = {} if size is None else {'file:size': size}
    return facts if sha256 is None else {**facts, 'file:checksum': f'1220{sha256}'}


def _href(record: FileRecord) -> str:
    path = record.path.removeprefix('/vsicurl/')
    return Path(path).as_uri() if os.path.isabs(path) and not path.startswith('/vsi') else path


def _letters(text: str, otherwise: str) -> str:
    """What the mlm extension takes for a name: a letter first, no sign last."""
    text = re.sub(r'[^a-zA-Z0-9_.\-\s]', '-', text).strip('_.- ')
    return text if re.match(r'[a-zA-Z].', text) else otherwise


def _zulu(provenance: Provenance) -> str:
    return provenance.time.strftime('%Y-%m-%dT%H:%M:%SZ')
