"""Does transfer help? Fine-tuning against from scratch, at equal iterations.

A small U-Net learns the red, green and blue of a synthetic town, six scenes at
0.5 m, with five classes. Then, for each seed, another town, at 0.7 m, with NIR as
fourth band, another sun, season and sensor, and four classes, of which 20
chips are labelled: fine-tuning from the first town's weights
(configs/_base_/transfer/fine_tuning.py, stem adapted, heads new), and from
scratch (from_scratch.py), everything else alike. Both are scored on two
scenes of the new town that neither has seen. Every step runs geo-mm train
and geo-mm test as a user would. Exits with 1 unless fine-tuning wins for
every seed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from geo_mm.errors import GeoMMError, report_errors
from geo_mm.synthetic import make_town

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / 'configs' / '_base_'

CONFIG = """
_base_ = [
    '{base}/models/unet.py',
    '{base}/datasets/geo_seg.py',
    '{base}/{schedule}.py',
    '{base}/seg_runtime.py',
]
classes = {classes}
bands = {bands}
mean = [1254.0, 1305.0, 1203.0, 2336.0][: len(bands)]
std = [858.0, 755.0, 777.0, 1429.0][: len(bands)]
chips = dict(
    data_root={town!r},
    metainfo=dict(classes=classes),
    label_cfg=dict(class_column='class', class_map={class_map}),
    bands=bands,
    chip_size=128,
    stride=128,
    fill=mean,
)
workers = dict(batch_size=4, num_workers=1, persistent_workers=True)
train_dataloader = dict(dataset=dict(scenes={train}, split=None, **chips), **workers)
val_cfg = val_dataloader = val_evaluator = None
test_dataloader = dict(dataset=dict(scenes={test}, split=None, **chips), num_workers=1)
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(in_channels=len(bands), base_channels=8, init_cfg={init}),
    decode_head=dict(in_channels=8, channels=16, num_classes=len(classes)),
    auxiliary_head=dict(in_channels=16, channels=16, num_classes=len(classes)),
)
optim_wrapper = dict(optimizer=dict(lr=5e-3))  # so narrow a network bears it
train_cfg = dict(max_iters={iters}, val_interval={iters})
randomness = dict(seed={seed})
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-o', '--out', type=Path, default=ROOT / 'work_dirs' / 'transfer_proof')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--iters', type=int, default=120, help='on the new town, each way')
    parser.add_argument('--pretrain-iters', type=int, default=1200, help='on the first town')
    args = parser.parse_args()
    start = time.monotonic()
    out = args.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    pretrained = pretrain(out / 'known', args.pretrain_iters)
    rows = []
    for seed in range(args.seeds):
        town = out / f'new_{seed}'
        make_town(town, scenes=3, size=(640, 512), gsd=0.7, seed=100 + seed)
        tuned = new_town(town, 'transfer/fine_tuning', args.iters, seed, pretrained)
        scratch = new_town(town, 'transfer/from_scratch', args.iters, seed)
        rows.append((seed, tuned, scratch))
    print_table(rows, args.iters)
    print(f'{(time.monotonic() - start) / 60:.1f} minutes')
    return int(any(tuned <= scratch for _, tuned, scratch in rows))


def pretrain(town: Path, iters: int) -> Path:
    """The checkpoint of a U-Net for five classes of a town in red, green and blue."""
    make_town(town, scenes=6, size=(1024, 1024), gsd=0.5, seed=1)
    scenes = [scene(index) for index in range(6)]
    config = town / 'pretrain.py'
    classes = ('background', 'building', 'road', 'tree', 'water')
    text = CONFIG.format(
        base=BASE,
        schedule='transfer/from_scratch',
        classes=classes,
        bands=('red', 'green', 'blue'),
        town=str(town),
        class_map={},
        train=scenes,
        test=scenes,
        init=None,
        iters=iters,
        seed=0,
    )
    config.write_text(text)
    run('train.py', config, '--work-dir', town / 'model')
    return town / 'model' / f'iter_{iters}.pth'


def new_town(
    town: Path, recipe: str, iters: int, seed: int, pretrained: Path | None = None
) -> float:
    """mIoU in 0..100 over two unseen scenes, after training on 20 chips of another."""
    bands = ('red', 'green', 'blue', 'nir')
    adapted = dict(
        type='geo_mm.AdaptedPretrained',
        checkpoint=str(pretrained),
        prefix='backbone.',
        bands=bands,
    )
    work_dir = town / Path(recipe).name
    config = work_dir.with_suffix('.py')
    text = CONFIG.format(
        base=BASE,
        schedule=recipe,
        classes=('background', 'building', 'road', 'tree'),
        bands=bands,
        town=str(town),
        class_map=dict(water=None),
        train=[scene(1)],
        test=[scene(0), scene(2)],
        init=adapted if pretrained else None,
        iters=iters,
        seed=seed,
    )
    config.write_text(text)
    run('train.py', config, '--work-dir', work_dir)
    run('test.py', config, work_dir / f'iter_{iters}.pth', '--work-dir', work_dir / 'test')
    scores = json.loads(max((work_dir / 'test').glob('*/*.json')).read_text())
    return float(scores['mIoU'])


def scene(index: int) -> dict[str, str]:
    return dict(image=f'images/town_{index}.tif', labels=f'labels/town_{index}.gpkg')


def run(tool: str, *args: object) -> None:
    """Runs one of our tools.

    Raises:
        GeoMMError: With the end of its output, if it fails.
    """
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        end = '\n'.join((done.stdout + done.stderr).splitlines()[-20:])
        raise GeoMMError(f'{" ".join(command)} ended with {done.returncode}:\n{end}')


def print_table(rows: list[tuple[int, float, float]], iters: int) -> None:
    print(f'mIoU of the new town after {iters} iterations on 20 chips')
    print(f'{"seed":>4}  {"fine-tuning":>11}  {"from scratch":>12}  better')
    for seed, tuned, scratch in rows:
        better = 'fine-tuning' if tuned > scratch else 'from scratch'
        print(f'{seed:>4}  {tuned:>11.2f}  {scratch:>12.2f}  {better}')
    wins = sum(tuned > scratch for _, tuned, scratch in rows)
    print(f'fine-tuning is better for {wins} of {len(rows)} seeds')


if __name__ == '__main__':
    with report_errors():
        raise SystemExit(main())
