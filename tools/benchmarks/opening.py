"""How soon training starts on many scenes, and what memory and open files that takes.

Makes tiny scenes in three UTM zones, with labels in one GeoPackage for all or in a file
for each, and a catalog of them with ``geo-mm catalog``. Then a fresh process makes the
dataset and its sampler and reads a few chips, from the catalog and from a plain list of
files; it counts what is opened in between. CPU time is user and system time of the
process, without importing the libraries.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from rich.console import Console
from rich.progress import track
from rich.table import Table

SIDE, BANDS, GSD = 64, 3, 10.0
ZONES = ('EPSG:32616', 'EPSG:32617', 'EPSG:32618')
PER_SCENE = 20  # polygons


def make_scenes(folder: Path, count: int, labels: str) -> None:
    """Scenes, and labels in one GeoPackage or in one file (GeoPackage, GeoTIFF) each."""
    (folder / 'images').mkdir(parents=True)
    (folder / 'labels').mkdir()
    rng = np.random.default_rng(0)
    parts = []
    for number in track(range(count), description='making scenes', transient=True):
        col, row = divmod(number // len(ZONES), 100)
        west, north = 400_000 + col * SIDE * GSD, 4_000_000 - row * SIDE * GSD
        profile = {
            'driver': 'GTiff', 'width': SIDE, 'height': SIDE, 'crs': ZONES[number % len(ZONES)],
            'transform': Affine.translation(west, north) @ Affine.scale(GSD, -GSD),
        }  # fmt: skip
        name = f'{number:05}'
        data = rng.integers(1, 255, (BANDS, SIDE, SIDE), np.uint8)
        with rasterio.open(
            folder / 'images' / f'{name}.tif', 'w', count=BANDS, dtype='uint8', nodata=0, **profile
        ) as dataset:
            dataset.write(data)
        if labels == 'rasters':
            with rasterio.open(
                folder / 'labels' / f'{name}.tif', 'w', count=1, dtype='uint8', **profile
            ) as dataset:
                dataset.write((data[0] > 127).astype(np.uint8), 1)
            continue
        x = west + rng.uniform(20, SIDE * GSD - 40, PER_SCENE)
        y = north - rng.uniform(20, SIDE * GSD - 40, PER_SCENE)
        boxes = gpd.GeoDataFrame(geometry=shapely.box(x, y, x + 20, y + 20), crs=profile['crs'])
        if labels == 'layers':
            boxes.to_file(folder / 'labels' / f'{name}.gpkg')
        else:
            parts.append(boxes)
    if labels == 'one':
        zones = [gpd.pd.concat(parts[zone :: len(ZONES)]) for zone in range(len(ZONES))]
        whole = gpd.pd.concat([zone.to_crs('EPSG:4326') for zone in zones])
        whole.to_file(folder / 'labels.gpkg')


def label_pattern(folder: Path, labels: str) -> str:
    of_each = {'layers': 'labels/{stem}.gpkg', 'rasters': 'labels/{stem}.tif'}
    return str(folder / of_each.get(labels, 'labels.gpkg'))


@contextlib.contextmanager
def counted_openings(counts: dict) -> Iterator[None]:
    """How many rasters and layers are opened meanwhile."""
    import pyogrio

    counts.update(rasters=0, layers=0)
    originals = rasterio.open, pyogrio.read_dataframe

    def open_raster(*args, **kwargs):
        counts['rasters'] += 1
        return originals[0](*args, **kwargs)

    def read_layer(*args, **kwargs):
        counts['layers'] += 1
        return originals[1](*args, **kwargs)

    rasterio.open, pyogrio.read_dataframe = open_raster, read_layer
    try:
        yield
    finally:
        rasterio.open, pyogrio.read_dataframe = originals


def start(scenes: object, positive_share: float, chips: int, workers: int) -> dict:
    """Times of one start, in this process."""
    import torch
    from mmengine.registry import init_default_scope

    from geo_mm.datasets import GeoSegDataset, RandomChipSampler

    init_default_scope('mmseg')
    before, found = memory(), {}
    wall, cpu = time.perf_counter(), time.process_time()
    with counted_openings(found):
        dataset = GeoSegDataset(
            scenes=scenes,
            metainfo={'classes': ('background', 'any')},
            label_cfg={'class_map': {0: 'background', 1: 'any'}} if is_raster(scenes) else {},
            chip_size=32,
            pipeline=[{'type': 'geo_mm.LoadChip'}, {'type': 'geo_mm.LoadChipClasses'}],
        )
        sampler = RandomChipSampler(dataset, infinite=True, positive_share=positive_share, seed=0)
    found |= wall_and_cpu(wall, cpu)
    found['memory'] = memory() - before
    wall = time.perf_counter()
    loader = torch.utils.data.DataLoader(
        dataset, sampler=sampler, num_workers=workers, collate_fn=len, batch_size=1
    )
    most = 0
    for _, _batch in zip(range(chips), loader, strict=False):
        most = max(most, len(os.listdir('/proc/self/fd')))
    found |= {'chips': time.perf_counter() - wall, 'files': most, 'after': memory() - before}
    return found


def is_raster(scenes: object) -> bool:
    return 'rasters' in str(scenes)


def wall_and_cpu(wall: float, cpu: float) -> dict:
    return {'wall': time.perf_counter() - wall, 'cpu': time.process_time() - cpu}


def memory() -> float:
    """Resident memory of this process in MB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return int(line.split()[1]) / 1024
    return 0.0


def measured(command: list[str]) -> dict:
    """Last line of a process's output, as JSON."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def make_catalog(folder: Path, labels: str) -> tuple[float, float]:
    """Wall and CPU seconds of ``geo-mm catalog``."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ['catalog', str(folder / 'images'), '--labels', label_pattern(folder, labels)]
    subprocess.run(
        [sys.executable, '-m', 'geo_mm.cli', *command, '-o', str(folder / 'catalog.gpkg')],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--scenes', type=int, default=1000)
    add('--labels', choices=('one', 'layers', 'rasters'), default='one')
    add('--positive-share', type=float, default=0.0)
    add('--chips', type=int, default=200, help='read after the start')
    add('--workers', type=int, default=0)
    add('--folder', help='keep the scenes here, or take those of an earlier run')
    add('--plain', action='store_true', help='measure a plain list of files, too')
    add('--start', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start:
        scenes = json.loads(args.start)
        print(json.dumps(start(scenes, args.positive_share, args.chips, args.workers)))
        return
    with contextlib.ExitStack() as stack:
        folder = Path(args.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        folder /= f'{args.labels}_{args.scenes}'
        if not folder.exists():
            make_scenes(folder, args.scenes, args.labels)
        wall, cpu = make_catalog(folder, args.labels)
        table = Table(
            f'{args.scenes} scenes', 'wall s', 'CPU s', 'rasters', 'layers', 'MB', 'files',
            f's of {args.chips} chips', 'MB after',
        )  # fmt: skip
        table.add_row('geo-mm catalog', f'{wall:.1f}', f'{cpu:.1f}')
        sources: dict[str, object] = {'start from catalog': str(folder / 'catalog.gpkg')}
        if args.plain:
            image = str(folder / 'images' / '*.tif')
            sources['start from list'] = [
                {'image': image, 'labels': label_pattern(folder, args.labels)}
            ]
        for name, scenes in sources.items():
            found = measured([*sys.orig_argv, '--start', json.dumps(scenes)])
            table.add_row(
                name, f'{found["wall"]:.1f}', f'{found["cpu"]:.1f}', f'{found["rasters"]}',
                f'{found["layers"]}', f'{found["memory"]:.0f}', f'{found["files"]}',
                f'{found["chips"]:.1f}', f'{found["after"]:.0f}',
            )  # fmt: skip
        Console().print(table)


if __name__ == '__main__':
    main()
