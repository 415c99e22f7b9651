"""Chips per second: geo_mm's whole loading against bare rasterio, in one run.

Makes a 6144 x 6144 scene of 4 bands uint16 in blocks of 512, raw and DEFLATE,
and reads random chips of 256 in the same places with

- geo_mm:   dataset[i] with LoadChip only: address, read, valid mask, float32, layout
- Scene:    Scene.read(window), pixels and valid mask
- rasterio: dataset.read(window=...) on one open file, pixels alone
- blocks:   every block of the file decoded once, in order: the most that any reader
            of this file could do per pixel

One process, no workers, GDAL's block cache at 256 MB. The order of the rows
rotates, each is timed several times, and the best counts.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault('GDAL_CACHEMAX', '256')

import numpy as np
import rasterio
from affine import Affine
from mmengine.registry import init_default_scope
from rasterio.windows import Window as RasterioWindow
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.datasets import GeoSegDataset
from geo_mm.raster import Scene

SIZE, BLOCK, CHIP, BANDS = 6144, 512, 256, 4
PIPELINE = [{'type': 'geo_mm.LoadChip'}]


def make_scene(path: Path, compress: str | None) -> None:
    """Smooth ground with noise: compresses about as imagery does."""
    profile = {
        'driver': 'GTiff',
        'width': SIZE,
        'height': SIZE,
        'count': BANDS,
        'dtype': 'uint16',
        'crs': 'EPSG:32617',
        'transform': Affine.translation(500_000, 4_000_000) @ Affine.scale(0.5, -0.5),
        'tiled': True,
        'blockxsize': BLOCK,
        'blockysize': BLOCK,
        'nodata': 0,
    }
    if compress:
        profile.update(compress=compress, predictor=2)
    rng = np.random.default_rng(0)
    with rasterio.open(path, 'w', **profile) as dataset:
        for _, window in dataset.block_windows(1):
            rows, cols = np.indices((window.height, window.width))
            ground = 1000 + 400 * np.sin((cols + window.col_off) / 90) * np.cos(
                (rows + window.row_off) / 70
            )
            noise = rng.normal(0, 40, (BANDS, window.height, window.width))
            dataset.write((ground + noise).clip(1).astype(np.uint16), window=window)


def read_all(read: Callable, places: Iterable) -> None:
    for place in places:
        read(place)


def read_blocks(bare: rasterio.DatasetReader) -> None:
    for _, window in bare.block_windows(1):
        bare.read(window=window)


def measure(path: Path, chips: int, repeats: int) -> dict[str, float]:
    """Chips (or the pixels of one) per second, by row.

    Each row has a file of its own: none finds its blocks in GDAL's cache
    because another has read them.
    """
    own, seen, bare, whole = (path.with_stem(f'{path.stem}_{i}') for i in range(4))
    for copy in (own, seen, bare, whole):
        shutil.copy(path, copy)
    dataset = GeoSegDataset(
        scenes=str(own), metainfo={'classes': ('any',)}, chip_size=CHIP, pipeline=PIPELINE
    )
    scene = Scene.open(seen)
    rng = np.random.default_rng(1)
    indices = [int(index) for index in rng.integers(len(dataset), size=chips)]
    windows = [dataset.chip_space.locate(index)[1] for index in indices]
    with rasterio.open(bare) as bare_file, rasterio.open(whole) as whole_file:
        rows: dict[str, tuple[Callable, float]] = {
            'geo_mm': (lambda: read_all(dataset.__getitem__, indices), chips),
            'Scene': (lambda: read_all(scene.read, windows), chips),
            'rasterio': (
                lambda: read_all(lambda w: bare_file.read(window=RasterioWindow(*w)), windows),
                chips,
            ),
            'blocks': (lambda: read_blocks(whole_file), SIZE**2 / CHIP**2),
        }
        return best_of(rows, repeats)


def best_of(rows: dict[str, tuple[Callable, float]], repeats: int) -> dict[str, float]:
    """The highest rate of each row, the rows taking turns."""
    best = dict.fromkeys(rows, 0.0)
    names = list(rows)
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            function, count = rows[name]
            start = time.perf_counter()
            function()
            best[name] = max(best[name], count / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--chips', type=int, default=600)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    init_default_scope('mmseg')
    table = Table(
        '', 'geo_mm', 'Scene', 'rasterio', 'blocks', 'geo_mm / rasterio', 'Scene / rasterio'
    )
    with tempfile.TemporaryDirectory() as folder:
        for compress in track((None, 'deflate'), description='measuring'):
            path = Path(folder, f'{compress or "raw"}.tif')
            make_scene(path, compress)
            speed = measure(path, args.chips, args.repeats)
            table.add_row(
                path.stem,
                *(f'{value:.0f}/s' for value in speed.values()),
                f'{speed["geo_mm"] / speed["rasterio"]:.2f}',
                f'{speed["Scene"] / speed["rasterio"]:.2f}',
            )
            for file in Path(folder).glob(f'{path.stem}*.tif'):
                file.unlink()
    Console().print(table)


if __name__ == '__main__':
    main()
