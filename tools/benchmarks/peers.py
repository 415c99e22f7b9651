"""One scene by one U-Net through geo_mm and through three others, each in its own process.

- MMSegmentation: RSInferencer, from file to file. It reads and writes with GDAL's own Python
                  bindings, in whose place a few lines with rasterio stand here
- terratorch:     tiled_inference of the scene as one tensor
- Raster Vision:  SemanticSegmentationSmoothLabels, also with the edges of tiles discarded
- not tiled:      the whole scene in one forward pass; to compare seams with

The code of the last two packages is theirs, taken from their wheels without
what else they need:

    pip download --no-deps -d work_dirs/peers terratorch==1.2.13 rastervision_core==0.31.1
    cd work_dirs/peers && unzip '*.whl'

All use the same network and tiles of 512 that share 128, one at a time, and end
with a GeoTIFF of classes. Memory is the peak above that with the model loaded. Seams: the mean
difference between pixels on both sides of where a tile (or what is used of it)
begins or ends, over that of neighbours elsewhere; divided by the same for the
scene that is not tiled. Of probabilities and of classes; 1 means that no tile
can be told.
"""

# ruff: noqa: N802  (names are GDAL's)
import argparse
import contextlib
import importlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import remote_sense_inferencer
from predict import MB, MEAN, OVERLAP, STD, TILE, resident, unet_config, write_checkpoint
from predict import write_scene as write_ground
from rasterio.windows import Window as RasterioWindow
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.inference import Predictor
from geo_mm.raster import tile_plan

STRIDE = TILE - OVERLAP


@dataclass
class Outcome:
    """What a method gave.

    Attributes:
        classes: ``(height, width)``.
        cols: Columns at which a tile begins or ends; rows are the same.
        probabilities: ``(classes, height, width)`` where the method has them;
            a function if they are to be made after the measurement.
    """

    classes: np.ndarray
    cols: set[int]
    probabilities: np.ndarray | Callable[[], np.ndarray] | None = None


@dataclass
class Network:
    """The model, and how long it computes."""

    checkpoint: str
    options: dict = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        options = dict(tile=TILE, overlap=OVERLAP, batch_size=1) | self.options
        self.predictor = Predictor(self.checkpoint, device='cpu', **options)
        self.model = self.predictor.models[0].model
        for part in (self.model.backbone, self.model.decode_head):
            part.forward = self._timed(part.forward)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities ``(n, classes, h, w)`` of normalised images."""
        with torch.inference_mode():
            return self.model(image, mode='tensor').softmax(1)

    def _timed(self, work: Callable) -> Callable:
        def timed(*args, **kwargs):
            start = time.thread_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - start

        return timed


# ---- the methods -------------------------------------------------------------------


def geo_mm(network: Network, scene: str, out: Path) -> Outcome:
    with rasterio.open(network.predictor.predict(scene, out).files[0]) as dataset:
        classes = dataset.read(1)
    plan = tile_plan(*classes.shape[::-1], TILE, OVERLAP)
    crop = network.options.get('blend') == 'crop'
    spans = [tile.core if crop else tile.window for tile in plan]
    cols = {col for span in spans for col in (span.col_off, span.col_end)}

    def probabilities() -> np.ndarray:
        again = Network(network.checkpoint, {**network.options, 'probabilities': 'float32'})
        return again.predictor.predict(scene).probabilities

    return Outcome(classes, cols, probabilities)


def mmsegmentation(network: Network, scene: str, out: Path) -> Outcome:
    init_default_scope('mmseg')
    remote_sense_inferencer.gdal = gdal_by_rasterio()
    network.model.cfg = Config(
        {'test_pipeline': [{'type': 'LoadImageFromNDArray'}, {'type': 'PackSegInputs'}]}
    )
    inferencer = remote_sense_inferencer.RSInferencer.from_model(network.model)
    image = remote_sense_inferencer.RSImage(scene)
    inferencer.run(image, (TILE, TILE), (STRIDE, STRIDE), str(out))
    with rasterio.open(out) as dataset:
        classes = dataset.read(1)
    return Outcome(classes, {x + crop for x, _, _, _, crop, *_ in image.grids})


def terratorch(network: Network, scene: str, out: Path) -> Outcome:
    with packages('terratorch', 'terratorch.models', 'terratorch.tasks'):
        unused = sys.modules['terratorch.models.utils'] = types.ModuleType('utils')
        unused.pad_images = None  # which it imports, but does not call here
        tiled = importlib.import_module('terratorch.tasks.tiled_inference')
    image = normalised(scene)[None]
    found = tiled.tiled_inference(network, image, crop=TILE, stride=STRIDE, batch_size=1)[0]
    classes = found.argmax(0).numpy()
    write_classes(classes, scene, out)
    delta = 8  # its default: what is cut off each tile
    chips = tiled.get_input_chips(image, TILE, STRIDE, TILE, STRIDE, delta, True, 'reflect')
    spans = [chip.input_coords[1] for chip in chips]
    cols = {col - delta for span in spans for col in (span.start, span.stop)}
    return Outcome(classes, cols, found.numpy())


def raster_vision(network: Network, scene: str, out: Path, crop: int | None = None) -> Outcome:
    names = ('', '.pipeline', '.core', '.core.utils', '.core.data', '.core.data.label')
    with packages(*(f'rastervision{name}' for name in names)):
        shown = sys.modules['rastervision.pipeline.utils'] = types.ModuleType('utils')
        shown.repr_with_args = lambda *args, **kwargs: ''  # how it prints its boxes
        label = sys.modules['rastervision.core.data.label']
        label.Labels = importlib.import_module('rastervision.core.data.label.labels').Labels
        labels = importlib.import_module(
            'rastervision.core.data.label.semantic_segmentation_labels'
        )
        box = importlib.import_module('rastervision.core.box').Box
    with rasterio.open(scene) as dataset:
        extent = box(0, 0, dataset.height, dataset.width)
        windows = extent.get_windows(TILE, STRIDE)
        predictions = (
            network(normalised(dataset, window.xmin, window.ymin)[None])[0].numpy()
            for window in windows
        )
        kept = labels.SemanticSegmentationSmoothLabels.from_predictions(
            windows, predictions, extent, len(network.predictor.spec.classes), crop_sz=crop
        )
    with np.errstate(invalid='ignore'):  # what is discarded at the scene's edge has no score
        classes = kept.get_label_arr(extent, 255).astype(np.uint8)
        write_classes(classes, scene, out)
        spans = [window.center_crop(crop or 0, crop or 0) for window in windows]
        cols = {col for span in spans for col in (span.xmin, span.xmax)}
        return Outcome(classes, cols, lambda: kept.get_score_arr(extent).astype(np.float32))


def not_tiled(network: Network, scene: str, out: Path) -> Outcome:
    found = network(normalised(scene)[None])[0].numpy()
    classes = found.argmax(0).astype(np.uint8)
    write_classes(classes, scene, out)
    plan = tile_plan(*classes.shape[::-1], TILE, OVERLAP)
    return Outcome(classes, {t.window.col_off for t in plan}, found)


METHODS: dict[str, tuple[Callable, dict]] = {
    'geo_mm': (geo_mm, {}),
    'geo_mm --blend crop': (geo_mm, {'blend': 'crop'}),
    'MMSegmentation RSInferencer': (mmsegmentation, {}),
    'terratorch tiled_inference': (terratorch, {}),
    'Raster Vision smooth': (raster_vision, {}),
    'Raster Vision smooth, crop_sz=64': (partial(raster_vision, crop=OVERLAP // 2), {}),
    'not tiled': (not_tiled, {}),
}
"""What is called, and options of geo_mm."""


# ---- what they need ----------------------------------------------------------------


@contextlib.contextmanager
def packages(*names: str) -> Iterator[None]:
    """Empty packages over the folders of real ones: their modules can be imported, but what
    their ``__init__`` would load is not needed."""
    for name in names:
        package = sys.modules[name] = types.ModuleType(name)
        folders = (Path(path, *name.split('.')) for path in sys.path)
        package.__path__ = [str(folder) for folder in folders if folder.is_dir()]
    yield


def normalised(
    scene: str | rasterio.DatasetReader, left: int | None = None, top: int = 0
) -> torch.Tensor:
    """A scene, or a tile of it padded with zeros, as the network takes it."""
    if isinstance(scene, str):
        with rasterio.open(scene) as dataset:
            return normalised(dataset)
    window = None if left is None else RasterioWindow(left, top, TILE, TILE)
    pixels = scene.read(window=window, boundless=window is not None, fill_value=0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (torch.from_numpy(pixels).float() - mean) / std


def write_classes(classes: np.ndarray, scene: str, out: Path) -> None:
    with rasterio.open(scene) as dataset:
        profile = dataset.profile | {'count': 1, 'dtype': 'uint8', 'photometric': None}
    with rasterio.open(out, 'w', **profile) as dataset:
        dataset.write(classes.astype(np.uint8), 1)


def gdal_by_rasterio() -> types.SimpleNamespace:
    """As much of ``osgeo.gdal`` as RSInferencer calls."""

    class Dataset:
        def __init__(self, dataset) -> None:
            self.dataset = dataset
            self.RasterXSize, self.RasterYSize = dataset.width, dataset.height
            self.RasterCount = dataset.count

        def GetGeoTransform(self):
            return self.dataset.transform

        def GetProjection(self):
            return self.dataset.crs

        def SetGeoTransform(self, transform) -> None:
            self.dataset.transform = transform

        def SetProjection(self, crs) -> None:
            self.dataset.crs = crs

        def GetRasterBand(self, number: int):
            def write(values, left, top):
                window = RasterioWindow(left, top, *values.shape[::-1])
                self.dataset.write(values.astype(np.uint8), number, window=window)

            return types.SimpleNamespace(WriteArray=write)

        def ReadAsArray(self, *window):
            return self.dataset.read(window=RasterioWindow(*window) if window else None)

    class Driver:
        def Create(self, path, width, height, count, dtype):
            profile = {'driver': 'GTiff', 'width': width, 'height': height, 'count': count}
            return Dataset(rasterio.open(path, 'w', dtype='uint8', **profile))

    return types.SimpleNamespace(
        Dataset=Dataset,
        GA_ReadOnly=0,
        GDT_Byte=1,
        Open=lambda path, mode: Dataset(rasterio.open(path)),
        GetDriverByName=lambda name: Driver(),
    )


# ---- measuring ---------------------------------------------------------------------


def seams(values: np.ndarray, cols: Iterable[int]) -> float:
    """Mean step across the tiles' borders over that elsewhere, along both axes."""
    ratios = []
    for axis in (-1, -2):
        steps = np.moveaxis(np.abs(np.diff(values, axis=axis)), axis, 0)
        steps = steps.reshape(len(steps), -1)
        at = np.isin(np.arange(1, len(steps) + 1), list(cols))
        ratios.append(np.nanmean(steps[at]) / np.nanmean(steps[~at]))
    return float(np.mean(ratios))


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    return (classes == np.arange(count)[:, None, None]).astype(np.float32)


def child(method: str, checkpoint: str, scene: str, out: str) -> None:
    """Runs a method, and prints what it took."""
    function, options = METHODS[method]
    network = Network(checkpoint, options)
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    loaded, clock, used = resident('VmRSS'), time.perf_counter(), time.process_time()
    outcome = function(network, scene, Path(out))
    row = {
        'clock': time.perf_counter() - clock,
        'CPU': time.process_time() - used,
        'forward': network.seconds,
        'peak': (resident('VmHWM') - loaded) / MB,
    }
    found = outcome.probabilities
    found = found() if callable(found) else found
    whole = network(normalised(scene)[None])[0].numpy()
    row['jump'] = None if found is None else seams(found, outcome.cols) / seams(whole, outcome.cols)
    classes, whole = one_hot(outcome.classes, len(whole)), one_hot(whole.argmax(0), len(whole))
    row['changes'] = seams(classes, outcome.cols) / seams(whole, outcome.cols)
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--side', type=int, default=3008, help='of the scene; a multiple of 16')
    parser.add_argument('--peers', default='work_dirs/peers', help='where the wheels were unpacked')
    parser.add_argument('--only', nargs='+', default=list(METHODS), help='methods')
    parser.add_argument('--child', nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    if args.child:
        child(*args.child)
        return
    table = Table(
        '', 'clock, s', 'CPU, s', 'without forward', 'memory, MB', 'p seams', 'class seams'
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = write_checkpoint(unet_config(), folder / 'unet.pth')
        scene = write_ground(folder / 'scene.tif', args.side, args.side)
        for number, method in enumerate(track(args.only, description='measuring')):
            command = [sys.executable, __file__, '--child', method]
            done = subprocess.run(
                [*command, checkpoint, scene, folder / f'{number}.tif'],
                env={
                    **os.environ,
                    'PYTHONPATH': f'{os.environ.get("PYTHONPATH", "")}:{args.peers}',
                },
                check=True,
                timeout=1800,  # RSInferencer's threads wait for ever if one of them fails
                stdout=subprocess.PIPE,
                text=True,
            )
            row = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                method,
                f'{row["clock"]:.1f}',
                f'{row["CPU"]:.1f}',
                f'{row["CPU"] - row["forward"]:.1f}',
                f'{row["peak"]:.0f}',
                '' if row['jump'] is None else f'{row["jump"]:.2f}',
                f'{row["changes"]:.2f}',
            )
    Console(width=120).print(table)


if __name__ == '__main__':
    main()
