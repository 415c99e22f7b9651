"""Every shipped config in every exchange format: is what comes out what PyTorch predicts?

The model of each config, at full size, gets random weights with which features
neither fade nor explode, is exported to ONNX, `.pt2` and safetensors, and each file
predicts a noisy scene of 2 x 1.5 chips with the whole engine (ONNX and safetensors) or as
a program (`.pt2`), beside PyTorch. A line for each config goes to OUT/exports.jsonl;
what is there is not repeated.

    python tools/dev/export_matrix.py [CONFIG ...]
    python tools/dev/export_matrix.py --table

Another onnxruntime loads and runs each ONNX file, too, on a chip, beside the installed one:

    pip install --target OTHER onnxruntime==1.17.0 'numpy<2'
    python tools/dev/export_matrix.py --other OTHER
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from torch import nn

from geo_mm import Predictor, Scene, export_model
from geo_mm.classes import ClassSet
from geo_mm.engine.launch import build_model, load_config
from geo_mm.errors import ConfigError
from geo_mm.inference import Prediction
from geo_mm.inputspec import InputSpec

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'benchmarks'))
from onnx_files import agreement  # noqa: E402

FORMATS = ('onnx', 'pt2', 'safetensors')
RIGHT = 1e-4
"""Difference of a probability that is none."""

RUN = """
import sys, numpy, onnxruntime
network, chip = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=['CPUExecutionProvider'])
found = session.run(None, {'image': numpy.load(chip)})
numpy.savez(chip + 'z', *found)
print(onnxruntime.__version__)
"""
"""What another onnxruntime is asked to do."""


def shipped() -> list[str]:
    """Names of all configs, without folder and suffix."""
    return sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*/*.py'))


def checked(name: str, folder: Path) -> dict:
    """What became of one config."""
    (path,) = (ROOT / 'configs').glob(f'*/{name}.py')
    config = load_config(path)
    checkpoint, spec = write_checkpoint(config, folder / f'{name}.pth')
    height, width = 2 * spec.chip_size[0], spec.chip_size[1] * 3 // 2
    scene = noisy_scene(spec, height, width)
    how = {'tile': spec.chip_size[0], 'force': True, 'batch_size': 2}
    how |= {'probabilities': 'float32'} if spec.of_pixels else {'score': 0.0}
    expected = Predictor(checkpoint, device='cpu', **how).predict(scene)
    row = {'config': name, 'size': f'{height} x {width}'}
    if not spec.of_pixels:
        row['objects'] = len(expected.objects)
    for kind in FORMATS:
        start = time.process_time()
        try:
            (written,) = export_model(checkpoint, folder, formats=[kind], tile=spec.chip_size[0])
        except ConfigError as error:
            row[kind] = f'refused: {str(error).splitlines()[0].partition(": ")[2]}'
            continue
        seconds = time.process_time() - start
        if kind == 'pt2':
            row[kind] = of_program(written, checkpoint, scene, spec)
        else:
            device = {'provider': 'CPUExecutionProvider'} if kind == 'onnx' else {'device': 'cpu'}
            row[kind] = compared(Predictor(written, **device, **how).predict(scene), expected)
        row[f'{kind}, s'] = round(seconds, 1)
    return row


def noisy_scene(spec: InputSpec, height: int, width: int) -> Scene:
    """Blobs of the mean and the standard deviation of each band."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(len(spec.bands), height // 8 + 1, width // 8 + 1))
    blobs = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    mean, std = (np.array(values)[:, None, None] for values in (spec.mean, spec.std))
    return Scene.from_array((mean + std * blobs).astype(np.float32), bands=spec.bands)


def of_program(path: Path, checkpoint: Path, scene: Scene, spec: InputSpec) -> str:
    """What a program of torch.export gives for a chip, beside the model."""
    side = spec.chip_size[0]
    chip = scene.read()[0][:, :side, :side]
    program = torch.export.load(path).module()
    found = program(torch.from_numpy(chip)[None])[0].detach().numpy()
    model = Predictor(checkpoint, device='cpu', tile=side, force=True, probabilities='float32')
    expected = model.predict(Scene.from_array(chip, bands=spec.bands)).probabilities
    return difference(found, expected)


def in_other(name: str, other: Path, folder: Path) -> dict:
    """What another onnxruntime makes of the ONNX file of a config."""
    (path,) = (ROOT / 'configs').glob(f'*/{name}.py')
    checkpoint, spec = write_checkpoint(load_config(path), folder / f'{name}.pth')
    (network,) = export_model(checkpoint, folder, formats=['onnx'], tile=spec.chip_size[0])
    chip = folder / 'chip.np'
    with chip.open('wb') as file:
        np.save(file, noisy_scene(spec, *spec.chip_size).read()[0][None])
    environment = {**os.environ, 'PYTHONPATH': str(other)}
    done = subprocess.run(
        [sys.executable, '-c', RUN, str(network), str(chip)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {'other': f'error: {done.stderr.strip().splitlines()[-1]}'}
    own = onnxruntime.InferenceSession(network, providers=['CPUExecutionProvider'])
    expected = own.run(None, {'image': np.load(chip)})
    with np.load(f'{chip}z') as file:
        found = list(file.values())
    version = {'version': done.stdout.strip()}
    if spec.of_pixels:
        return {'other': f'{np.abs(found[0] - expected[0]).max():.1e}', **version}
    # Middle, size and confidences of each object; of empty places all is 0.
    ones, others = (outputs[0][0].T for outputs in (found, expected))
    ones, others = (each[each[:, 4:].max(1) > 0] for each in (ones, others))
    same = sum(bool(np.isclose(each, others, atol=0.01).all(1).any()) for each in ones)
    return {'other': f'{same} of {len(others)} objects', **version}


def compared(found: Prediction, expected: Prediction) -> str:
    if expected.probabilities is None:
        return agreement(found, expected)
    same = float((found.classes == expected.classes).mean())
    return f'{difference(found.probabilities, expected.probabilities)}, {same:.4%} of classes'


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    far = np.abs(found - expected)
    beyond = int((far.max(0) > RIGHT).sum())
    return f'{far.max():.1e}' + (f' ({beyond} pixels beyond {RIGHT:g})' if beyond else '')


def write_checkpoint(config: Config, path: Path) -> tuple[Path, InputSpec]:
    """A checkpoint as training writes it, of weights that tell pixels apart."""
    dataset = config.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pixels = config.default_scope == 'mmseg'
    classes = tuple(dataset.metainfo.classes)
    side = dataset.chip_size
    # Numbers of bands without names stand for themselves.
    bands = tuple(b if isinstance(b, str) else f'B{b}' for b in dataset.bands)
    if not pixels:
        # Networks that know nothing still have to predict something.
        test_cfg = config.model.test_cfg.get('rcnn', config.model.test_cfg)
        test_cfg.update(score_thr=0.0, conf_thr=0.0, max_per_img=20)
    torch.manual_seed(0)
    model = build_model(config)
    give_weights(model, len(bands))
    preprocessor = model.data_preprocessor
    spec = InputSpec(
        task='pixels' if pixels else 'objects',
        classes=ClassSet(classes, background=classes[0] if pixels else None),
        bands=bands,
        gsd=None,
        dtype='float32',
        nodata=None,
        mean=tuple(preprocessor.mean.flatten().tolist()),
        std=tuple(preprocessor.std.flatten().tolist()),
        chip_size=(side, side) if isinstance(side, int) else tuple(side),
    )
    data = {'meta': {'cfg': config.pretty_text}, 'state_dict': model.state_dict()}
    torch.save({**data, 'input_spec': spec.to_dict()}, path)
    return path, spec


def give_weights(network: nn.Module, bands: int) -> None:
    """Random ones with which features neither fade nor explode, layer after layer."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            # Exponents of the sides of boxes, and classes: scores of exactly 1 are ties.
            if any(word in name for word in ('_reg', 'reg_', 'convs_pred', '_cls', 'conv_seg')):
                module.weight.data *= 0.03
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()
        forward: Callable = network.extract_feat if hasattr(network, 'rpn_head') else network
        forward(torch.randn(2, bands, 128, 160))


def print_markdown(rows: dict[str, dict]) -> None:
    version = next((row['version'] for row in rows.values() if 'version' in row), 'another')
    titles = [*(f'`{kind}`' for kind in FORMATS), f'onnxruntime {version}']
    print('| config | ' + ' | '.join(titles) + ' |')
    print('|---' * (len(titles) + 1) + '|')
    for name, row in sorted(rows.items()):
        cells = (row.get(kind, '') for kind in (*FORMATS, 'other'))
        print(f'| {name} | ' + ' | '.join(map(shortened, cells)) + ' |')


def shortened(cell: str) -> str:
    cell = re.sub(r'^refused.*', 'no', cell)
    cell = re.sub(r'^(\d+) and (\d+) objects, (\d+) of.*', r'\3 of \2 objects', cell)
    return cell.removesuffix(' of classes').replace('0.0e+00', '0').replace('%', ' %')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', help='names; default: all that are shipped')
    parser.add_argument('-o', '--out', type=Path, default=ROOT / 'work_dirs' / 'export_matrix')
    parser.add_argument('--other', type=Path, help='folder with another onnxruntime to run')
    parser.add_argument('--table', action='store_true', help='only print what is there')
    parser.add_argument('--markdown', action='store_true', help='the same as in the docs')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / 'exports.jsonl'
    lines = results.read_text().splitlines() if results.exists() else []
    rows = {row['config']: row for row in map(json.loads, lines) if 'error' not in row}
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    key = 'onnx' if args.other is None else 'other'
    todo = [name for name in args.configs or shipped() if key not in rows.get(name, {})]
    for name in [] if args.table or args.markdown else todo:
        with tempfile.TemporaryDirectory() as folder, results.open('a') as file:
            try:
                if args.other is None:
                    rows[name] = checked(name, Path(folder))
                else:
                    rows[name] = rows[name] | in_other(name, args.other, Path(folder))
            except Exception:  # the others go on
                rows[name] = {'config': name, 'error': traceback.format_exc()}
            print(json.dumps(rows[name]), file=file, flush=True)
            print(*rows[name].values(), sep=' | ', flush=True)
    if args.markdown:
        print_markdown(rows)
        return 0
    table = Table('config', 'scene', *FORMATS, 'other')
    for row in rows.values():
        last = row.get('error', '').splitlines()[-1:]
        table.add_row(
            row['config'],
            row.get('size', str(last)),
            *(row.get(f, '') for f in (*FORMATS, 'other')),
        )
    Console(width=160).print(table)
    return int(any('error' in row for row in rows.values()))


if __name__ == '__main__':
    sys.exit(main())
