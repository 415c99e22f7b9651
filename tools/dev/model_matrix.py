"""Check every model that ships on the synthetic town, and write docs/en/model_zoo.md.

Takes the configs configs/*/*town*.py. What was found out is kept per model in
work_dirs/model_matrix/ and not asked again unless its config has changed, so a
run that was stopped resumes. Needs data/town, made with
geo-mm synthetic data/town.
"""

import argparse
import copy
import hashlib
import json
import math
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from mmengine.structures import InstanceData
from overfit import overfit

from geo_mm.engine.acceleration import use_channels_last
from geo_mm.engine.launch import build_model, load_config
from geo_mm.errors import ConfigError, report_errors

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / 'work_dirs' / 'model_matrix'
PAGE = ROOT / 'docs' / 'en' / 'model_zoo.md'
ODD_CHIP = (203, 157)  # height and width, divided by no stride
MANY_BANDS = 13
LEARNT_CHIP = 128  # side of the chips to overfit, in pixels
TIMED_STEPS = 5
LEAST = {'coco/bbox_mAP_50': 0.9, 'coco/segm_mAP_50': 0.85, 'mIoU': 90.0}
"""Scores of the four chips that a sound model reaches; mIoU is in percent."""


@dataclass(frozen=True)
class Subject:
    """A config under test."""

    path: Path
    iters: int

    @property
    def name(self) -> str:
        return self.path.stem

    def config(self) -> Config:
        """A copy of its own to each check."""
        config = load_config(self.path)
        config.work_dir = str(CACHE / self.name)
        init_default_scope(config.default_scope)
        return config


# ---- pieces ------------------------------------------------------------------


def training_batch(config: Config, chips: int = 2, **dataset) -> dict:
    """The first chips that training would see, not augmented.

    Args:
        config: The model's.
        chips: How many.
        **dataset: Other settings of the dataset.
    """
    loader = copy.deepcopy(config.train_dataloader)
    loader.update(num_workers=0, persistent_workers=False, batch_size=chips)
    # MMSegmentation cannot turn back predictions of chips that were flipped both ways.
    loader.dataset.update(dataset, pipeline=config.test_dataloader.dataset.pipeline)
    return next(iter(Runner.build_dataloader(loader, seed=0)))


def fresh_model(config: Config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(config)
    model.init_weights()
    return model.to(get_device())


def one_step(config: Config, batch: dict) -> tuple[torch.nn.Module, float]:
    """The model after one step on a batch, and its loss before.

    Raises:
        ArithmeticError: If a loss or a weight is not finite.
    """
    model = fresh_model(config)
    losses = model.train().train_step(batch, build_optim_wrapper(model, config.optim_wrapper))
    wrong = [key for key, value in losses.items() if not torch.as_tensor(value).isfinite().all()]
    wrong += [key for key, value in model.named_parameters() if not value.isfinite().all()]
    if wrong:
        raise ArithmeticError(f'not finite: {", ".join(wrong[:5])}')
    return model, float(losses['loss'])


@torch.no_grad()
def predictions(model: torch.nn.Module, batch: dict) -> list[dict[str, torch.Tensor]]:
    """What a model finds in each chip.

    Raises:
        ArithmeticError: If it is not finite, or is not inside the chip.
    """
    found = []
    for result in model.eval().test_step(copy.deepcopy(batch)):
        height, width = result.ori_shape
        if 'pred_instances' in result:
            part = {key: torch.as_tensor(value) for key, value in result.pred_instances.items()}
            limits = part['bboxes'].new_tensor([width, height, width, height])
            fits = bool(((part['bboxes'] >= 0) & (part['bboxes'] <= limits)).all())
        else:
            part = {'classes': result.pred_sem_seg.data, 'logits': result.seg_logits.data}
            fits = part['logits'].shape[-2:] == (height, width)
        if not fits or not all(value.isfinite().all() for value in part.values()):
            raise ArithmeticError('predictions that are not finite or not in the chip')
        found.append(part)
    return found


def without_objects(batch: dict) -> dict:
    """The same chips with nothing in them: no objects, or no labelled pixel."""
    for sample in batch['data_samples']:
        if 'gt_instances' in sample:
            sample.gt_instances = sample.gt_instances[:0]
            sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        else:
            sample.gt_sem_seg.data[:] = 255
    return batch


# ---- checks: each raises, or gives what is to be told ---------------------------


def parameters(subject: Subject) -> int:
    return sum(weights.numel() for weights in fresh_model(subject.config()).parameters())


def with_objects(subject: Subject) -> float:
    config = subject.config()
    return one_step(config, training_batch(config))[1]


def empty_chip(subject: Subject) -> float:
    config = subject.config()
    return one_step(config, without_objects(training_batch(config)))[1]


def many_bands(subject: Subject) -> float:
    config = subject.config()
    batch = training_batch(config)
    repeated = [number % batch['inputs'][0].shape[0] for number in range(MANY_BANDS)]
    batch['inputs'] = [image[repeated] for image in batch['inputs']]
    config.model.backbone.in_channels = MANY_BANDS
    preprocessor = config.model.data_preprocessor
    for key in ('mean', 'std'):
        preprocessor[key] = [preprocessor[key][number] for number in repeated]
    model, loss = one_step(config, copy.deepcopy(batch))
    predictions(model, batch)
    return loss


def odd_chip(subject: Subject) -> float:
    config = subject.config()
    batch = training_batch(config, chip_size=ODD_CHIP)
    model, loss = one_step(config, copy.deepcopy(batch))
    predictions(model, batch)
    return loss


def seconds(subject: Subject) -> dict:
    """Median time of a training step, without reading chips."""
    config = subject.config()
    chips = config.train_dataloader.batch_size
    batch = training_batch(config, chips)
    model = fresh_model(config).train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    times = []
    for _ in range(TIMED_STEPS + 1):
        start = time.perf_counter()
        losses = model.train_step(copy.deepcopy(batch), optimizer)
        losses['loss'].item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    return {
        'median': sorted(times[1:])[TIMED_STEPS // 2],
        'chips': chips,
        'size': list(batch['inputs'][0].shape[-2:]),
    }


def learns_by_heart(subject: Subject) -> dict:
    """Scores after training on four chips; what was saved predicts the same."""
    config = subject.config()
    lr = float(config.optim_wrapper.optimizer.lr)
    runner, scores = overfit(config, subject.iters, lr, LEARNT_CHIP)
    loaded = build_model(config).to(get_device())
    use_channels_last(loaded)  # as training did: equal to the last bit only in the same order
    load_checkpoint(loaded, f'{config.work_dir}/iter_{subject.iters}.pth', map_location='cpu')
    batch = next(iter(runner.val_dataloader))
    ours, theirs = predictions(runner.model, batch), predictions(loaded, batch)
    equal = all(
        a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())
        for a, b in zip(ours, theirs, strict=True)
    )
    found = {key: value for key, value in scores.items() if key in LEAST}
    return {'scores': found, 'equal': equal, 'iters': subject.iters}


CHECKS: dict[str, Callable[[Subject], object]] = {
    'parameters': parameters,
    'with_objects': with_objects,
    'empty_chip': empty_chip,
    'many_bands': many_bands,
    'odd_chip': odd_chip,
    'seconds': seconds,
    'learns_by_heart': learns_by_heart,
}


# ---- running and telling --------------------------------------------------------


def examine(subject: Subject, again: bool) -> None:
    """Runs what is not known yet, and keeps each answer at once."""
    text = hashlib.sha256(load_config(subject.path).pretty_text.encode()).hexdigest()
    known = None if again else read_record(subject.name)
    if known is None or known['config'] != text:
        known = {'config': text, 'checks': {}}
    for name, check in CHECKS.items():
        if is_known(known['checks'].get(name, {}), subject):
            continue
        start = time.perf_counter()
        try:
            answer = {'ok': True, 'value': check(subject)}
        except Exception as error:  # any failure of a model is an answer
            traceback.print_exc()
            answer = {'ok': False, 'error': f'{type(error).__name__}: {error}'}
        took = time.perf_counter() - start
        known['checks'][name] = answer
        known['machine'] = machine()
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / f'{subject.name}.json').write_text(json.dumps(known, indent=1))
        print(f'{subject.name}: {name}: {answer.get("value", answer.get("error"))} ({took:.1f} s)')


def is_known(answer: dict, subject: Subject) -> bool:
    """Whether a check passed before; a run of another length tells nothing."""
    value = answer.get('value')
    length = value.get('iters', subject.iters) if isinstance(value, dict) else subject.iters
    return bool(answer.get('ok')) and length == subject.iters


def machine() -> str:
    device = get_device()
    place = torch.cuda.get_device_name() if device == 'cuda' else platform.machine()
    return f'{device} ({place}), {torch.get_num_threads()} threads, torch {torch.__version__}'


def read_record(name: str) -> dict | None:
    path = CACHE / f'{name}.json'
    return json.loads(path.read_text()) if path.is_file() else None


def page(configs: list[Path]) -> str:
    """The table, of whatever is known."""
    machines = {}
    rows = []
    for path in configs:
        record = read_record(path.stem) or {'checks': {}}
        if 'machine' in record:
            machines[record['machine']] = True
        link = f'[`{path.stem}`](../../{path.relative_to(ROOT).as_posix()})'
        rows.append(f'| {link} | {" | ".join(cells(record["checks"]))} |')
    return TEXT.format(
        odd=f'{ODD_CHIP[1]} x {ODD_CHIP[0]}',
        bands=MANY_BANDS,
        learnt_chip=LEARNT_CHIP,
        rows='\n'.join(rows),
        machines='; '.join(machines) or 'none yet',
    )


def cells(checks: dict) -> list[str]:
    """The columns of one model."""
    learnt = checks.get('learns_by_heart', {})
    value = learnt.get('value', {})
    scores = value.get('scores', {})
    return [
        cell(checks.get('parameters'), lambda count: f'{count / 1e6:.2f}'),
        cell(checks.get('seconds'), lambda v: f'{v["median"]:.2f} ({v["chips"]})'),
        *(
            cell(checks.get(name), lambda loss: f'{loss:.2f}')
            for name in ('with_objects', 'empty_chip', 'many_bands', 'odd_chip')
        ),
        cell(learnt, lambda v: 'yes' if v['equal'] else '**no**'),
        *(score(scores, key) if learnt.get('ok') else cell(learnt, str) for key in LEAST),
        str(value.get('iters', '')),
    ]


def cell(answer: dict | None, form: Callable) -> str:
    if not answer:
        return 'not run'
    if not answer['ok']:
        return f'**{answer["error"][:60]}**'.replace('|', '/').replace('\n', ' ')
    return form(answer['value'])


def score(scores: dict[str, float], key: str) -> str:
    if key not in scores:
        return ''
    value = scores[key] / 100 if key == 'mIoU' else scores[key]
    text = f'{value:.3f}'
    enough = not math.isnan(value) and scores[key] >= LEAST[key]
    return text if enough else f'**{text}**'


TEXT = """# Model zoo

The models that ship, and how each was checked. This page is generated by

```bash
python tools/dev/model_matrix.py
```

from the [synthetic town](synthetic.md), for all `configs/*/*town*.py`. Every model does one training step on chips of 4 bands with objects, on the same chips without any (segmentation: without labels), on {bands} bands, and on chips of {odd} pixels. The numbers are the losses before the step; losses, and weights after the step, must be finite, and predictions of the last two must be inside the chip. Then the model overfits four chips of {learnt_chip} pixels that together contain every class (sanity check): randomly initialised, with the config's learning rate, and evaluated on the same four chips. The saved and reloaded model must give identical predictions. Bold marks failures and scores below 0.9 (boxes: AP at an IoU of 0.5), 0.85 (masks: likewise) or 0.9 (segmentation: mean IoU).

These scores show that a model is set up correctly, and not how accurate it is: for that see the tables in the folders of [configs](../../configs/README.md).

| model | parameters, millions | s per iteration (chips) | objects | empty | {bands} bands | odd chip | identical after reload | box AP50 | mask AP50 | IoU | iterations |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

Measured on: {machines}.
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', help='models with one of these in their name')
    parser.add_argument('--iters', type=int, default=300, help='to overfit four chips')
    parser.add_argument('--again', action='store_true', help='discard earlier results')
    args = parser.parse_args()
    configs = sorted((ROOT / 'configs').glob('*/*town*.py'))
    chosen = [
        path for path in configs if not args.only or any(part in path.stem for part in args.only)
    ]
    if not chosen:
        raise ConfigError(f'no model is named {args.only}', f'one of {[p.stem for p in configs]}')
    for path in chosen:
        examine(Subject(path, args.iters), args.again)
        PAGE.write_text(page(configs))


if __name__ == '__main__':
    with report_errors():
        main()
