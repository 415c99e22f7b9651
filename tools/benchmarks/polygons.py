"""Polygons of a class raster that comes strip by strip: exact, and in how much memory.

Makes a raster of five classes, 5,000 pixels wide: wavy cells, and single
pixels strewn over them, which are holes and regions of one pixel. It can be
made strip by strip, for any height. Then

- proof:  the polygons of 5,000 rows, against scipy's connected components (class
          and size of every region), against the pixels of each class, and
          filled again, which must give the raster
- ours:   `geo_mm.vectorize.StripPolygonizer`, fed strip by strip, each strip made
          when it is needed and each polygon dropped after it is measured
- rival:  `rasterio.features.shapes` of the whole raster, made into shapely
          polygons: what ours does strip by strip, without the joining

Every case runs in a process of its own. Time is the processor's, without the
making of the raster; memory is the most that was added after the imports.
"""

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from rasterio.features import rasterize, shapes
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from geo_mm.vectorize import Regions, StripPolygonizer

WIDTH, CLASSES, BLOCK = 5000, 5, 200


def strips(height: int) -> Iterator[np.ndarray]:
    """The raster, ``BLOCK`` rows at a time: ``(rows, WIDTH)`` uint8 classes."""
    cell, wave = 18, 6.0
    shape = (height + 2 * int(wave)) // cell + 2, (WIDTH + 2 * int(wave)) // cell + 2
    cells = np.random.default_rng(0).integers(0, CLASSES, shape, np.uint8)
    cols = np.arange(WIDTH)
    for top in range(0, height, BLOCK):
        rows = np.arange(top, min(top + BLOCK, height))[:, None]
        down = (rows + wave * (1 + np.sin(cols / 9))).astype(int) // cell
        right = (cols + wave * (1 + np.sin(rows / 7))).astype(int) // cell
        classes = cells[down, right]
        rng = np.random.default_rng([1, top])
        strewn = rng.random(classes.shape) < 0.0027
        classes[strewn] = rng.integers(0, CLASSES, int(strewn.sum()))
        yield classes


def prove(height: int) -> str:
    """Compares polygons with what is known by other means."""
    raster = np.vstack(list(strips(height)))
    polygonizer = StripPolygonizer(WIDTH)
    found = [polygonizer.add(strip) for strip in strips(height)] + [polygonizer.finish()]
    regions = Regions.concatenate(found)
    values, polygons, pixels = regions.values, regions.polygons, regions.pixels
    areas = shapely.area(polygons)
    sizes = [np.bincount(ndimage.label(raster == value)[0].ravel())[1:] for value in range(CLASSES)]
    known = np.repeat(np.arange(CLASSES), [len(part) for part in sizes]), np.concatenate(sizes)
    filled = rasterize(
        zip(polygons, values.tolist(), strict=True), raster.shape, fill=255, dtype='uint8'
    )
    checks = {
        'every polygon is valid': shapely.is_valid(polygons).all(),
        'areas equal pixel counts': (areas == pixels).all(),
        'regions equal connected components': np.array_equal(
            _sorted(values, areas.astype(int)), _sorted(*known)
        ),
        'areas per class equal its pixels': np.array_equal(
            np.bincount(values, areas), np.bincount(raster.ravel())
        ),
        'polygons filled give the raster': np.array_equal(filled, raster),
    }
    holes = int(shapely.get_num_interior_rings(polygons).sum())
    lines = [f'{"yes" if check else "NO "}  {name}' for name, check in checks.items()]
    return '\n'.join([f'{len(polygons)} regions with {holes} holes', *lines])


def _sorted(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    rows = np.column_stack([values, sizes])
    return rows[np.lexsort(rows.T)]


def run_ours(height: int) -> tuple[int, float, float, float]:
    """Regions, their area, seconds, and memory in MB."""
    before = _memory('VmRSS')
    polygonizer = StripPolygonizer(WIDTH)
    steps = (partial(polygonizer.add, strip) for strip in strips(height))
    count, area, seconds = 0, 0.0, 0.0
    for step in itertools.chain(steps, [polygonizer.finish]):
        start = time.process_time()
        polygons = step().polygons
        seconds += time.process_time() - start
        count, area = count + len(polygons), area + float(shapely.area(polygons).sum())
    return count, area, seconds, _memory('VmHWM') - before


def run_rival(height: int) -> tuple[int, float, float, float]:
    """As :func:`run_ours`, with the whole raster in memory."""
    before = _memory('VmRSS')
    raster = np.vstack(list(strips(height)))
    start = time.process_time()
    polygons = [shapely.geometry.shape(outline) for outline, _ in shapes(raster)]
    seconds = time.process_time() - start
    area = float(shapely.area(polygons).sum())
    return len(polygons), area, seconds, _memory('VmHWM') - before


def _memory(key: str) -> float:
    """Of this process in MB, from the kernel of Linux: now, or at most so far."""
    line = next(s for s in Path('/proc/self/status').read_text().splitlines() if s.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--height', type=int, nargs='+', default=(5000, 20_000))
    args = parser.parse_args()

    def apart(function, height: int):
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(function, height).result()

    console = Console()
    console.print(apart(prove, min(args.height)))
    table = Table('height', 'polygons by', 'regions', 'area, pixels', 's', 'memory, MB')
    for height in args.height:
        for name, function in (('geo_mm', run_ours), ('rasterio', run_rival)):
            count, area, seconds, memory = apart(function, height)
            table.add_row(
                f'{height}', name, f'{count}', f'{area:.0f}', f'{seconds:.1f}', f'{memory:.0f}'
            )
    console.print(table)


if __name__ == '__main__':
    main()
