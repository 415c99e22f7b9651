"""``geo-mm describe``."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geo_mm.formats.provenance import Provenance


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', help='file that a prediction wrote: raster, layer or .json')
    parser.add_argument('--json', action='store_true', help='print the provenance as JSON alone')


def describe(args: argparse.Namespace) -> None:
    """Say what a result is, how it was made, and the command that makes it again."""
    from rich.console import Console

    from geo_mm.formats.provenance import read_provenance, readable

    provenance = read_provenance(args.output)
    if args.json:
        print(provenance.to_json())
        return
    with readable(args.output):
        content = list(what_it_is(Path(args.output), provenance))
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for title, lines in (
        (args.output, content),
        ('made by', how_it_was_made(provenance)),
        ('make it again', [provenance.rerun or 'made from Python: no command is known']),
    ):
        console.print(title, style='bold')
        for line in lines:
            console.print(f'  {line}')


def what_it_is(path: Path, provenance: 'Provenance') -> Iterator[str]:
    """Lines about the content of a file."""
    suffix = path.suffix.lower()
    if suffix in ('.tif', '.tiff'):
        yield from about_raster(path)
        counts, unit = class_pixels(path), 'pixels'
    elif suffix == '.json':
        yield 'record of a prediction'
        counts, unit = Counter(), ''
    elif suffix == '.png':
        yield 'picture of a prediction'
        counts, unit = Counter(), ''
    else:
        yield from about_layer(path)
        counts, unit = class_features(path), 'features'
    for value, name, parts in provenance.spec.classes.items():
        colour = ''.join(f'{part:02x}' for part in parts)
        found = f', {counts[value] + counts[name]:,} {unit}' if unit else ''
        yield f'class {value} {name}: #{colour}{found}'


def about_raster(path: Path) -> Iterator[str]:
    from geo_mm.raster import Scene

    scene = Scene.open(path)
    yield f'raster of {scene.width} x {scene.height} pixels, {scene.dtype}, nodata {scene.nodata}'
    yield f'bands: {", ".join(scene.band_names)}'
    yield f'CRS: {scene.crs.to_string() if scene.crs else "none"}'
    if scene.gsd:
        yield f'GSD: {scene.gsd[0]:.4g} x {scene.gsd[1]:.4g} m'


def about_layer(path: Path) -> Iterator[str]:
    if path.suffix.lower() == '.parquet':
        yield 'GeoParquet'
        return
    import pyogrio

    from geo_mm.raster.handles import without_side_files

    with without_side_files():
        info = pyogrio.read_info(path, layer=0)  # after it: styles
    yield f'layer {info["layer_name"]} of {info["geometry_type"]}'
    yield f'CRS: {info["crs"] or "none"}'


def class_pixels(path: Path) -> Counter:
    """Pixels of each class value; empty for a raster of other things."""
    import numpy as np
    import rasterio
    from rasterio.enums import ColorInterp

    counts: Counter = Counter()
    with rasterio.open(path) as dataset:
        if dataset.colorinterp[0] != ColorInterp.palette:
            return counts
        for _, window in dataset.block_windows(1):
            values, numbers = np.unique(dataset.read(1, window=window), return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return counts


def class_features(path: Path) -> Counter:
    """Features of each class name."""
    if path.suffix.lower() == '.parquet':
        from pyarrow import parquet

        return Counter(parquet.read_table(path, columns=['class'])['class'].to_pylist())
    import pyogrio

    from geo_mm.raster.handles import without_side_files

    with without_side_files():
        table = pyogrio.read_dataframe(path, layer=0, columns=['class'], read_geometry=False)
    return Counter(table['class'])


def how_it_was_made(provenance: 'Provenance') -> Iterator[str]:
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
