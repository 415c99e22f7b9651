"""Maps of true and false positives, false negatives, and of classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import shapely
from PIL import Image, ImageDraw

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.evaluation.area import ScoredArea
from geo_mm.labels.placing import counts_down, mirrored
from geo_mm.raster import Grid, Window

TRUE_POSITIVE, FALSE_POSITIVE = 'true positive', 'false positive'
FALSE_NEGATIVE, DUPLICATE = 'false negative', 'duplicate'

# The colours of Okabe and Ito, which the colour-blind can tell apart.
RESULT_COLORS = {
    TRUE_POSITIVE: (0, 114, 178),
    FALSE_POSITIVE: (230, 159, 0),
    DUPLICATE: (204, 121, 167),
    FALSE_NEGATIVE: (213, 60, 0),
}
"""Colour of each result; later ones are drawn on top."""

_LONGEST = 1600  # pixels
_MAP_SIDE = 1200  # pixels at most, of maps of classes
_SHARPER = 2  # drawn at this many times the size, then averaged
_FILL = 70  # opacity, of 255
_CONTRAST = 0.55  # of the picture below the objects
_BORDER = (60, 60, 60)
_WRONG = np.array([213, 60, 0])
_EMPTY = np.array([255, 255, 255])
_FEWEST = 600  # cells on the long side of a sketch, and less than twice as many


@dataclass(frozen=True, eq=False)
class MapSketch:
    """A part of a scene at a size that fits a page.

    Attributes:
        window: The part.
        step: Pixels on the side of a cell.
        truth: (rows, cols) uint8 true class of the pixel in the cell's upper left
            corner, 255 where it is not compared.
        pred: The same for the prediction.
        compared: (rows, cols) int32, pixels of the cell that are compared.
        wrong: (rows, cols) int32, those of them with the wrong class.
    """

    window: Window
    step: int
    truth: np.ndarray
    pred: np.ndarray
    compared: np.ndarray
    wrong: np.ndarray

    @classmethod
    def blank(cls, window: Window) -> 'MapSketch':
        step = max(max(window.width, window.height) // _FEWEST, 1)
        shape = (-(-window.height // step), -(-window.width // step))
        classes = [np.full(shape, IGNORE, np.uint8) for _ in range(2)]
        return cls(window, step, *classes, *(np.zeros(shape, np.int32) for _ in range(2)))

    def add(self, window: Window, truth, pred, valid, wrong) -> None:
        """Draw one window of the part, given as (height, width) arrays."""
        step = self.step
        rows = np.arange(window.height) + window.row_off - self.window.row_off
        cols = np.arange(window.width) + window.col_off - self.window.col_off
        corners = np.ix_(rows % step == 0, cols % step == 0)
        if corners[0].size and corners[1].size:
            there = np.ix_(rows[rows % step == 0] // step, cols[cols % step == 0] // step)
            self.truth[there] = np.where(valid[corners], truth[corners], IGNORE)
            self.pred[there] = np.where(valid[corners], pred[corners], IGNORE)
        starts = [np.flatnonzero(np.diff(side // step, prepend=-1)) for side in (rows, cols)]
        cells = np.ix_(rows[starts[0]] // step, cols[starts[1]] // step)
        for total, flags in ((self.compared, valid), (self.wrong, wrong)):
            sums = np.add.reduceat(flags, starts[0], axis=0, dtype=np.int32)
            total[cells] += np.add.reduceat(sums, starts[1], axis=1)

    def translated(self, truth_table: np.ndarray, pred_table: np.ndarray) -> 'MapSketch':
        """The sketch with other class numbers, looked up in (256,) tables."""
        truth, pred = (
            np.where(classes == IGNORE, IGNORE, table[classes])
            for classes, table in ((self.truth, truth_table), (self.pred, pred_table))
        )
        return replace(self, truth=truth, pred=pred)


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture to draw objects on.

    Attributes:
        pixels: (height, width, 3) uint8.
        grid: Where it is.
        image: The file that it shows, for a QGIS project.
    """

    pixels: np.ndarray
    grid: Grid
    image: str | None = None


def object_picture(
    features: gpd.GeoDataFrame, backdrop: Backdrop | None = None, areas: Sequence[ScoredArea] = ()
) -> Image.Image:
    """Outlines coloured by result.

    Args:
        features: Rows with ``result``, see :class:`geo_mm.evaluation.objects.ObjectScene`.
        backdrop: What to draw them on, in whatever CRS; plain white without.
        areas: What was scored; its border is drawn.
    """
    if backdrop is None:
        image, to_pixels = _blank(features)
    else:
        image, to_pixels = _photo(backdrop)
        crs = backdrop.grid.crs
        outlines = np.asarray(features.geometry.array)
        if features.crs is not None and crs is not None:
            features = features.to_crs(crs.to_wkt())
        elif backdrop.grid.is_picture and counts_down(outlines):
            features = features.set_geometry(mirrored(outlines))
    draw = ImageDraw.Draw(image, 'RGBA')
    for area in areas:
        for part in shapely.transform(
            area.polygons_like(features.geometry.array, features.crs), to_pixels
        ):
            for ring in (part.exterior, *part.interiors):
                draw.line([tuple(point) for point in ring.coords], fill=_BORDER, width=_SHARPER)
    for result, color in RESULT_COLORS.items():
        chosen = np.asarray(features.geometry.array)[(features['result'] == result).to_numpy()]
        parts, _ = shapely.get_parts(shapely.transform(chosen, to_pixels), return_index=True)
        for part in parts:
            _draw(draw, part, color)
    return image.resize([side // _SHARPER for side in image.size], Image.Resampling.LANCZOS)


def pixel_pictures(sketch: MapSketch, classes: ClassSet) -> dict[str, Image.Image]:
    """Ground truth, prediction and share of wrong pixels, all of one size."""
    table = np.tile(_EMPTY, (256, 1))
    table[: len(classes)] = classes.colours
    share = np.divide(
        sketch.wrong, sketch.compared, out=np.zeros(sketch.wrong.shape), where=sketch.compared > 0
    )[..., None]
    right = np.array([235, 238, 240])
    errors = np.where(sketch.compared[..., None] > 0, right * (1 - share) + _WRONG * share, _EMPTY)
    panels = {'truth': table[sketch.truth], 'prediction': table[sketch.pred], 'errors': errors}
    return {name: _enlarged(panel) for name, panel in panels.items()}


def _enlarged(panel: np.ndarray) -> Image.Image:
    """Small scenes get larger pixels."""
    image = Image.fromarray(panel.round().astype(np.uint8))
    factor = max(_MAP_SIDE // max(image.size), 1)
    return image.resize([side * factor for side in image.size], Image.Resampling.NEAREST)


def _draw(draw: ImageDraw.ImageDraw, part: shapely.Polygon, color: Sequence[int]) -> None:
    outline = [tuple(point) for point in part.exterior.coords]
    low_x, low_y, high_x, high_y = part.bounds
    if max(high_x - low_x, high_y - low_y) < 3 * _SHARPER:
        # Too small for an outline, but not to be lost.
        x, y, half = (low_x + high_x) / 2, (low_y + high_y) / 2, 1.5 * _SHARPER
        draw.rectangle((x - half, y - half, x + half, y + half), fill=(*color, 255))
        return
    if not part.interiors:  # Pillow would fill the holes too
        draw.polygon(outline, fill=(*color, _FILL))
    # A light rim sets the line off from whatever is under it.
    for fill, width in (((255, 255, 255, 160), 4), ((*color, 255), 2)):
        for ring in (part.exterior, *part.interiors):
            draw.line([tuple(point) for point in ring.coords], fill=fill, width=width * _SHARPER)


def _blank(features: gpd.GeoDataFrame):
    bounds = features.total_bounds if len(features) else np.array([0, 0, 1, 1])
    low, high = bounds[:2], bounds[2:]
    if features.crs is not None and features.crs.is_geographic:
        # A degree of longitude is shorter than one of latitude.
        stretch = np.array([max(np.cos(np.radians((low[1] + high[1]) / 2)), 0.05), 1.0])
    else:
        stretch = np.ones(2)
    extent = np.maximum((high - low) * stretch, 1e-12)
    margin = 0.02 * extent.max()
    scale = _LONGEST * _SHARPER / (extent.max() + 2 * margin)
    size = np.maximum(np.ceil((extent + 2 * margin) * scale), 64 * _SHARPER).astype(int)
    image = Image.new('RGB', tuple(size.tolist()), 'white')

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        placed = ((xy - low) * stretch + margin) * scale
        return np.column_stack([placed[:, 0], size[1] - placed[:, 1]])

    return image, to_pixels


def _photo(backdrop: Backdrop):
    # Pale and grey, so that the four colours stand out.
    grey = backdrop.pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    image = Image.fromarray((grey * _CONTRAST + 255 * (1 - _CONTRAST)).astype(np.uint8))
    image = image.resize([side * _SHARPER for side in image.size])
    inverse = ~backdrop.grid.transform

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(inverse @ (xy[:, 0], xy[:, 1])) * _SHARPER

    return image, to_pixels
