"""Does lr_find suggest a rate that is nearly as good as the best of a grid?

U-Net, PSPNet, Faster R-CNN, SSD and YOLOv3, each on the synthetic town and on the drone
mosaic of Banepa, in sizes that a CPU can train: the small configs that ship, on small
chips at a coarser GSD. Each trains at the rate that lr_find suggests and at the rates of a
grid, everything else alike, and is scored on the chips of validation after the last
iteration: mIoU, or AP at an IoU of 0.5.

Results are appended to OUT/results.jsonl, one line for each training, and those that are
there are not repeated, so that a run can be interrupted. Needs data/town, made with
geo-mm synthetic data/town, and the folder of banepa_a.

    python tools/dev/lr_find_proof.py --minutes 60
    python tools/dev/lr_find_proof.py --table
"""

import argparse
import itertools
import json
import logging
import os
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from rich.console import Console
from rich.table import Table

from geo_mm.engine import LrFindOptions, TrainOptions, lr_find, train, with_lr
from geo_mm.engine.config_data import fit_config_anchors, head_with_anchors
from geo_mm.engine.launch import load_config
from geo_mm.errors import report_errors
from geo_mm.registry import HOOKS
from geo_mm.visualization.training_plots import draw_lr_curve

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'unet': 'unet/unet-s5-d16-c16_adamw-2k_{}-256x256.py',
    'pspnet': 'pspnet/pspnet_r18-d8-c32_adamw-2k_{}-256x256.py',
    'ssd': 'ssd/ssd_vgg11-c32_adamw-2k_{}-256x256.py',
    'yolov3': 'yolo/yolov3_d21-c16_adamw-2k_{}-256x256.py',
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r18-c128_fpn_adamw-2k_{}-256x256.py',
}
GSD = {'town': 0.5, 'banepa': 0.45}  # metres: buildings of some 20 pixels
GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SUGGESTED = 'suggested'


@HOOKS.register_module()
class LastScoresHook(Hook):
    """Keeps the scores of the last validation."""

    found: dict

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self.found = dict(metrics or {})


def config_of(model: str, data: str, args: argparse.Namespace) -> Config:
    """The config that ships, on smaller chips, with anchors for their GSD."""
    config = load_config(ROOT / 'configs' / CONFIGS[model].format(data))
    folder = args.town if data == 'town' else args.data / 'banepa_a'
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config[name]
        loader.dataset.update(
            data_root=f'{folder.resolve()}/', chip_size=args.chip_size, gsd=GSD[data]
        )
        loader.update(num_workers=0, persistent_workers=False, batch_size=args.batch_size)
    if head := head_with_anchors(config.model):
        config.model[head].anchor_generator.update(fit_config_anchors(config, 100).settings)
    config.train_cfg.update(max_iters=args.iterations, val_interval=args.iterations)
    config.default_hooks.checkpoint = None
    for hook in ('visualization', 'input_spec'):
        del config.default_hooks[hook]
    config.custom_hooks = [*config.get('custom_hooks', []), dict(type='geo_mm.LastScoresHook')]
    config.log_level = 'ERROR'
    return config


def suggested(config: Config, folder: Path) -> float:
    """What lr_find suggests."""
    curve = lr_find(config, LrFindOptions(), work_dir=folder)
    draw_lr_curve(curve, folder / 'lr_find.png')
    return curve.suggestion()


def trained(config: Config, rate: float, work: Path) -> float:
    """The score after training at a rate, in percent."""
    runner = train(with_lr(config, rate), TrainOptions(work_dir=work))
    scores = next(hook.found for hook in runner.hooks if isinstance(hook, LastScoresHook))
    found = scores['mIoU'] if 'mIoU' in scores else 100 * scores['coco/bbox_mAP_50']
    return round(max(float(found), 0.0), 2)


def run(args: argparse.Namespace, results: Path) -> None:
    """All trainings that are not there yet: the suggestion for all models, then the grid."""
    done = {(row['data'], row['model'], row['at']) for row in rows_of(results)}
    end = time.monotonic() + 60 * args.minutes
    configs: dict[tuple[str, str], Config] = {}
    for data, at, model in itertools.product(args.data_sets, (SUGGESTED, *GRID), args.models):
        if (data, model, at) in done:
            continue
        if time.monotonic() > end:
            return
        if (data, model) not in configs:
            configs[data, model] = config_of(model, data, args)
        config, start, rate = configs[data, model], time.process_time(), at
        if at == SUGGESTED:
            rate = suggested(config, args.out / f'{model}_{data}')
        row = dict(data=data, model=model, at=at, rate=rate)
        row |= dict(score=trained(config, rate, args.out / 'work'))
        row |= dict(iterations=args.iterations, seconds=round(time.process_time() - start))
        with results.open('a') as file:
            print(json.dumps(row), file=file)
        print(row, flush=True)


def rows_of(results: Path) -> list[dict]:
    return (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )


def print_table(rows: list[dict]) -> None:
    """Scores by rate, and the share of the best of the grid that the suggestion reaches."""
    names = [f'{rate:g}' for rate in GRID]
    table = Table('data', 'model', 'suggested', 'score', *names, 'of the best')
    for data, model in dict.fromkeys((row['data'], row['model']) for row in rows):
        own = {row['at']: row for row in rows if (row['data'], row['model']) == (data, model)}
        grid = [own[rate]['score'] if rate in own else None for rate in GRID]
        known = [score for score in grid if score is not None]
        found = own.get(SUGGESTED)
        share = f'{found["score"] / max(known):.2f}' if found and known and max(known) else ''
        cells = ['' if score is None else f'{score:.1f}' for score in grid]
        start = [f'{found["rate"]:.2g}', f'{found["score"]:.1f}'] if found else ['', '']
        table.add_row(data, model, *start, *cells, share)
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    data = os.environ.get('GEO_MM_DATA_ROOT', '../shared/data')
    add('--data', type=Path, default=Path(data), help='folder that holds banepa_a')
    add('--town', type=Path, default=ROOT / 'data' / 'town', help='the synthetic town')
    add('-o', '--out', type=Path, default=ROOT / 'work_dirs' / 'lr_find_proof')
    add('--models', nargs='+', default=list(CONFIGS), choices=CONFIGS)
    add('--data-sets', nargs='+', default=['town', 'banepa'], choices=GSD)
    add('--iterations', type=int, default=300)
    add('--chip-size', type=int, default=64, help='pixels')
    add('--batch-size', type=int, default=4)
    add('--minutes', type=float, default=1e6, help='no training begins after that')
    add('--table', action='store_true', help='only print what is there')
    args = parser.parse_args()
    results = args.out / 'results.jsonl'
    if not args.table:
        logging.disable(logging.WARNING)
        args.out.mkdir(parents=True, exist_ok=True)
        run(args, results)
    print_table(rows_of(results))


if __name__ == '__main__':
    with report_errors():
        main()
