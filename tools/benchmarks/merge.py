"""Time of NMS and NMM on the same boxes: geo_mm against SAHI's numpy backend.

- scattered: 20,000 boxes of 10 to 50 pixels, one in a square of 40 pixels
- clustered: 33,000 boxes, 33 on each of 1,000 objects, a few pixels off
- crowded:   33,337 boxes of 1 to 40 pixels in a square of 80 pixels, as in SAHI's own
             benchmark: each overlaps thousands
- growth:    scattered boxes from 10,000 to a million, geo_mm only, with the peak
             of the process's memory

SAHI is no dependency; it is compared if it is found:
`pip install --no-deps --target FOLDER sahi==0.12.8`, then PYTHONPATH=FOLDER.
It takes float32; geo_mm is given the same numbers. The methods take turns,
and the best turn of each counts. Its greedy NMM claims boxes as
ours does; its other NMM also claims what the claimed ones overlap. By IOU,
both must keep the same number of boxes, except for equal scores.
"""

import argparse
import resource
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.detections import Detections, nms, soft_nms, suppressors

GROWTH = (10_000, 100_000, 1_000_000)

Key = TypeVar('Key', bound=Hashable)


def scattered(count: int) -> np.ndarray:
    """``(count, 6)`` float32 ``x_min, y_min, x_max, y_max, score, class``."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, np.sqrt(count) * 40, (count, 2))
    return _rows(corners, rng.uniform(10, 50, (count, 2)), rng.random(count))


def clustered(objects: int, copies: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    corners = np.repeat(rng.uniform(0, np.sqrt(objects) * 60, (objects, 2)), copies, axis=0)
    sides = np.repeat(rng.uniform(15, 50, (objects, 2)), copies, axis=0)
    corners += rng.normal(0, 3, corners.shape)
    return _rows(corners, sides + rng.normal(0, 2, sides.shape), rng.random(len(corners)))


def crowded(count: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    corners, sides = rng.uniform(0, 80, (count, 2)), rng.uniform(1, 40, (count, 2))
    return _rows(corners, sides, rng.random(count))


def _rows(corners: np.ndarray, sides: np.ndarray, scores: np.ndarray) -> np.ndarray:
    rows = np.column_stack([corners, corners + sides, scores, np.zeros(len(scores))])
    return rows.astype(np.float32)


def detections(rows: np.ndarray) -> Detections:
    return Detections(rows[:, :4], rows[:, 5], rows[:, 4])


def methods(rows: np.ndarray, by: str, least: float) -> dict[str, Callable[[], int]]:
    """What is timed; each gives the number of boxes that it keeps."""
    given = detections(rows)
    limits = (least, None) if by == 'IOU' else (2.0, least)
    ours = {
        'nms': lambda: len(nms(given, *limits)),
        # As SAHI does: which are merged with which, without the merged boxes.
        'nmm': lambda: len(np.unique(suppressors(given, *limits))),
        'soft-nms': lambda: len(soft_nms(given, least=0.05)),
    }
    try:
        from sahi.postprocess._numpy_backend import greedy_nmm_numpy, nmm_numpy, nms_numpy
    except ModuleNotFoundError as error:
        Console(stderr=True).print(f'without SAHI ({error}): see --help')
        return ours
    return ours | {
        'SAHI nms': lambda: len(nms_numpy(rows, by, least)),
        'SAHI greedy nmm': lambda: len(greedy_nmm_numpy(rows, by, least)),
        'SAHI nmm': lambda: len(nmm_numpy(rows, by, least)),
    }


def best_of(functions: Mapping[Key, Callable[[], int]], repeats: int) -> dict[Key, tuple]:
    """Time in seconds, and result, of each; they take turns, and the best turn counts.

    A turn lasts 0.2 s at least, in which a short function is called again and
    again, and the mean counts: the best of many short calls against the best
    of few long ones would compare luck. It is the processor's time, so what
    else the machine does counts less.
    """
    best = dict.fromkeys(functions, (np.inf, 0))
    for _ in range(repeats):
        for name, function in functions.items():
            calls, start, seconds = 0, time.process_time(), 0.0
            while seconds < 0.2:
                result, calls = function(), calls + 1
                seconds = time.process_time() - start
            best[name] = min(best[name], (seconds / calls, result))
    return best


def compare(repeats: int) -> Table:
    cases = [
        ('scattered', scattered(20_000), 'IOU', 0.5),
        ('clustered', clustered(1000, 33), 'IOU', 0.5),
        ('clustered', clustered(1000, 33), 'IOS', 0.5),
        ('crowded', crowded(33_337), 'IOU', 0.5),
        ('crowded', crowded(33_337), 'IOS', 0.3),
    ]
    names = list(methods(cases[0][1], 'IOU', 0.5))
    table = Table('boxes', *(f'{name}, ms (kept)' for name in names), 'SAHI / ours: nms, nmm')
    for name, rows, by, least in track(cases, description='comparing'):
        timed = methods(rows, by, least)
        if name == 'crowded':
            del timed['soft-nms']  # It needs all pairs, of which there are 10^8.
        best = best_of(timed, repeats)
        cells = [
            f'{best[key][0] * 1e3:.1f} ({best[key][1]})' if key in best else '' for key in names
        ]
        ratios = [
            f'{best[peer][0] / best[own][0]:.1f}'
            for own, peer in (('nms', 'SAHI nms'), ('nmm', 'SAHI greedy nmm'), ('nmm', 'SAHI nmm'))
            if peer in best
        ]
        table.add_row(f'{len(rows)} {name}, {by} {least}', *cells, ', '.join(ratios))
    return table


def grow(repeats: int) -> Table:
    methods = {}
    for count in GROWTH:
        given = detections(scattered(count))
        methods['nms', count] = partial(_count, nms, given)
        methods['nmm', count] = partial(_count, suppressors, given)
    best = best_of(methods, repeats)
    table = Table('boxes', 'nms, ms', 'per box', 'nmm, ms', 'per box')
    for count in GROWTH:
        cells = []
        for name in ('nms', 'nmm'):
            seconds, first = best[name, count][0], best[name, GROWTH[0]][0]
            cells += [f'{seconds * 1e3:.1f}', f'x {seconds / count / (first / GROWTH[0]):.2f}']
        table.add_row(f'{count}', *cells)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table.caption = f'peak memory of the process: {peak:.0f} MB'
    return table


def _count(method: Callable, given: Detections) -> int:
    return len(method(given))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    # First, since the peak of memory is that of the whole process.
    grown = grow(args.repeats)
    Console().print(grown)
    Console().print(compare(args.repeats))


if __name__ == '__main__':
    main()
