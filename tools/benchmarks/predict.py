"""Memory and time of the prediction of pixels: geo_mm's whole engine, and its parts.

- memory:    a synthetic RGB scene of 20,000 pixels across, and one three times as
             high, through a network of one convolution, 5 classes, with GDAL's
             block cache at 64 MB; each in a process of its own. The peak is
             that of the process's resident memory (VmHWM, which the kernel
             keeps) less what was resident when the model had been loaded
- stitching: the time to add a tile to the strip, against a plain multiply-add of
             the same window with weights that are ready
- overhead:  the whole prediction of a scene by a U-Net, files and pictures
             included, against nothing but the network's forward passes over the
             same tiles, which are in memory: of the network as geo_mm runs it,
             in the same process, and as MMSegmentation builds it, with batch
             norms and memory as they come, in a process of its own
- scenes:    many scenes of a single tile, with all files that a prediction writes
             (GeoTIFF, style, quick look, record), against a loop of reading, the
             forward pass of the same network over as many at a time, and writing
             the classes as a GeoTIFF

What is compared takes turns, and medians count. Time of the CPU says more than
time on the clock where other programs run.
"""

import argparse
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from rasterio.windows import Window as RasterioWindow
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.classes import ClassSet
from geo_mm.engine.acceleration import use_channels_last
from geo_mm.engine.launch import build_model, load_config
from geo_mm.inference import Predictor
from geo_mm.inference.runner import rows_of
from geo_mm.inference.scene_lists import find_scenes
from geo_mm.inference.scenes import predict_scenes
from geo_mm.inference.tile_merge import StripBlender
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene, tile_plan

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'unet' / 'unet-s5-d16-c16_adamw-2k_town-256x256.py'
CLASSES = ('background', 'building', 'road', 'tree', 'water')
MEAN, STD = [110.0, 110.0, 110.0], [40.0, 40.0, 40.0]
BLOCK, TILE, OVERLAP = 512, 512, 128
SMALL = 256
MB = 1 << 20


def unet_config(channels: int = 16) -> Config:
    """The shipped U-Net for the town, with three bands."""
    bands = {'model.data_preprocessor.mean': MEAN, 'model.data_preprocessor.std': STD}
    config = load_config(CONFIG, bands | {'model.backbone.in_channels': 3})
    config.model.backbone.base_channels = channels
    config.model.decode_head.update(in_channels=channels, channels=channels)
    config.model.auxiliary_head.update(in_channels=2 * channels, channels=channels)
    return config


def cheap_config() -> Config:
    """The same with a single 3 x 3 convolution of 4 channels before the classifier."""
    config = unet_config()
    config.model.auxiliary_head = None
    config.model.backbone.update(
        base_channels=4,
        num_stages=1,
        strides=(1,),
        enc_num_convs=(1,),
        enc_dilations=(1,),
        dec_num_convs=(),
        dec_dilations=(),
        downsamples=(),
    )
    config.model.data_preprocessor.update(size_divisor=1, test_cfg=dict(size_divisor=1))
    config.model.decode_head.update(in_index=0, in_channels=4, channels=4, num_convs=0)
    return config


def write_checkpoint(config: Config, path: Path) -> Path:
    """A checkpoint as geo-mm train writes it, with random weights."""
    spec = InputSpec(
        task='pixels',
        classes=ClassSet(CLASSES, background='background'),
        bands=('red', 'green', 'blue'),
        gsd=0.5,
        dtype='uint8',
        nodata='auto',
        mean=tuple(MEAN),
        std=tuple(STD),
        chip_size=(256, 256),
    )
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = build_model(config)
    model.init_weights()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)  # else no class ever wins clearly
    meta = {'cfg': config.pretty_text}
    torch.save({'meta': meta, 'state_dict': model.state_dict(), 'input_spec': spec.to_dict()}, path)
    return path


def write_scene(path: Path, width: int, height: int) -> Path:
    """RGB uint8 of 0.5 m: one block of noisy ground over and over, tiled and deflated."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((BLOCK, BLOCK))
    ground = 110 + 60 * np.sin(cols * 2 * np.pi / BLOCK) * np.cos(rows * 4 * np.pi / BLOCK)
    block = np.stack([ground, np.roll(ground, 100, 1), np.roll(ground, 150, 0)])
    block = (block // 8 * 8 + (rng.random(block.shape) < 0.05) * 8).astype(np.uint8)
    profile = {
        'driver': 'GTiff',
        'width': width,
        'height': height,
        'count': 3,
        'dtype': 'uint8',
        'crs': 'EPSG:32617',
        'transform': Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000),
        'tiled': True,
        'blockxsize': BLOCK,
        'blockysize': BLOCK,
        'compress': 'DEFLATE',
        'photometric': 'RGB',
        'interleave': 'pixel',
        'BIGTIFF': 'IF_SAFER',
    }
    with rasterio.open(path, 'w', **profile) as dataset:
        for _, window in dataset.block_windows(1):
            part = block[:, : window.height, : window.width]
            dataset.write(part, window=RasterioWindow(*window.flatten()))
    return path


# ---- memory --------------------------------------------------------------------


def memory(folder: Path, width: int, heights: list[int]) -> Table:
    """Each scene in a process of its own."""
    checkpoint = write_checkpoint(cheap_config(), folder / 'cheap.pth')
    table = Table('scene', 'file, MB', 'model loaded, MB', 'peak above it, MB', 's', 's / Mpixel')
    for height in track(heights, description='memory'):
        scene = write_scene(folder / f'{height}.tif', width, height)
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, '--child', checkpoint, scene, folder / 'out'],
                env={**os.environ, 'GDAL_CACHEMAX': '64'},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.splitlines()[-1]
        )
        table.add_row(
            f'{width} x {height}',
            f'{scene.stat().st_size / MB:.0f}',
            f'{found["loaded"] / MB:.0f}',
            f'{(found["peak"] - found["loaded"]) / MB:.0f}',
            f'{found["seconds"]:.0f}',
            f'{found["seconds"] / (width * height / 1e6):.3f}',
        )
        scene.unlink()
    return table


def child(checkpoint: str, scene: str, out: str) -> None:
    """Predicts, and prints what it took."""
    predictor = Predictor(checkpoint, device='cpu', tile=TILE, overlap=OVERLAP)
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    loaded, start = resident('VmRSS'), time.perf_counter()
    predictor.predict(scene, out)
    seconds = time.perf_counter() - start
    print(json.dumps({'loaded': loaded, 'peak': resident('VmHWM'), 'seconds': seconds}))


def resident(key: str) -> int:
    """Bytes of memory of this process, now (``'VmRSS'``) or at most (``'VmHWM'``)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


# ---- stitching -----------------------------------------------------------------


def stitching(repeats: int, width: int = 5000) -> Table:
    plan = tile_plan(width, 3 * TILE, TILE, OVERLAP)
    middle = rows_of(plan)[1]
    blender = StripBlender(plan, width, 3 * TILE, len(CLASSES))
    rng = np.random.default_rng(0)
    values = rng.random((len(CLASSES), TILE, TILE), np.float32)
    weights, valid = rng.random((TILE, TILE), np.float32), np.ones((TILE, TILE), bool)
    total = np.zeros((len(CLASSES), TILE, width), np.float32)

    def blended() -> None:
        blender.start(1)
        for _ in blender.row((tile, values, valid) for tile in middle):
            pass

    def added() -> None:
        for tile in middle:
            here = slice(tile.window.col_off, tile.window.col_end)
            total[:, :, here] += values * weights

    times: dict[str, list[float]] = {'geo_mm': [], 'plain': []}
    for _ in track(range(repeats), description='stitching'):
        times['geo_mm'].append(seconds(blended) / len(middle))
        times['plain'].append(seconds(added) / len(middle))
    ours, theirs = (np.median(times[key]) * 1e3 for key in ('geo_mm', 'plain'))
    table = Table('tile', 'geo_mm, ms', 'plain multiply-add, ms', 'ratio')
    table.add_row(
        f'{len(CLASSES)} x {TILE} x {TILE}',
        f'{ours:.2f}',
        f'{theirs:.2f}',
        f'{ours / theirs:.2f}',
    )
    return table


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---- overhead ------------------------------------------------------------------


def overhead(folder: Path, side: int, repeats: int, batch_size: int, channels: int) -> Table:
    checkpoint = write_checkpoint(unet_config(channels), folder / 'unet.pth')
    path = write_scene(folder / 'scene.tif', side, side)
    predictor = Predictor(
        checkpoint, device='cpu', tile=TILE, overlap=OVERLAP, batch_size=batch_size
    )
    batches = batches_of(predictor, path, batch_size)
    torch.save(batches, folder / 'batches.pt')
    works = {
        'whole prediction': lambda: clocks(lambda: predictor.predict(path, folder / 'out')),
        "forward passes of geo_mm's network": lambda: clocks(
            lambda: forward(predictor.models[0].model, batches)
        ),
        'forward passes in MMSegmentation': lambda: in_a_process(folder, channels),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in track(range(repeats + 1), description='overhead'):
        for name, work in works.items():
            times[name].append(work())
    whole, *bare = (np.median(found[1:], axis=0) for found in times.values())  # warm
    table = Table('', *works, 'ratios')
    for column, name in enumerate(('clock, s', 'CPU, s')):
        cells = [values[column] for values in (whole, *bare)]
        ratios = ', '.join(f'{cells[0] / cell:.3f}' for cell in cells[1:])
        table.add_row(name, *(f'{cell:.1f}' for cell in cells), ratios)
    return table


# ---- many small scenes -----------------------------------------------------------


def small_scenes(folder: Path, count: int, repeats: int, channels: int) -> Table:
    checkpoint = write_checkpoint(unet_config(channels), folder / 'unet.pth')
    full = Predictor(checkpoint, device='cpu')
    plain = Predictor(checkpoint, device='cpu', quicklook=False)
    paths = [write_scene(folder / f'{n}.tif', SMALL, SMALL) for n in range(count)]
    scenes = find_scenes(map(str, paths))
    works = {
        'geo_mm': lambda out: predict_scenes(full, scenes, out),
        'without quick look': lambda out: predict_scenes(plain, scenes, out),
        'loop': lambda out: loop(full, paths, out),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in track(range(repeats + 1), description='scenes'):
        for name, work in works.items():
            out = folder / f'{name}_{turn}'
            out.mkdir()
            times[name].append(clocks(functools.partial(work, out)))
    *ours, bare_loop = (np.median(found[1:], axis=0) / count * 1000 for found in times.values())
    table = Table('', *works, 'ratios')
    for column, name in enumerate(('clock, ms per scene', 'CPU, ms per scene')):
        cells = [values[column] for values in (*ours, bare_loop)]
        ratios = ', '.join(f'{cell / cells[-1]:.2f}' for cell in cells[:-1])
        table.add_row(name, *(f'{cell:.1f}' for cell in cells), ratios)
    return table


@torch.inference_mode()
def loop(predictor: Predictor, paths: list[Path], out: Path) -> None:
    """What somebody would write for scenes that are all alike."""
    model = predictor.models[0].model
    size = predictor.options.batch_size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for start in range(0, len(paths), size):
        pixels, profiles = [], []
        for path in paths[start : start + size]:
            with rasterio.open(path) as dataset:
                pixels.append(torch.from_numpy(dataset.read()))
                profiles.append(dataset.profile)
        classes = model((torch.stack(pixels) - mean) / std, mode='tensor').argmax(1).byte().numpy()
        for path, found, profile in zip(paths[start:], classes, profiles, strict=False):
            with rasterio.open(out / path.name, 'w', **(profile | {'count': 1})) as dataset:
                dataset.write(found, 1)


@torch.inference_mode()
def forward(model: torch.nn.Module, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        model(batch, mode='tensor')


def in_a_process(folder: Path, channels: int) -> tuple[float, float]:
    """Times of the forward passes in a process that geo_mm has not set up."""
    command = [sys.executable, __file__, '--bare', folder, '--channels', str(channels)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    clock, cpu = json.loads(found.stdout.splitlines()[-1])
    return clock, cpu


def bare(folder: Path, channels: int) -> None:
    """Prints the times of the forward passes over batches in a file."""
    config = unet_config(channels)
    init_default_scope(config.default_scope)
    model = build_model(config)
    load_checkpoint(model, str(folder / 'unet.pth'))
    use_channels_last(model.eval())
    batches = torch.load(folder / 'batches.pt')
    forward(model, batches[:2])
    print(json.dumps(clocks(lambda: forward(model, batches))))


def batches_of(predictor: Predictor, path: Path, batch_size: int) -> list[torch.Tensor]:
    """All tiles of a scene, normalised, as the network takes them."""
    scene, batches = Scene.open(path), []
    model, ensemble = predictor.models[0], predictor.ensemble
    for row in rows_of(tile_plan(scene.width, scene.height, TILE, OVERLAP)):
        for start in range(0, len(row), batch_size):
            loaded = [ensemble.load(scene, tile)[0][0] for tile in row[start : start + batch_size]]
            batch = {key: [item[key] for item in loaded] for key in ('inputs', 'data_samples')}
            batches.append(model.model.data_preprocessor(batch, False)['inputs'])
    return batches


def clocks(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of all CPUs for this process."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('what', nargs='*', help='memory, stitching, overhead, scenes; default: all')
    add('--workdir', help='folder for the scenes; temporary by default')
    add('--width', type=int, default=20_000, help='of the scenes for memory')
    add('--heights', type=int, nargs='+', default=[20_000, 60_000])
    add('--side', type=int, default=3000, help='of the scene for overhead')
    add(
        '--channels',
        type=int,
        default=16,
        help='of the U-Net for overhead and scenes; 64 is the full one',
    )
    add('--batch-size', type=int, default=2, help='for overhead')
    add('--scenes', type=int, default=500, help='how many small ones')
    add('--repeats', type=int, default=3, help='of overhead; stitching repeats itself more often')
    add('--child', nargs=3, help=argparse.SUPPRESS)
    add('--bare', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.disable(logging.INFO)  # MMEngine tells how it fills each weight
    if args.child:
        child(*args.child)
        return
    if args.bare:
        bare(args.bare, args.channels)
        return
    what = args.what or ['stitching', 'overhead', 'scenes', 'memory']
    with tempfile.TemporaryDirectory(dir=args.workdir) as name:
        folder = Path(name)
        for part in what:
            if part == 'memory':
                table = memory(folder, args.width, args.heights)
            elif part == 'stitching':
                table = stitching(30 * args.repeats)
            elif part == 'scenes':
                table = small_scenes(folder, args.scenes, args.repeats, args.channels)
            else:
                table = overhead(folder, args.side, args.repeats, args.batch_size, args.channels)
            Console().print(part, table, sep='\n')


if __name__ == '__main__':
    main()
