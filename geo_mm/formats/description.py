"""What a result is and how it was made, in words."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
from rasterio.enums import ColorInterp

from geo_mm.formats.provenance import Provenance, has_provenance, read_provenance, readable
from geo_mm.raster import Scene, handles
from geo_mm.raster.handles import without_side_files


@dataclass(frozen=True)
class Description:
    """What :func:`describe_result` finds; printed, it is a text of a few lines.

    Attributes:
        path: The file.
        content: Lines about what is in it.
        provenance: How it was made.
    """

    path: str
    content: tuple[str, ...]
    provenance: Provenance

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the lines below each."""
        yield self.path, list(self.content)
        yield 'made by', list(_how_it_was_made(self.provenance))
        yield 'make it again', [self.provenance.rerun or 'made from Python: no command is known']

    def to_dict(self) -> dict:
        """How it was made, as plain data."""
        return self.provenance.to_dict()

    def __str__(self) -> str:
        return '\n'.join('\n  '.join([title, *lines]) for title, lines in self.sections())


@dataclass(frozen=True)
class SceneDescription:
    """What an image is; printed, it is a text of a few lines."""

    path: str
    scene: Scene

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """A title, and the lines below it."""
        yield self.path, list(_about_raster(self.scene))

    def to_dict(self) -> dict:
        """The same as plain data."""
        scene = self.scene
        return {
            'width': scene.width,
            'height': scene.height,
            'dtype': str(scene.dtype),
            'nodata': scene.nodata,
            'bands': list(scene.band_names),
            'crs': scene.crs and scene.crs.to_string(),
            'gsd': scene.gsd,
            'bounds': list(scene.grid.bounds),
        }

    def __str__(self) -> str:
        return '\n'.join('\n  '.join([title, *lines]) for title, lines in self.sections())


def describe_file(path: str | os.PathLike) -> Description | SceneDescription:
    """Say what an image is, or what a prediction wrote.

    Raises:
        OutputError: If it is neither.
        SceneError: If the image is not georeferenced by a transform.
    """
    if handles.is_raster(path) and not has_provenance(path):
        return SceneDescription(os.fspath(path), Scene.open(path))
    return describe_result(path)


def describe_result(path: str | os.PathLike) -> Description:
    """Say what a file that a prediction wrote is, and how it was made.

    Args:
        path: A raster, layer, picture or record.

    Raises:
        OutputError: If it is no complete result of a prediction.
    """
    provenance = read_provenance(path)
    with readable(path):
        content = tuple(_what_it_is(Path(path), provenance))
    return Description(os.fspath(path), content, provenance)


def _what_it_is(path: Path, provenance: Provenance) -> Iterator[str]:
    """Lines about the content of a file."""
    suffix = path.suffix.lower()
    if suffix in ('.tif', '.tiff'):
        yield from _about_raster(Scene.open(path))
        counts, unit = _class_pixels(path), 'pixels'
    elif suffix == '.json':
        yield 'record of a prediction'
        counts, unit = Counter(), ''
    elif suffix == '.png':
        yield 'picture of a prediction'
        counts, unit = Counter(), ''
    else:
        yield from _about_layer(path)
        counts, unit = _class_features(path), 'features'
    for value, name, parts in provenance.spec.classes.items():
        colour = ''.join(f'{part:02x}' for part in parts)
        found = f', {counts[value] + counts[name]:,} {unit}' if unit else ''
        yield f'class {value} {name}: #{colour}{found}'


def _about_raster(scene: Scene) -> Iterator[str]:
    yield f'raster of {scene.width} x {scene.height} pixels, {scene.dtype}, nodata {scene.nodata}'
    yield f'bands: {", ".join(scene.band_names)}'
    yield f'CRS: {scene.crs.to_string() if scene.crs else "none"}'
    if scene.gsd:
        yield f'GSD: {scene.gsd[0]:.4g} x {scene.gsd[1]:.4g} m'
    unit = f'in {scene.crs.units_factor[0]}s of the CRS' if scene.crs else 'in pixels'
    bounds = ' '.join(f'{value:.10g}' for value in scene.grid.bounds)
    yield f'extent: {bounds} (x_min y_min x_max y_max, {unit}, as for --window)'


def _about_layer(path: Path) -> Iterator[str]:
    if path.suffix.lower() == '.parquet':
        yield 'GeoParquet'
        return
    with without_side_files():
        info = pyogrio.read_info(path, layer=0)  # after it: styles
    yield f'layer {info["layer_name"]} of {info["geometry_type"]}'
    yield f'CRS: {info["crs"] or "none"}'


def _class_pixels(path: Path) -> Counter:
    """Pixels of each class value; empty for a raster of other things."""
    counts: Counter = Counter()
    with rasterio.open(path) as dataset:
        if dataset.colorinterp[0] != ColorInterp.palette:
            return counts
        for _, window in dataset.block_windows(1):
            values, numbers = np.unique(dataset.read(1, window=window), return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return counts


def _class_features(path: Path) -> Counter:
    """Features of each class name."""
    if path.suffix.lower() == '.parquet':
        from pyarrow import parquet

        return Counter(parquet.read_table(path, columns=['class'])['class'].to_pylist())
    with without_side_files():
        table = pyogrio.read_dataframe(path, layer=0, columns=['class'], read_geometry=False)
    return Counter(table['class'])


def _how_it_was_made(provenance: Provenance) -> Iterator[str]:
    """Lines about its provenance."""
    yield f'time: {provenance.started}'
    yield f'config: {provenance.config or "in the checkpoint"}'
    for kind, records in (('checkpoint', provenance.checkpoints), ('input', provenance.inputs)):
        for record in records:
            version = record.sha256 or record.etag or record.modified or 'version unknown'
            yield f'{kind}: {record.path} ({version})'
    spec = provenance.spec
    gsd = 'any GSD' if spec.gsd is None else f'{spec.gsd:.4g} m'
    yield f'trained on: {", ".join(spec.bands)}; {spec.dtype}, {gsd}'
    for key, value in sorted(provenance.options.items()):
        if value is not None and value != []:
            shown = ', '.join(map(str, value)) if isinstance(value, list) else value
            yield f'{key}: {shown}'
    yield ', '.join(f'{name} {version}' for name, version in provenance.versions.items())
