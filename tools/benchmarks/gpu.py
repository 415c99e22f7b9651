"""Images per second on a GPU: geo_mm's training and prediction against the bare model.

- train:   geo-mm train on the synthetic town, from files on the disk, against
           nothing but training steps of the same model on one batch that lies in
           the memory of the GPU. Iterations 21 to the last count
- predict: the whole prediction of a scene, in memory and with all files and
           pictures, against forward passes of the same network over as many
           tiles that lie in the memory of the GPU

Both in float32 (TF32 in convolutions, as PyTorch has it) and in mixed precision.
`--device cpu` runs all of it on a CPU, to try it.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from geo_mm.engine import TrainOptions, train
from geo_mm.engine.launch import build_model, load_config, use_amp
from geo_mm.inference import Predictor
from geo_mm.inference.ensemble import Ensemble
from geo_mm.registry import HOOKS
from geo_mm.synthetic import make_town

sys.path.insert(0, str(Path(__file__).parent))
from predict import OVERLAP, TILE, unet_config, write_checkpoint, write_scene

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SHIPPED = {
    'unet': 'unet/unet-s5-d16-c16_adamw-2k_town-256x256.py',
    'unet_r18': 'unet/unet_r18_adamw-2k_town-256x256.py',
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r18-c128_fpn_adamw-2k_town-256x256.py',
}
WARM = 20
"""Iterations and forward passes that do not count."""


@HOOKS.register_module()
class ClockHook(Hook):
    """Measures the iterations after the first ones."""

    priority = 'VERY_LOW'
    start = 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        if batch_idx + 1 == WARM:
            wait()
            self.start = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        wait()
        self.seconds = time.perf_counter() - self.start
        self.iterations = runner.iter - WARM


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(work: Callable[[], object], times: int, images: int) -> float:
    """Images per second of something done many times."""
    for _ in range(min(WARM, times)):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return times * images / (time.perf_counter() - start)


# ---- train ---------------------------------------------------------------------


def training(folder: Path, args: argparse.Namespace) -> Table:
    make_town(folder / 'town', scenes=4, size=(1024, 1024), seed=0)
    table = Table('training', 'precision', 'workers', 'geo_mm, images/s', 'bare', 'share')
    for name in args.models:
        for amp in (False, True):
            config = town_config(name, folder, args)
            if amp:
                use_amp(config)
            bare = bare_training(config, args)
            for workers in args.workers:
                ours = whole_training(config.copy(), folder, workers, args)
                table.add_row(
                    name,
                    'mixed' if amp else 'float32',
                    str(workers),
                    f'{ours:.0f}',
                    f'{bare:.0f}',
                    f'{ours / bare:.2f}',
                )
    return table


def town_config(name: str, folder: Path, args: argparse.Namespace) -> Config:
    """A shipped config for the town, without validation."""
    config = load_config(CONFIGS / SHIPPED[name])
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        config[loader].dataset.data_root = str(folder / 'town')
    config.train_dataloader.update(batch_size=args.batch_size, pin_memory=not args.no_pin)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.iterations + WARM)
    config.default_hooks.checkpoint = None
    del config.default_hooks['visualization']
    return config


def whole_training(config: Config, folder: Path, workers: int, args: argparse.Namespace) -> float:
    config.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
    config.custom_hooks = [*config.get('custom_hooks', ()), dict(type='geo_mm.ClockHook')]
    if args.device == 'cpu':
        config.device = 'cpu'
    runner = train(config, TrainOptions(work_dir=folder / 'work'))
    clock = next(hook for hook in runner.hooks if isinstance(hook, ClockHook))
    return clock.iterations * args.batch_size / clock.seconds


def bare_training(config: Config, args: argparse.Namespace) -> float:
    """Training steps on one batch that is where the model is, normalised anew each time."""
    init_default_scope(config.default_scope)
    loader = Runner.build_dataloader(
        {**config.train_dataloader, 'num_workers': 0, 'persistent_workers': False}, seed=0
    )
    model = build_model(config)
    model.init_weights()
    model.to(args.device, memory_format=torch.channels_last).train()
    wrapper = Runner.build_optim_wrapper(
        argparse.Namespace(model=model, logger=logging.getLogger()), config.optim_wrapper
    )
    batch = next(iter(loader))
    batch = model.data_preprocessor.cast_data(batch)
    return rate(lambda: model.train_step(dict(batch), wrapper), args.iterations, args.batch_size)


# ---- predict -------------------------------------------------------------------


def prediction(folder: Path, args: argparse.Namespace) -> Table:
    scene = write_scene(folder / 'scene.tif', args.side, args.side)
    warm = write_scene(folder / 'warm.tif', 4 * TILE, 2 * TILE)
    table = Table(
        'U-Net of', 'precision', 'batch', 'in memory, tiles/s', 'with files', 'bare', 'shares'
    )
    for channels in args.channels:
        checkpoint = write_checkpoint(unet_config(channels), folder / f'{channels}.pth')
        for amp in (False, True):
            for batch_size in args.tiles:
                predictor = Predictor(
                    checkpoint,
                    device=args.device,
                    tile=TILE,
                    overlap=OVERLAP,
                    batch_size=batch_size,
                    amp=amp,
                )
                bare = bare_prediction(predictor, batch_size, args.iterations)
                tiles = -((-(args.side - OVERLAP) // (TILE - OVERLAP)) ** 2)
                predictor.predict(warm)
                rates = []
                for out in (None, folder / 'out'):
                    start = time.perf_counter()
                    predictor.predict(scene, out, restart=True)
                    rates.append(tiles / (time.perf_counter() - start))
                table.add_row(
                    f'{channels} channels',
                    'mixed' if amp else 'float32',
                    str(batch_size),
                    *(f'{each:.0f}' for each in (*rates, bare)),
                    ', '.join(f'{each / bare:.2f}' for each in rates),
                )
    return table


def bare_prediction(predictor: Predictor, batch_size: int, times: int) -> float:
    model = predictor.models[0]
    batch = torch.randn(batch_size, 3, TILE, TILE, device=model.device)
    batch = batch.to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode(), model._precision():
            model.model(batch, mode='tensor')

    return rate(forward, times, batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('what', nargs='*', help='train, predict; default: both')
    add('--device', default='cuda')
    add('--models', nargs='+', default=['unet', 'unet_r18'], choices=SHIPPED)
    add('--batch-size', type=int, default=16, help='of training')
    add('--workers', type=int, nargs='+', default=[2, 8], help='that read for training')
    add('--no-pin', action='store_true', help='read into memory that is not pinned')
    add('--in-turn', action='store_true', help='predict and merge in turn, as on a CPU')
    add('--iterations', type=int, default=100)
    add('--channels', type=int, nargs='+', default=[16, 64], help='of the U-Nets that predict')
    add('--tiles', type=int, nargs='+', default=[8], help='per forward pass of prediction')
    add('--side', type=int, default=6000, help='of the scene that is predicted')
    args = parser.parse_args()
    logging.disable(logging.INFO)
    if args.in_turn:
        Ensemble.on_cpu = property(lambda self: True)
    with tempfile.TemporaryDirectory() as name:
        for what in args.what or ['train', 'predict']:
            table = {'train': training, 'predict': prediction}[what](Path(name), args)
            Console(width=110).print(table)


if __name__ == '__main__':
    main()
