"""Prediction with an ONNX file beside PyTorch: seconds on the CPU, and how alike results are.

A checkpoint is exported, and both predict a scene in memory, in turns, with the whole
engine. Medians count; time of the CPU says more than time on the clock where other
programs run.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely

from geo_mm import Predictor, Scene, export_model
from geo_mm.inference import Prediction


def clocks(predictor: Predictor, scene: Scene) -> tuple[float, float, Prediction]:
    """Seconds on the clock and of the CPU, and the result."""
    start, used = time.perf_counter(), time.process_time()
    found = predictor.predict(scene)
    return time.perf_counter() - start, time.process_time() - used, found


def agreement(ours: Prediction, theirs: Prediction) -> str:
    """How alike two results are, in words."""
    if ours.classes is not None:
        differ = int((ours.classes != theirs.classes).sum())
        return f'same class on {1 - differ / ours.classes.size:.4%} of pixels ({differ} differ)'
    found, expected = (p.objects.geometry.to_numpy() for p in (ours, theirs))
    pairs = shapely.STRtree(expected).query(found, 'intersects')
    one, other = found[pairs[0]], expected[pairs[1]]
    common = shapely.area(shapely.intersection(one, other)) / shapely.area(
        shapely.union(one, other)
    )
    best = np.zeros(len(found))
    np.maximum.at(best, pairs[0], common)
    same = int((best >= 0.99).sum())
    return f'{len(found)} and {len(expected)} objects, {same} of them with IoU >= 0.99'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('scene')
    parser.add_argument('--side', type=int, help='of the part of the scene, in pixels')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--score', type=float, default=0.3)
    parser.add_argument('--trust-checkpoint', action='store_true')
    args = parser.parse_args()
    scene = Scene.open(args.scene)
    with tempfile.TemporaryDirectory() as folder:
        (model,) = export_model(
            args.checkpoint, Path(folder), trust_checkpoint=args.trust_checkpoint
        )
        how = {'batch_size': args.batch_size, 'score': args.score, 'force': True}
        if Predictor(model).spec.of_pixels:
            del how['score']
        predictors = {
            'PyTorch': Predictor(
                args.checkpoint, device='cpu', trust_checkpoint=args.trust_checkpoint, **how
            ),
            'onnxruntime': Predictor(model, provider='CPUExecutionProvider', **how),
        }
        if args.side:
            bands = predictors['PyTorch'].spec.bands
            pixels = scene.select(bands).read()[0][:, : args.side, : args.side]
            scene = Scene.from_array(pixels, transform=scene.transform, crs=scene.crs, bands=bands)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in predictors}
        results = {}
        for _ in range(args.repeats + 1):
            for name, predictor in predictors.items():
                *seconds, results[name] = clocks(predictor, scene)
                taken[name].append(tuple(seconds))
    print(f'{scene.width} x {scene.height} pixels, batches of {args.batch_size}')
    medians = {}
    for name, seconds in taken.items():
        medians[name] = [statistics.median(column) for column in zip(*seconds[1:], strict=True)]
        print(f'{name}: {medians[name][1]:.1f} s of the CPU, {medians[name][0]:.1f} s on the clock')
    ratio = medians['onnxruntime'][1] / medians['PyTorch'][1]
    print(f'onnxruntime takes {ratio:.2f} of the CPU time')
    print(agreement(results['onnxruntime'], results['PyTorch']))


if __name__ == '__main__':
    main()
