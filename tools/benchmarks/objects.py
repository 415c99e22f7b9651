"""Counts objects that tiles cut, with an oracle in place of the detector.

Paints a scene with 5,000 objects: rows of houses wall to wall, scattered ones
of all sizes, and some longer than any tile; with --shapes also rings, hooks
and crooked ones. An oracle stands in for the model: of a tile it reports
exactly the visible part of each object, with a score that grows with the
visible share. Its reports go through `geo_mm.inference.tasks.detection` as those of a
model do, for every tile size and overlap, as boxes and as masks; the result is
compared with the truth:

- count: objects in the result
- IoU:   mean over the true objects of that with the best match, 0 if there is none

SAHI is no dependency. If it is found, its NMS and NMM merge the same boxes, by
intersection over the smaller area (IOS) at 0.5, which is its default, or over
the union (IOU): `pip install --no-deps --target FOLDER sahi==0.12.8`, then
PYTHONPATH=FOLDER.
"""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely
from affine import Affine
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from geo_mm.classes import ClassSet
from geo_mm.inference.area import Area, SceneToPredict
from geo_mm.inference.network import TileObjects
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prediction import Job
from geo_mm.inference.scene_run import predict_in_memory
from geo_mm.inference.tasks import Detection
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Tile, tile_plan
from geo_mm.vectorize import mask_to_polygon

TILES, OVERLAPS = (256, 512, 1024), (32, 64, 128)


def paint_truth(
    side: int, count: int, rng: np.random.Generator, *, shapes: bool = False
) -> np.ndarray:
    """A scene of objects that share no pixel.

    Args:
        side: Of the square scene in pixels.
        count: Objects.
        rng: Where they stand.
        shapes: Not only rectangles.

    Returns:
        ``(side, side)`` uint16 number of the object, 0 where there is none.
    """
    truth = np.zeros((side, side), np.uint16)
    painter = _Painter(truth, rng, shapes)
    for _ in range(count // 50):
        painter.long()
    while painter.number < count * 0.6:
        painter.row(count)
    while painter.number < count:
        painter.lone()
    return truth


class _Painter:
    def __init__(self, truth: np.ndarray, rng: np.random.Generator, shapes: bool) -> None:
        self.truth, self.rng, self.shapes = truth, rng, shapes
        self.number = 0

    def long(self) -> None:
        """Longer than a tile of 1024, up to half the scene."""
        side = len(self.truth)
        length, breadth = self.rng.integers(side // 5, side // 2), self.rng.integers(4, 21)
        crooked = self.shapes and self.rng.random() < 0.5
        patch = np.ones((breadth, length), bool)
        if crooked:
            # As a river: its bounds are wide, and tiles see pieces of it.
            swing = int(self.rng.integers(20, 200))
            path = swing * (1 + np.sin(np.arange(length) * 2 * np.pi / self.rng.integers(200, 900)))
            rows = np.arange(2 * swing + breadth + 1)[:, None]
            patch = (rows >= path) & (rows < path + breadth)
        self._place(patch if self.rng.random() < 0.5 else patch.T)

    def row(self, most: int) -> None:
        """Houses wall to wall."""
        depth = self.rng.integers(10, 25)
        widths = self.rng.integers(7, 20, min(self.rng.integers(5, 60), most - self.number))
        values = np.repeat(np.arange(1, len(widths) + 1), widths)
        patch = np.tile(values, (depth, 1))
        self._place(patch if self.rng.random() < 0.5 else patch.T)

    def lone(self) -> None:
        height, width = np.exp(self.rng.uniform(np.log(3), np.log(100), 2)).astype(int)
        patch = np.ones((height, width), bool)
        if self.shapes and min(height, width) > 8:
            kind = self.rng.integers(4)
            if kind == 1:  # a ring
                patch[height // 3 : -(height // 3), width // 3 : -(width // 3)] = False
            elif kind == 2:  # a hook
                patch[: -(height // 3), width // 3 :] = False
            elif kind == 3:  # open at the top
                patch[: -(height // 3), width // 3 : -(width // 3)] = False
        self._place(patch)

    def _place(self, patch: np.ndarray) -> None:
        """Somewhere free, with a margin of a pixel, if that is found soon."""
        height, width = patch.shape
        for _ in range(50):
            top = self.rng.integers(0, len(self.truth) - height + 1)
            left = self.rng.integers(0, len(self.truth) - width + 1)
            around = self.truth[max(top - 1, 0) : top + height + 1, max(left - 1, 0) :]
            if not around[:, : width + 1 + min(left, 1)].any():
                there = self.truth[top : top + height, left : left + width]
                there[patch > 0] = (patch[patch > 0] + self.number).astype(np.uint16)
                self.number += int(patch.max())
                return


class Oracle:
    """Reports the objects of a tile as they are, and nothing else.

    Args:
        sizes: Pixels of each object of the truth, by number.
        masks: Report masks as well as boxes.
        jitter: Standard deviation in pixels of errors of the sides of boxes.
    """

    def __init__(self, sizes: np.ndarray, *, masks: bool = False, jitter: float = 0.0) -> None:
        self.spec = InputSpec(
            task='objects',
            classes=ClassSet(('object',), ((255, 0, 0),)),
            bands=('number',),
            gsd=None,
            dtype='uint16',
            nodata='auto',
            mean=(0.0,),
            std=(1.0,),
            chip_size=(256, 256),
        )
        self.limit = None
        self.on_cpu = True
        self.task = Detection([self], PredictOptions(batch_size=1, score=0.0))
        self.sizes, self.masks, self.jitter = sizes, masks, jitter
        self.reports: list[np.ndarray] = []

    def load(self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None):
        pixels, valid = scene.read(tile.window)
        return {'tile': tile, 'numbers': np.where(valid, pixels[0], 0)}, valid

    def predict(self, inputs: Sequence[dict]) -> list[TileObjects]:
        return [self._report(**item) for item in inputs]

    def _report(self, tile: Tile, numbers: np.ndarray) -> TileObjects:
        places = dict(enumerate(ndimage.find_objects(numbers), 1))
        seen = np.array([n for n, place in places.items() if place is not None], np.int64)
        corners = [[places[n][axis] for axis in (1, 0)] for n in seen]
        boxes = np.array(
            [[x.start, y.start, x.stop, y.stop] for x, y in corners], np.float64
        ).reshape(-1, 4)
        if self.jitter:
            rng = np.random.default_rng([tile.row, tile.col])
            boxes = np.clip(boxes + rng.normal(0, self.jitter, boxes.shape), 0, len(numbers))
        visible = np.bincount(numbers.ravel(), minlength=len(self.sizes))[seen]
        found = TileObjects(
            numbers.shape,
            boxes,
            0.3 + 0.6 * visible / self.sizes[seen],
            np.zeros(len(seen), np.int64),
            numbers == seen[:, None, None] if self.masks else None,
        )
        shift = [tile.window.col_off, tile.window.row_off] * 2
        self.reports.append(np.column_stack([boxes + shift, found.scores]))
        return found


def outlines_of(truth: np.ndarray) -> np.ndarray:
    """Polygons of the objects of a truth, by number from 1."""
    outlines = []
    for number, (rows, cols) in enumerate(ndimage.find_objects(truth), 1):
        outline = mask_to_polygon(truth[rows, cols] == number)
        corner = np.array([cols.start, rows.start])
        outlines.append(shapely.transform(outline, lambda xy, corner=corner: xy + corner))
    return np.array(outlines, dtype=object)


def agreement(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean over true outlines of the best intersection over union with one that was found."""
    tree = shapely.STRtree(found)
    one, other = tree.query(truth, predicate='intersects')
    shared = shapely.area(shapely.intersection(truth[one], found[other]))
    iou = shared / (shapely.area(truth[one]) + shapely.area(found[other]) - shared)
    best = np.zeros(len(truth))
    np.maximum.at(best, one, iou)
    return float(best.mean())


def sahi_rows(reports: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    """Name of a method of SAHI, and the boxes that it leaves of the oracle's reports."""
    from sahi.postprocess.backends import set_postprocess_backend
    from sahi.postprocess.combine import GreedyNMMPostprocess, NMMPostprocess, NMSPostprocess
    from sahi.prediction import ObjectPrediction

    set_postprocess_backend('numpy')
    for name, method, metric in (
        ('NMS IOU', NMSPostprocess, 'IOU'),
        ('NMS IOS', NMSPostprocess, 'IOS'),
        ('greedy NMM IOS', GreedyNMMPostprocess, 'IOS'),
        ('NMM IOS', NMMPostprocess, 'IOS'),
    ):
        predictions = [
            ObjectPrediction(bbox=row[:4].tolist(), score=float(row[4]), category_id=0)
            for row in reports
        ]
        merged = method(match_threshold=0.5, match_metric=metric)(predictions)
        yield name, np.array([item.bbox.to_xyxy() for item in merged])


def write_truth(truth: np.ndarray, path: Path, tile: int, overlap: int) -> Scene:
    """The truth as a scene of 1 m pixels, so wide that tiles share exactly ``overlap``."""
    steps = -(-max(len(truth) - tile, 0) // (tile - overlap))
    side = tile + steps * (tile - overlap)
    profile = {
        'driver': 'GTiff',
        'count': 1,
        'dtype': 'uint16',
        'height': side,
        'width': side,
        'tiled': True,
        'transform': Affine(1, 0, 500_000, 0, -1, 4_000_000),
        'crs': 'EPSG:32617',
    }
    with rasterio.open(path, 'w', **profile) as dataset:
        dataset.write(np.pad(truth, (0, side - len(truth))), 1)
    return Scene.open(str(path))


def run(
    scene: Scene, truth: np.ndarray, tile: int, overlap: int, *, masks: bool, jitter: float = 0.0
) -> tuple[int, float, np.ndarray]:
    """Objects that are found, their agreement with the truth, and the oracle's reports."""
    oracle = Oracle(np.bincount(truth.ravel()), masks=masks, jitter=jitter)
    plan = tile_plan(scene.width, scene.height, tile, overlap)
    request, options = SceneToPredict(scene), oracle.task.options
    # Nothing is written, so no record of the model is needed.
    job = Job(request, Area(scene, scene), plan, oracle.spec, options, fingerprint=None)
    found = predict_in_memory(oracle, job).objects
    outlines = outlines_of(truth)
    if not masks:
        outlines = shapely.box(*shapely.bounds(outlines).T)
    pixels = shapely.transform(
        found.geometry.to_numpy(), lambda xy: (xy - (500_000, 4_000_000)) * (1, -1)
    )
    return len(found), agreement(outlines, pixels), np.vstack(oracle.reports)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--side', type=int, default=6000, help='of the scene in pixels')
    parser.add_argument('--count', type=int, default=5000, help='objects')
    parser.add_argument('--tile', type=int, nargs='+', default=TILES)
    parser.add_argument('--overlap', type=int, nargs='+', default=OVERLAPS)
    parser.add_argument('--shapes', action='store_true', help='not only rectangles')
    parser.add_argument('--jitter', type=float, default=0.0, help='error of boxes in pixels')
    args = parser.parse_args()
    truth = paint_truth(args.side, args.count, np.random.default_rng(0), shapes=args.shapes)
    kinds = ['masks'] if args.shapes else ['boxes'] if args.jitter else ['boxes', 'masks']
    try:
        import sahi  # noqa: F401

        peers = [] if args.shapes else ['NMS IOU', 'NMS IOS', 'greedy NMM IOS', 'NMM IOS']
    except ModuleNotFoundError as error:
        Console(stderr=True).print(f'without SAHI ({error}): see --help')
        peers = []
    table = Table('tile', 'overlap', *kinds, *(f'SAHI {name}' for name in peers))
    with tempfile.TemporaryDirectory() as folder:
        sizes = [(tile, overlap) for tile in args.tile for overlap in args.overlap]
        for tile, overlap in track(sizes, description='measuring'):
            scene = write_truth(truth, Path(folder, f'{tile}_{overlap}.tif'), tile, overlap)
            cells = []
            for kind in kinds:
                count, iou, reports = run(
                    scene, truth, tile, overlap, masks=kind == 'masks', jitter=args.jitter
                )
                cells.append(f'{count}, {iou:.3f}')
            if peers:
                boxes = shapely.box(*shapely.bounds(outlines_of(truth)).T)
                for _, merged in sahi_rows(reports):
                    iou = agreement(boxes, shapely.box(*merged.T))
                    cells.append(f'{len(merged)}, {iou:.3f}')
            table.add_row(str(tile), str(overlap), *cells)
    Console().print(f'{truth.max()} objects; count, mean IoU:')
    Console().print(table)


if __name__ == '__main__':
    main()
