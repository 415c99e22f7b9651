"""Check families of timm under a detector and a U-Net, and write the table in docs/en/transfer.md.

For each family a small network, on 4 bands and chips of 64 pixels:

- step: two steps of the optimiser change every weight of the backbone, and all stay finite;
- freeze: with geo_mm.TransferHook only the last stage and the head change;
- decay: geo_mm.StageRateConstructor gives each stage its rate;
- export: the ONNX file predicts what PyTorch does, for two sizes of images.
"""

import argparse
import sys
import tempfile
import traceback
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from geo_mm.deploy import export_model  # noqa: E402
from geo_mm.engine.launch import build_model  # noqa: E402
from geo_mm.engine.transfer import HEAD, TransferHook, backbone_stages, stage_rates  # noqa: E402
from geo_mm.errors import ConfigError, report_errors  # noqa: E402
from geo_mm.inference import TrainedModel  # noqa: E402
from geo_mm.raster import Scene, Window  # noqa: E402
from tests.data.narrow import narrow_config, narrow_files  # noqa: E402

PAGE = ROOT / 'docs' / 'en' / 'transfer.md'
MARK = '<!-- tools/dev/timm_matrix.py -->'
BANDS, SIDE = 4, 64
TINY = {'embed_dim': 24, 'depths': (1, 1, 2, 1), 'num_heads': (1, 2, 2, 4)}
FAMILIES = {
    'ResNet': {'name': 'test_resnet'},
    'EfficientNet': {'name': 'test_efficientnet'},
    'MobileNetV3': {'name': 'mobilenetv3_small_050'},
    'RegNet': {'name': 'regnetx_002'},
    'ConvNeXt': {'name': 'test_convnext'},
    'MambaOut': {'name': 'test_mambaout'},
    'Swin': {'name': 'swin_tiny_patch4_window7_224', **TINY},
    'MaxViT': {'name': 'test_maxvit', 'img_size': SIDE},
    'ViT, DeiT': {'name': 'test_vit'},
    'DINOv3': {'name': 'vit_small_patch16_dinov3', 'embed_dim': 48, 'depth': 3, 'num_heads': 2},
}
TASKS = {'Faster R-CNN': 'faster-rcnn_timm_fpn', 'U-Net': 'unet_timm'}
BOXES = torch.tensor([[3.0, 5.0, 25.0, 22.0], [30.0, 28.0, 60.0, 50.0]])


class Cell:
    """A family under a task."""

    def __init__(self, family: str, task: str) -> None:
        self.base = TASKS[task]
        self.detects = task == 'Faster R-CNN'
        backbone = {'type': 'geo_mm.TimmBackbone', '_delete_': True, **FAMILIES[family]}
        plain = family in ('ViT, DeiT', 'DINOv3')
        self.changes = {'model.backbone': backbone | {'in_channels': BANDS}}
        if self.detects or plain:
            kind = 'geo_mm.SimpleFPN' if plain else 'FPN'
            neck = {'type': kind, 'out_channels': 16, 'num_outs': 5 if self.detects else 4}
            self.changes['model.neck'] = neck | ({'_delete_': True} if self.detects else {})
        if not self.detects:
            self.changes['model.decode_head.in_index'] = [0, 1, 2, 3]

    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        config = narrow_config(self.base, BANDS, self.changes)
        config.default_scope = 'mmdet' if self.detects else 'mmseg'
        model = build_model(config)
        model.init_weights()
        return model

    def batch(self) -> dict:
        from mmdet.structures import DetDataSample
        from mmseg.structures import SegDataSample

        generator = torch.Generator().manual_seed(1)
        inputs = list(torch.rand(2, BANDS, SIDE, SIDE, generator=generator) * 200)
        meta = {'img_shape': (SIDE, SIDE), 'ori_shape': (SIDE, SIDE), 'scale_factor': (1.0, 1.0)}
        samples = []
        for image in inputs:
            sample = (DetDataSample if self.detects else SegDataSample)(metainfo=meta)
            if self.detects:
                labels = torch.arange(len(BOXES)) % 2
                sample.gt_instances = InstanceData(bboxes=BOXES.clone(), labels=labels)
                sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
            else:
                sample.gt_sem_seg = PixelData(data=(image[:1] > 100).long())
            samples.append(sample)
        return {'inputs': inputs, 'data_samples': samples}

    def train(self, model: torch.nn.Module, frozen: bool = False) -> tuple[set[str], list[dict]]:
        """Names of the weights that two steps change, and the optimiser's groups.

        In the first step some have no gradient, where others are 0.
        """
        optimizer = build_optim_wrapper(
            model,
            {
                'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.05},
                'constructor': 'geo_mm.StageRateConstructor',
                'paramwise_cfg': {'first': 0.1},
            },
        )
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        model.train()
        if frozen:
            hook = TransferHook(unfreeze=[{'begin': 0, 'last': 1}])
            runner = types.SimpleNamespace(
                model=model, iter=0, max_iters=1, optim_wrapper=optimizer
            )
            runner.logger = MMLogger.get_instance('timm_matrix', log_level='WARNING')
            hook.after_load_checkpoint(runner, {})
            hook.before_train(runner)
            hook.before_train_iter(runner, 0)
        with DefaultScope.overwrite_default_scope('mmdet' if self.detects else 'mmseg'):
            for _ in range(2):
                model.train_step(self.batch(), optimizer)
        after = dict(model.named_parameters())
        broken = [name for name, value in after.items() if not value.isfinite().all()]
        if broken:
            raise ArithmeticError(f'not finite: {", ".join(broken[:5])}')
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        return changed, optimizer.optimizer.param_groups

    def stages(self, model: torch.nn.Module) -> dict[str, set[str]]:
        """Names of the weights of each stage."""
        names = {id(value): name for name, value in model.named_parameters()}
        return {
            stage: {names[id(value)] for part in parts for value in part.parameters()}
            for stage, parts in backbone_stages(model).items()
        }


def step(cell: Cell) -> None:
    model = cell.model()
    changed, _ = cell.train(model)
    names = {name for name, _ in model.backbone.named_parameters(prefix='backbone')}
    if still := names - changed:
        raise ArithmeticError(f'{len(still)} of {len(names)} stay as they are: {sorted(still)[:5]}')


def freeze(cell: Cell) -> None:
    model = cell.model()
    changed, _ = cell.train(model, frozen=True)
    *early, last = cell.stages(model).values()
    if wrong := changed & set().union(*early):
        raise ArithmeticError(f'changed although frozen: {sorted(wrong)[:5]}')
    if not changed & last or not changed - last:
        raise ArithmeticError('nothing is trained of the last stage, or of the head')


def decay(cell: Cell) -> None:
    model = cell.model()
    _, groups = cell.train(model)
    stages = list(backbone_stages(model))
    found = {group['stage']: group['lr'] for group in groups}
    expected = dict(zip(stages, stage_rates(len(stages), 0.1), strict=True)) | {HEAD: 1.0}
    if found.keys() != expected.keys():
        raise ArithmeticError(f'rates of {sorted(found)}, stages {sorted(expected)}')
    for stage, rate in expected.items():
        if abs(found[stage] - 1e-3 * rate) > 1e-9:
            raise ArithmeticError(f'{stage} at {found[stage]}')


def export(cell: Cell) -> None:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        _, checkpoint = narrow_files(Path(folder), cell.base, BANDS, cell.changes)
        soften(checkpoint)
        (path,) = export_model(checkpoint, Path(folder) / 'out', tile=SIDE)
        model = TrainedModel(checkpoint, device='cpu', tile=SIDE)
        session = onnxruntime.InferenceSession(str(path))
        for size in (SIDE, SIDE), (SIDE, 2 * SIDE):
            image = np.random.default_rng(0).uniform(0, 200, (BANDS, *size)).astype('float32')
            found = session.run(None, {'image': image[None]})[0][0]
            valid = np.ones(size, bool)
            window = Window(0, 0, size[1], size[0])
            chip = model.prepare(Scene.from_array(image), window, image, valid)
            compare(found, model.predict([chip])[0], cell.detects)


def soften(checkpoint: Path) -> None:
    """Scales random classifiers down: between confidences that are all 1 nothing decides."""
    data = torch.load(checkpoint, weights_only=False)
    for name, value in data['state_dict'].items():
        if 'fc_cls' in name or 'rpn_cls' in name:
            value *= 0.05
    torch.save(data, checkpoint)


def compare(found: np.ndarray, sample: object, detects: bool) -> None:
    """Raises ArithmeticError where ONNX and PyTorch differ."""
    if not detects:
        expected = sample.seg_logits.data.softmax(0).numpy()
        worst, spread = np.abs(found - expected).max(), expected.std()
        if worst > 1e-4 or spread < 1e-3:
            raise ArithmeticError(f'probabilities differ by up to {worst:.1g}, spread {spread:.1g}')
        return
    expected = sample.pred_instances
    middles, sides, scores = found[:2].T, found[2:4].T, found[4:].max(0)
    if (scores > 0).sum() != len(expected) or len(expected) < 5:
        raise ArithmeticError(f'{(scores > 0).sum()} objects, PyTorch {len(expected)}')
    boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
    for box, score in zip(expected.bboxes.numpy(), expected.scores.numpy(), strict=True):
        near = np.abs(np.column_stack([boxes, scores]) - [*box, score]).max(axis=1).min()
        if near > 1e-3:
            raise ArithmeticError(f'a box differs by {near:.1g}')


CHECKS: dict[str, Callable[[Cell], None]] = {
    'step': step,
    'freeze': freeze,
    'decay': decay,
    'export': export,
}


def examine(family: str, task: str) -> dict[str, str]:
    """``'yes'`` or what went wrong, for each of :data:`CHECKS`."""
    found = {}
    for name, check in CHECKS.items():
        try:
            check(Cell(family, task))
            found[name] = 'yes'
        except Exception as error:  # any failure of a model is an answer
            traceback.print_exc()
            found[name] = f'{type(error).__name__}: {error}'[:60].replace('\n', ' ')
        print(f'{family}, {task}: {name}: {found[name]}', flush=True)
    return found


def rewrite(answers: dict[tuple[str, str], dict[str, str]]) -> None:
    """Puts the rows of the families that were examined into the page; others stay."""
    before, rows, after = PAGE.read_text().split(MARK)
    columns = [f'{task}: {check}' for task in TASKS for check in CHECKS]
    lines = [f'| family | {" | ".join(columns)} |', '|---' * (len(columns) + 1) + '|']
    for family, network in FAMILIES.items():
        start = f'| {family} ('
        cells = [answers.get((family, task), {}).get(check) for task in TASKS for check in CHECKS]
        if all(cells):
            lines.append(f'{start}`{network["name"]}`) | {" | ".join(cells)} |')
        else:
            lines += [line for line in rows.splitlines() if line.startswith(start)]
    PAGE.write_text(MARK.join([before, '\n{}\n'.format('\n'.join(lines)), after]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', help='families with one of these in their name')
    args = parser.parse_args()
    chosen = [f for f in FAMILIES if not args.only or any(part in f for part in args.only)]
    if not chosen:
        raise ConfigError(f'no family is named {args.only}', f'of {", ".join(FAMILIES)}')
    answers = {(family, task): examine(family, task) for family in chosen for task in TASKS}
    rewrite(answers)
    if any(answer != 'yes' for found in answers.values() for answer in found.values()):
        raise SystemExit(1)


if __name__ == '__main__':
    with report_errors():
        main()
