"""STAC items that describe results."""

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import shapely

from geo_mm.classes import ClassSet
from geo_mm.errors import OutputError
from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.formats.provenance import FileRecord, Provenance
from geo_mm.inputspec import InputSpec
from geo_mm.paths import file_sha256, write_text
from geo_mm.raster import Grid
from geo_mm.raster.handles import open_quietly
from geo_mm.stores import in_store, url

if TYPE_CHECKING:  # pystac is imported when an item is asked for
    import pystac

EXTENSIONS = tuple(
    f'https://stac-extensions.github.io/{name}/schema.json'
    for name in (
        'file/v2.1.0',
        'raster/v2.0.0',
        'processing/v1.2.0',
        'mlm/v1.5.2',
        'classification/v1.1.0',
        'projection/v2.0.0',
    )
)

_RASTER = EXTENSIONS[1]

_KINDS = {
    '.tif': ('image/tiff; application=geotiff; profile=cloud-optimized', 'data'),
    **{suffix: (known.media_type, 'data') for suffix, known in LAYER_FORMATS.items()},
    '.png': ('image/png', 'overview'),
    '.json': ('application/json', 'metadata'),
    '.qml': ('application/xml', 'metadata'),
    '.qlr': ('application/xml', 'metadata'),
    '.qgz': ('application/zip', 'metadata'),
    '.xml': ('application/xml', 'metadata'),
    '.dbf': ('application/dbase', 'metadata'),
    '.cpg': ('text/plain', 'metadata'),
    '.pgw': ('text/plain', 'metadata'),
}
"""Media type and role by suffix."""

_TITLES = {
    '.tif': 'Classes',
    '_confidence.tif': 'Confidence',
    '_probabilities.tif': 'Probabilities of the classes',
    '_quicklook.png': 'Quick look',
    '.json': 'Record of the prediction',
}
"""By what follows the name of the item; of layers by their suffix."""


def stac_item(
    files: Sequence[Path],
    provenance: Provenance,
    grid: Grid,
    name: str,
    *,
    home: Path | None = None,
) -> 'pystac.Item':
    """Describe the files of a result as one STAC item.

    The item's time is that of the prediction: when the image was taken is not
    known to us. The model is one of its assets, as the mlm extension asks for;
    the scene's files are links ``derived_from``.

    Args:
        files: The files, all in one folder, complete.
        provenance: How they came to be.
        grid: Of the scene that was predicted; without a CRS the item has no geometry.
        name: Identifier of the item.
        home: The folder that the files are going to be in; image and model are
            then given relative to it, else absolute.

    Raises:
        OutputError: If pystac is not installed.
    """
    pystac = _pystac()
    footprint = grid.lonlat_footprint()
    if footprint is not None:
        footprint = shapely.transform(footprint, lambda lonlat: lonlat.round(7))
    item = pystac.Item(
        id=name,
        geometry=None if footprint is None else shapely.geometry.mapping(footprint),
        bbox=None if footprint is None else [float(value) for value in footprint.bounds],
        datetime=provenance.time,
        stac_extensions=list(EXTENSIONS),
        properties={
            'title': f'{_task(provenance)} of {name}'.replace('-', ' '),
            'description': f'Prediction by {Path(provenance.config).name}, with geo_mm',
            **_resolution(grid),
            'bands': [{'name': band} for band in provenance.spec.bands],
            'processing:lineage': provenance.rerun or 'geo_mm.inference',
            'processing:software': dict(provenance.versions),
            **_projection(grid),
            **_model(provenance),
        },
    )
    # The schema of the raster extension wants a field of its own.
    if not any(Path(file).suffix == '.tif' for file in files):
        item.stac_extensions.remove(_RASTER)
    for record in provenance.inputs:
        item.add_link(pystac.Link('derived_from', _href(record, home), title='Image'))
    for file in map(Path, files):
        item.add_asset(file.name, _asset(file, name, provenance.spec))
    for number, record in enumerate(provenance.checkpoints):
        key = 'model' if not number else f'model-{number + 1}'
        item.add_asset(key, _weights(record, home, provenance.spec))
    return item


def write_stac_item(
    folder: Path,
    files: Sequence[Path],
    provenance: Provenance,
    grid: Grid,
    name: str,
    *,
    home: Path | None = None,
) -> Path:
    """Write ``<name>.stac.json``, see :func:`stac_item`; returns its path."""
    item = stac_item(files, provenance, grid, name, home=home)
    found = item.to_dict(include_self_link=False, transform_hrefs=False)
    return write_text(Path(folder) / f'{name}.stac.json', json.dumps(found, indent=2) + '\n')


def stac_model_item(
    files: Mapping[Path, str | None], made: Provenance, name: str, licence: str | None = None
) -> 'pystac.Item':
    """Describe a model as a STAC item of the mlm extension: what it needs, gives, and its files.

    It has no place: where the scenes were that it was trained on is not known to us.

    Args:
        files: The files, all in one folder, complete; for those with weights what
            the mlm extension calls their kind, such as ``'torch.save'``.
        made: Of the model; its ``started`` becomes the item's time.
        name: Identifier of the item.
        licence: SPDX identifier, if one is given.

    Raises:
        OutputError: If pystac is not installed.
    """
    item = _pystac().Item(
        id=name,
        geometry=None,
        bbox=None,
        datetime=made.time,
        stac_extensions=[EXTENSIONS[number] for number in (0, 2, 3, 4)],
        properties={
            'title': f'{name}, a model for {_task(made)}'.replace('-', ' '),
            'bands': [{'name': band} for band in made.spec.bands],
            'processing:software': dict(made.versions),
            **({} if made.spec.gsd is None else {'gsd': round(made.spec.gsd, 4)}),
            **({} if licence is None else {'license': licence}),
            **_model(made),
        },
    )
    for path, kind in files.items():
        asset = _asset(path, name, made.spec)
        if kind is not None:
            asset.title, asset.roles = 'Model weights', ['mlm:model', 'mlm:weights']
            asset.media_type = 'application/octet-stream'
            asset.extra_fields['mlm:artifact_type'] = kind
            asset.extra_fields['bands'] = [{'name': band} for band in made.spec.bands]
        item.add_asset('model' if kind is not None else path.name, asset)
    return item


def _pystac():
    try:
        import pystac
    except ImportError as error:
        raise OutputError(
            f'a STAC item needs pystac: {error}',
            'pystac in the environment',
            'pip install pystac, or leave --stac out',
        ) from error
    return pystac


def _task(provenance: Provenance) -> str:
    """What the mlm extension calls the task."""
    if provenance.spec.of_pixels:
        return 'semantic-segmentation'
    masks = provenance.model.get('masks', False)
    return 'instance-segmentation' if masks else 'object-detection'


def _resolution(grid: Grid) -> dict:
    gsd = None if grid.lonlat_footprint() is None else grid.gsd
    if gsd is None or not np.isfinite(gsd).all():
        return {}
    return {'gsd': round(float(np.mean(gsd)), 4)}


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
    spec, model = provenance.spec, provenance.model
    height, width = spec.chip_size
    found = {
        'mlm:name': _letters(Path(provenance.config).stem, 'geo_mm model'),
        'mlm:architecture': model.get('architecture') or 'unknown',
        'mlm:framework': 'PyTorch',
        'mlm:framework_version': provenance.versions.get('torch'),
        'mlm:total_parameters': model.get('parameters'),
        'mlm:tasks': [_task(provenance)],
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
                'resize_type': None,
            }
        ],
        'mlm:output': [_output(provenance)],
    }
    if 'pretrained' in model:
        found |= {
            'mlm:pretrained': model['pretrained'] is not None,
            'mlm:pretrained_source': model['pretrained'],
        }
    return {
        key: value
        for key, value in found.items()
        if value is not None or key == 'mlm:pretrained_source'
    }


def _output(provenance: Provenance) -> dict:
    spec = provenance.spec
    if spec.of_pixels:
        shape = [-1, len(spec.classes), *spec.chip_size]
        order = ['batch', 'class', 'height', 'width']
    else:
        shape, order = [-1, -1, 6], ['batch', 'object', 'box-score-class']
    return {
        'name': spec.task,
        'tasks': [_task(provenance)],
        'result': {'shape': shape, 'dim_order': order, 'data_type': 'float32'},
        'classification:classes': _classes(spec.classes),
    }


def _classes(classes: ClassSet) -> list[dict]:
    return [
        {
            'value': value,
            'name': re.sub(r'[^0-9A-Za-z_-]+', '-', name).strip('-') or f'class-{value}',
            'title': name,
            'description': name,
            'color_hint': '{:02X}{:02X}{:02X}'.format(*colour),
        }
        for value, name, colour in classes.items()
    ]


def _weights(record: FileRecord, home: Path | None, spec: InputSpec) -> 'pystac.Asset':
    return _pystac().Asset(
        _href(record, home),
        title='Model weights',
        media_type='application/octet-stream; application=pytorch',
        roles=['mlm:model', 'mlm:weights'],
        extra_fields={
            'mlm:artifact_type': 'torch.save',
            'bands': [{'name': name} for name in spec.bands],
            **_size(record.size, record.sha256),
        },
    )


def _asset(path: Path, name: str, spec: InputSpec) -> 'pystac.Asset':
    media_type, role = _KINDS.get(path.suffix.lower(), (None, 'data'))
    extra = _size(os.path.getsize(path), file_sha256(path))
    if path.suffix.lower() == '.tif':
        with open_quietly(str(path)) as dataset:
            extra['bands'] = _bands(dataset)
            if dataset.colorinterp[0] == rasterio.enums.ColorInterp.palette:
                extra['classification:classes'] = _classes(spec.classes)
    title = _TITLES.get(path.name.removeprefix(name))
    if title is None and role == 'data':
        title = f'Outlines, {path.suffix[1:]}'
    return _pystac().Asset(
        f'./{path.name}', title=title, media_type=media_type, roles=[role], extra_fields=extra
    )


def _bands(dataset: rasterio.DatasetReader) -> list[dict]:
    bands = []
    for number, (name, dtype, nodata) in enumerate(
        zip(dataset.descriptions, dataset.dtypes, dataset.nodatavals, strict=True)
    ):
        band = {'name': name or 'band', 'data_type': dtype, 'raster:sampling': 'area'}
        if nodata is not None:
            band['nodata'] = 'nan' if np.isnan(nodata) else nodata
        if dataset.scales[number] != 1:
            band['raster:scale'] = dataset.scales[number]
            band['raster:offset'] = dataset.offsets[number]
        bands.append(band)
    return bands


def _size(size: int | None, sha256: str | None) -> dict:
    """Fields of the file extension; the checksum is a multihash (0x12: SHA-256, 0x20: 32 bytes)."""
    fields = {} if size is None else {'file:size': size}
    return fields if sha256 is None else {**fields, 'file:checksum': f'1220{sha256}'}


def _href(record: FileRecord, home: Path | None) -> str:
    """Where a file is, seen from ``home``."""
    path = url(record.path.removeprefix('/vsicurl/'))
    if not os.path.isabs(path) or path.startswith('/vsi'):
        return path
    if home is not None and not in_store(home):
        with contextlib.suppress(ValueError):  # on another drive
            return Path(os.path.relpath(path, os.path.abspath(home))).as_posix()
    return Path(path).as_uri()


def _letters(text: str, otherwise: str) -> str:
    """What the mlm extension takes for a name: a letter first, no sign last."""
    text = re.sub(r'[^a-zA-Z0-9_.\-\s]', '-', text).strip('_.- ')
    return text if re.match(r'[a-zA-Z].', text) else otherwise
