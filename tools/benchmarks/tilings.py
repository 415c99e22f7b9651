"""How far the objects that a real detector finds depend on the tiles.

Predicts a scene with one tile that covers all of it, and then with several
tilings. Of each, for every least score:

- objects: how many there are
- again:   share of those of the one tile that are found again, IoU 0.5 or more
- core:    share that the tile whose core an object is in reports, nothing
           being joined: what the model itself says when it sees other surroundings
- joining: objects that come out if the tiles report those of the one tile, cut
           at their edges, and so agree: what joining alone changes
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np
import shapely
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.inference import PredictOptions, TrainedModel
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.ensemble import Ensemble
from geo_mm.inference.network import TileObjects
from geo_mm.inference.runner import TileSource, predicted_rows, rows_of
from geo_mm.inference.tasks.detection import DetectionMerger, join_strips
from geo_mm.raster import Scene, Tile, tile_plan


class Replay:
    """Reports given boxes as far as they are in a tile.

    Args:
        boxes: ``(N, 4)`` in pixels of the scene.
        scores: ``(N,)``.
    """

    def __init__(self, boxes: np.ndarray, scores: np.ndarray) -> None:
        self.boxes, self.scores = boxes, scores

    def load(self, scene: Scene, tile: Tile, aoi: None = None) -> tuple[Tile, np.ndarray]:
        return tile, np.ones((tile.window.height, tile.window.width), bool)

    def predict(self, inputs: Sequence[Tile]) -> list[TileObjects]:
        return [self._report(tile) for tile in inputs]

    def _report(self, tile: Tile) -> TileObjects:
        corner = [tile.window.col_off, tile.window.row_off]
        boxes = np.clip(self.boxes - corner * 2, 0, tile.window.width)
        seen = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        labels = np.zeros(int(seen.sum()), np.int64)
        size = tile.window.height, tile.window.width
        return TileObjects(size, boxes[seen], self.scores[seen], labels)


def reports(
    model: Ensemble | Replay, scene: Scene, plan: Sequence[Tile], scores: Sequence[float]
) -> dict[float, list[dict[str, np.ndarray]]]:
    """What the tiles report with each least score, row by row."""
    works = {score: DetectionMerger(scene, score) for score in scores}
    found = {score: [] for score in scores}
    sources = [[TileSource(scene, tile) for tile in row] for row in rows_of(plan)]
    with closing(predicted_rows(model, sources, 1)) as rows:
        for row in rows:
            tiles = list(row)
            for score, work in works.items():
                found[score].append(work.finish(tiles))
    return found


def joined(rows: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the objects in pixels of the scene, and their confidences."""
    found = join_strips(rows, PredictOptions())
    return found.boxes, found.confidences


def in_core(rows: Sequence[Mapping]) -> np.ndarray:
    """Boxes of the reports whose centre is in the core of their tile."""
    boxes = np.vstack([row['boxes'] for row in rows])
    cores = np.vstack([np.repeat(row['cores'], row['counts'], axis=0) for row in rows])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return boxes[((middle >= cores[:, :2]) & (middle < cores[:, 2:])).all(axis=1)]


def found_again(boxes: np.ndarray, others: np.ndarray) -> float:
    """Share of boxes that have one of the others on them, IoU 0.5 or more."""
    mine, theirs = shapely.box(*boxes.T), shapely.box(*others.T)
    one, other = shapely.STRtree(theirs).query(mine, predicate='intersects')
    shared = shapely.area(shapely.intersection(mine[one], theirs[other]))
    union = shapely.area(mine[one]) + shapely.area(theirs[other]) - shared
    return len(np.unique(one[shared >= 0.5 * union])) / len(boxes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a detector of one class')
    parser.add_argument('scene')
    parser.add_argument('--tile', type=int, nargs='+', default=(256, 384, 512))
    parser.add_argument('--overlap', type=int, nargs='+', default=(64, 128))
    parser.add_argument('--score', type=float, nargs='+', default=(0.3, 0.5))
    args = parser.parse_args()
    spec = TrainedModel(args.checkpoint).spec
    scene = SceneToPredict(args.scene).open(spec, PredictOptions()).scene
    side = -(-max(scene.width, scene.height) // 32) * 32
    tilings = [(side, 0)] + [(tile, overlap) for tile in args.tile for overlap in args.overlap]
    table = Table('tile', 'overlap', 'least score', 'objects', 'again', 'core', 'joining')
    whole: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    for tile, overlap in track(tilings, description='predicting'):
        plan = tile_plan(scene.width, scene.height, tile, overlap)
        model = Ensemble([TrainedModel(args.checkpoint, tile=tile)], PredictOptions())
        for score, rows in reports(model, scene, plan, args.score).items():
            boxes, scores = joined(rows)
            known = whole.setdefault(score, (boxes, scores))
            again = [found_again(known[0], other) for other in (boxes, in_core(rows))]
            replayed = reports(Replay(*known), scene, plan, [0.0])[0.0]
            alone = len(joined(replayed)[0])
            cells = (tile, overlap, score, len(boxes), *(f'{x:.3f}' for x in again), alone)
            table.add_row(*map(str, cells))
    console = Console()
    console.print(f'{scene.width} x {scene.height} pixels')
    console.print(table)


if __name__ == '__main__':
    main()
