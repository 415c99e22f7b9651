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
RandomGeoSampler if it is installed. It prints how even the chips are over four
epochs (p of a chi-square of their places, in cells of a block) and how well batches are
mixed (share of pairs of chips of a batch that begin in one block).
"""

import argparse
import contextlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault('GDAL_CACHEMAX', '256')

import numpy as np
import rasterio
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
from geo_mm.raster import Scene, handles

SIZE, BLOCK, CHIP, BANDS, BATCH = 6144, 512, 256, 4, 8
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


def epoch_rows(path: Path, workers: int) -> dict[str, Callable[[], int]]:
    """What reads an epoch of chips, by name; each returns how many."""
    dataset = chip_dataset(path, PIPELINE)
    options = {'num_workers': workers, 'batch_size': BATCH}
    plain = {'collate_fn': list, **options}
    samplers = {
        'random': RandomChipSampler(dataset, seed=0),
        'blocks': BlockChipSampler(dataset, seed=0, batch_size=BATCH),
    }
    stored = chip_dataset(path, [{**PIPELINE[0], 'stored': True}])
    rows: dict[str, Callable[[], int]] = {
        'random order': lambda: epoch(
            DataLoader(ByIndex(dataset), sampler=samplers['random'], **plain)
        ),
        'block order': lambda: epoch(
            DataLoader(ByIndex(dataset), sampler=samplers['blocks'], **plain)
        ),
        'block order, stacked': lambda: epoch(
            DataLoader(
                ByIndex(stored), sampler=samplers['blocks'], collate_fn=stack_chips, **options
            )
        ),
    }
    with contextlib.suppress(ImportError):
        rows['TorchGeo'] = torchgeo_row(path, options)
    return rows


class ByIndex(Dataset):
    """Chips as tensors, as packed ones are."""

    def __init__(self, chips: GeoSegDataset) -> None:
        self.chips = chips

    def __getitem__(self, index: int) -> dict:
        image = self.chips[index]['img'].transpose(2, 0, 1)
        return {'inputs': torch.from_numpy(image)}

    def __len__(self) -> int:
        return len(self.chips)


def epoch(loader: Iterable) -> int:
    """Chips of one epoch of a loader."""
    return sum(len(batch['inputs'] if isinstance(batch, dict) else batch) for batch in loader)


def torchgeo_row(path: Path, options: dict) -> Callable[[], int]:
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler

    dataset = RasterDataset(str(path))
    sampler = RandomGeoSampler(dataset, size=CHIP, length=SIZE**2 // CHIP**2)
    loader = DataLoader(dataset, sampler=sampler, collate_fn=stack_samples, **options)
    return lambda: sum(len(batch['image']) for batch in loader)


def chip_dataset(path: Path, pipeline: list) -> GeoSegDataset:
    return GeoSegDataset(
        scenes=str(path), metainfo={'classes': ('any',)}, chip_size=CHIP, pipeline=pipeline
    )


def cpu_time() -> float:
    """Of this process and of its children that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(found.ru_utime + found.ru_stime for found in times)


def measure_epochs(path: Path, workers: int, repeats: int) -> dict[str, float]:
    """Most chips per second of CPU time, the rows taking turns, and that of decoding in order."""
    whole = path.with_stem(f'{path.stem}_whole')
    shutil.copy(path, whole)
    with rasterio.open(whole) as bare:
        rows = epoch_rows(path, workers)
        rows['in order'] = lambda: (read_blocks(bare), SIZE**2 // CHIP**2)[1]
        best = dict.fromkeys(rows, 0.0)
        for _ in range(repeats):
            for name, read in rows.items():
                drop_blocks()
                start = cpu_time()
                count = read()
                best[name] = max(best[name], count / (cpu_time() - start))
    return best


def drop_blocks() -> None:
    """Close this thread's files, and so drop their blocks from GDAL's cache."""
    handles.close_all()


def evenness_and_mixing(path: Path, sampler_of: Callable) -> tuple[float, float]:
    """Chi-square p of chips' places over four epochs, and share of pairs within a block."""
    dataset = chip_dataset(path, PIPELINE)
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


def report_epochs(folder: Path, repeats: int) -> None:
    table = Table('chips per CPU second', '0 workers', 'of in order', '2 workers')
    for compress in (None, 'deflate'):
        path = folder / f'{compress or "raw"}.tif'
        make_scene(path, compress)
        found = [measure_epochs(path, workers, repeats) for workers in (0, 2)]
        for name, rate in found[0].items():
            share = f'{rate / found[0]["in order"]:.2f}'
            table.add_row(f'{path.stem}, {name}', f'{rate:.0f}', share, f'{found[1][name]:.0f}')
    Console().print(table)
    for kind in (RandomChipSampler, BlockChipSampler):
        batch = {'batch_size': BATCH} if kind is BlockChipSampler else {}
        p, mixed = evenness_and_mixing(path, lambda d: kind(d, seed=0, **batch))  # noqa: B023
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
    args = parser.parse_args()
    init_default_scope('mmseg')
    if args.epochs:
        with tempfile.TemporaryDirectory() as folder:
            report_epochs(Path(folder), args.repeats)
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
