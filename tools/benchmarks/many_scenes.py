"""What a catalog of very many scenes costs beside the prediction: lists, shards, Dask, status.

Prediction is replaced by a sleep, so this measures what is left: how long a list takes
to be named, divided and submitted, what the scheduler of Dask needs of memory, and how
many scenes per second can pass through it.

    python tools/benchmarks/many_scenes.py --scenes 10000 --workers 2 --sleep 0
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import psutil
from distributed import LocalCluster

from geo_mm.inference import cluster
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.cluster import ModelFiles, predict_on_cluster
from geo_mm.inference.scene_lists import shard
from geo_mm.inference.scenes import Outcome
from geo_mm.inference.status import prediction_status

MIB = 1 << 20
IDENTITY = 'simulated'


def simulated(task: cluster._Task, scene: SceneToPredict, _rows: int | None) -> Outcome:
    """In place of a prediction: a sleep, and a record as it leaves one."""
    time.sleep(float(os.environ['GEO_MM_SLEEP']))
    record = {'identity': IDENTITY, 'tiles': 1}
    (task.folder / f'{scene.stem}.json').write_text(json.dumps(record))
    return Outcome(scene)


def simulated_settings(model: ModelFiles) -> str:
    """In place of loading a model."""
    return IDENTITY


def memory() -> float:
    """MiB of this process, in which a local scheduler and its client are."""
    return psutil.Process().memory_info().rss / MIB


def run(scenes: list[SceneToPredict], folder: Path, workers: int) -> None:
    began = time.perf_counter()
    parts = [len(shard(scenes, f'{number}/100')) for number in range(3)]
    print(f'shards: {(time.perf_counter() - began) / 3:.2f} s each, {parts} scenes of 100 shards')
    before, marks, largest = memory(), [], 0.0

    def report(_: Outcome) -> None:
        nonlocal largest
        marks.append(time.perf_counter())
        if len(marks) % 500 == 1:
            largest = max(largest, memory())

    arguments = dict(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**arguments) as local:
        began, computed = time.perf_counter(), time.process_time()
        predict_on_cluster(
            ModelFiles(('none',)), scenes, folder, local.scheduler_address, report=report
        )
        ended, computed = time.perf_counter(), time.process_time() - computed
    print(f'start-up: {marks[0] - began:.1f} s to the first scene')
    print(f'rate: {len(marks) / (ended - marks[0]):.0f} scenes/s')
    print(f'CPU of client and scheduler: {computed / len(scenes) * 1e3:.1f} ms per scene')
    print(f'memory of client and scheduler: {before:.0f} MiB before, at most {largest:.0f} MiB')
    began = time.perf_counter()
    status = prediction_status(folder)
    print(f'status: {time.perf_counter() - began:.1f} s, {status.counts["done"]} done')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scenes', type=int, default=10_000)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--sleep', type=float, default=0.0, help='seconds in place of a prediction')
    args = parser.parse_args()
    os.environ['GEO_MM_SLEEP'] = str(args.sleep)  # workers inherit it
    cluster._predict, cluster._settings = simulated, simulated_settings
    scenes = [SceneToPredict(f'/data/{number:07}.tif') for number in range(args.scenes)]
    with tempfile.TemporaryDirectory() as folder:
        run(scenes, Path(folder), args.workers)


if __name__ == '__main__':
    main()
