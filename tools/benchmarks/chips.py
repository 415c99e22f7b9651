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

``--epochs`` measures whole epochs of 1x coverage in CPU time instead, workers
included: random order, block order, chips stacked in the worker, and TorchGeo's
RandomGeoSampler if it is installed. Cases are one scene, one scene with 5000
polygons burnt into classes of pixels, and three scenes in three UTM zones. It
prints how even the chips are over four epochs (p of a chi-square of their places,
in cells of a block) and how well batches are mixed (share of pairs of chips of a
batch that begin in one block).
"""

import argparse
import contextlib
import functools
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault('GDAL_CACHEMAX', '256')

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import torch
from affine import Affine
from mmengine.registry import init_default_scope
from rasterio.windows import Window as RasterioWindow
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from geo_mm.datasets import BlockChipSampler, GeoSegDataset, RandomChipSampler, stack_chips
from geo_mm.engine.acceleration import keep_freed_memory
from geo_mm.raster import Scene, handles

SIZE, BLOCK, CHIP, BANDS, BATCH = 6144, 512, 256, 4, 8
ZONES = ('EPSG:32616', 'EPSG:32617', 'EPSG:32618')
CASES = ('image', 'labels', 'zones')
POLYGONS = 5000
PIPELINE = [{'type': 'geo_mm.LoadChip'}]
TRANSFORM = Affine.translation(500_000, 4_000_000) @ Affine.scale(0.5, -0.5)


def make_scene(path: Path, compress: str | None, size: int = SIZE, crs: str = ZONES[1]) -> None:
    """Smooth ground with noise: compresses about as imagery does."""
    profile = {
        'driver': 'GTiff',
        'width': size,
        'height': size,
        'count': BANDS,
        'dtype': 'uint16',
        'crs': crs,
        'transform': TRANSFORM,
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


def make_case(folder: Path, case: str, compress: str | None) -> 'tuple[list[Path], Path | None]':
    """The scenes of a case and its labels."""
    folder.mkdir()
    if case == 'zones':
        paths = [folder / f'{crs[-2:]}.tif' for crs in ZONES]
        for path, crs in zip(paths, ZONES, strict=True):
            make_scene(path, compress, SIZE // 2, crs)
        return paths, None
    make_scene(folder / 'a.tif', compress)
    labels = make_labels(folder / 'labels.gpkg') if case == 'labels' else None
    return [folder / 'a.tif'], labels


def make_labels(path: Path) -> Path:
    """Octagons of 10 to 50 pixels all over the scene."""
    rng = np.random.default_rng(0)
    middles = rng.uniform(50, SIZE - 50, (POLYGONS, 2))
    centres = shapely.points(np.column_stack(TRANSFORM @ middles.T))
    shapes = shapely.buffer(centres, rng.uniform(2.5, 12.5, POLYGONS), quad_segs=2)
    gpd.GeoDataFrame(geometry=shapes, crs=ZONES[1]).to_file(path)
    return path


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


def epoch_rows(
    paths: list[Path], labels: Path | None, workers: int
) -> dict[str, Callable[[], int]]:
    """What reads an epoch of chips, by name; each returns how many."""
    options = {'num_workers': workers, 'batch_size': BATCH}
    plain = chip_dataset(paths, labels)
    stored = chip_dataset(paths, labels, stored=True)
    samplers = {
        'random': RandomChipSampler(plain, seed=0),
        'blocks': BlockChipSampler(plain, seed=0, batch_size=BATCH),
    }
    parts = {
        'random order': (plain, 'random', list),
        'block order': (plain, 'blocks', list),
        'random order, stacked': (stored, 'random', stack_chips),
        'block order, stacked': (stored, 'blocks', stack_chips),
    }
    rows: dict[str, Callable[[], int]] = {}
    for name, (dataset, order, collate) in parts.items():
        loader = DataLoader(
            ByIndex(dataset), sampler=samplers[order], collate_fn=collate, **options
        )
        rows[name] = functools.partial(epoch, loader)
    with contextlib.suppress(ImportError):
        rows['TorchGeo'] = torchgeo_row(paths, labels, options)
    return rows


class ByIndex(Dataset):
    """Chips as tensors, as packed ones are."""

    def __init__(self, chips: GeoSegDataset) -> None:
        self.chips = chips

    def __getitem__(self, index: int) -> dict:
        found = self.chips[index]
        item = {'inputs': torch.from_numpy(found['img'].transpose(2, 0, 1))}
        if 'gt_seg_map' in found:
            item['classes'] = torch.from_numpy(found['gt_seg_map'])
        return item

    def __len__(self) -> int:
        return len(self.chips)


def epoch(loader: Iterable) -> int:
    """Chips of one epoch of a loader."""
    return sum(len(batch['inputs'] if isinstance(batch, dict) else batch) for batch in loader)


def torchgeo_row(paths: list[Path], labels: Path | None, options: dict) -> Callable[[], int]:
    from torchgeo.datasets import RasterDataset, VectorDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler

    dataset = RasterDataset([str(path) for path in paths])
    if labels is not None:
        dataset = dataset & VectorDataset(str(labels))
    chips = count_chips(paths)
    # Pixels of the scene are half a unit of its map.
    sampler = RandomGeoSampler(dataset, size=CHIP, length=chips)
    loader = DataLoader(dataset, sampler=sampler, collate_fn=stack_samples, **options)
    return lambda: sum(len(batch['image']) for batch in loader)


def count_chips(paths: list[Path]) -> int:
    """Chips that cover as many pixels as the scenes have."""
    return SIZE**2 // CHIP**2 if len(paths) == 1 else len(paths) * (SIZE // 2) ** 2 // CHIP**2


def chip_dataset(
    paths: list[Path], labels: Path | None = None, stored: bool = False
) -> GeoSegDataset:
    steps = [{**PIPELINE[0], 'stored': stored}]
    scenes = [{'image': str(path)} for path in paths]
    if labels is not None:
        steps += [{'type': 'geo_mm.LoadChipClasses'}]
        scenes = [{**scene, 'labels': str(labels)} for scene in scenes]
    return GeoSegDataset(
        scenes=scenes,
        metainfo={'classes': ('background', 'any')},
        label_cfg={'background': 'background'},
        chip_size=CHIP,
        pipeline=steps,
    )


def cpu_time() -> float:
    """Of this process and of its children that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(found.ru_utime + found.ru_stime for found in times)


def measure_epochs(
    paths: list[Path], labels: Path | None, workers: int, repeats: int
) -> dict[str, float]:
    """Most chips per second of CPU time, the rows taking turns, and that of decoding in order."""
    rows = epoch_rows(paths, labels, workers)
    rows['in order'] = functools.partial(decode, paths)
    best = dict.fromkeys(rows, 0.0)
    for _ in range(repeats):
        for name, read in rows.items():
            drop_blocks()
            start = cpu_time()
            count = read()
            best[name] = max(best[name], count / (cpu_time() - start))
    return best


def decode(paths: list[Path]) -> int:
    """Decodes every block once, from files that are opened anew, so that none is in the cache."""
    for path in paths:
        with rasterio.open(path) as dataset:
            read_blocks(dataset)
    return count_chips(paths)


def drop_blocks() -> None:
    """Close this thread's files, and so drop their blocks from GDAL's cache."""
    handles.close_all()


def evenness_and_mixing(path: Path, sampler_of: Callable) -> tuple[float, float]:
    """Chi-square p of chips' places over four epochs, and share of pairs within a block."""
    dataset = chip_dataset([path])
    sampler = sampler_of(dataset)
    places = []
    for number in range(4):
        sampler.set_epoch(number)
        places += [dataset.chip_space.locate(index)[1] for index in sampler]
    starts = np.array([(window.row_off, window.col_off) for window in places])
    cells = ((starts / (SIZE - CHIP + 1)) * (SIZE // BLOCK)).astype(int)
    seen = np.bincount(cells[:, 0] * (SIZE // BLOCK) + cells[:, 1], minlength=(SIZE // BLOCK) ** 2)
    blocks = (starts // BLOCK)[: len(starts) // BATCH * BATCH].reshape(-1, BATCH, 2)
    same = (blocks[:, :, None] == blocks[:, None]).all(-1).sum() - blocks.shape[0] * BATCH
    return stats.chisquare(seen).pvalue, same / (blocks.shape[0] * BATCH * (BATCH - 1))


def report_epochs(folder: Path, cases: list[str], workers: list[int], repeats: int) -> None:
    columns = (f'{count} workers' for count in workers)
    table = Table('chips per CPU second', *columns, 'of in order', 'of TorchGeo')
    whole = None
    for compress in (None, 'deflate'):
        for case in cases:
            title = f'{compress or "raw"}, {case}'
            paths, labels = make_case(folder / title, case, compress)
            found = [measure_epochs(paths, labels, count, repeats) for count in workers]
            for name in found[0]:
                of = [rates['in order'] for rates in found], [r.get('TorchGeo') for r in found]
                ratios = (
                    ' '.join(
                        f'{rates[name] / other:.2f}' if other else '-'
                        for rates, other in zip(found, others, strict=True)
                    )
                    for others in of
                )
                table.add_row(
                    f'{title}, {name}', *(f'{rates[name]:.0f}' for rates in found), *ratios
                )
            whole = paths[0] if len(paths) == 1 else whole
    Console(width=110).print(table)
    for kind in (RandomChipSampler, BlockChipSampler) if whole else ():
        batch = {'batch_size': BATCH} if kind is BlockChipSampler else {}
        make = functools.partial(kind, seed=0, **batch)
        p, mixed = evenness_and_mixing(whole, make)
        print(f'{kind.__name__}: chi-square p {p:.3f}, {mixed:.1%} of pairs within a block')


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
    parser.add_argument('--epochs', action='store_true', help='whole epochs, in CPU time')
    parser.add_argument('--cases', nargs='+', choices=CASES, default=CASES)
    parser.add_argument('--workers', nargs='+', type=int, default=[0, 2])
    args = parser.parse_args()
    init_default_scope('mmseg')
    if args.epochs:
        # For all rows, as in loader processes. A second thread of PyTorch that waits for
        # work counts as CPU time.
        torch.set_num_threads(1)
        keep_freed_memory()
        with tempfile.TemporaryDirectory() as folder:
            report_epochs(Path(folder), args.cases, args.workers, args.repeats)
        return
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
