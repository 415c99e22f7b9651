"""Quick looks: a whole scene's results on a picture of it, in one PNG."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from PIL import Image, ImageDraw

from geo_mm.inputspec import InputSpec
from geo_mm.raster import Grid, Scene
from geo_mm.visualization.rgb import to_rgb

_MAX_SIZE = 1600  # pixels along the longer side
_OPACITY = 0.35
_LEGEND_ROW = 22


def draw_pixels_quicklook(scene: Scene, classes: Path, spec: InputSpec) -> Image.Image:
    """Class colours over the scene; the background class stays clear.

    Args:
        scene: The scene that was predicted.
        classes: Class raster of the same footprint.
        spec: Class names and colours.
    """
    picture, _ = _picture(scene)
    with rasterio.open(classes) as dataset:
        # Nearest neighbour, from overviews: classes cannot be averaged.
        predicted = dataset.read(1, out_shape=picture.shape[:2])
    return _with_legend(Image.fromarray(overlay(picture, predicted, spec)), spec)


def overlay(picture: np.ndarray, classes: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Class colours laid over a picture ``(h, w, 3)`` uint8, with outlines; the
    background and 255 stay clear."""
    colours = np.zeros((256, 3), np.float32)
    colours[: len(spec.classes)] = spec.classes.colours
    opacity = np.zeros(256, np.float32)
    opacity[list(spec.classes.foreground)] = _OPACITY
    opacity = opacity[classes]
    # The same colour as what lies under it shows by its outline alone.
    opacity[(opacity > 0) & _borders(classes)] = 1
    mixed = np.empty_like(picture)
    for band in range(3):  # one at a time takes less memory
        mixed[..., band] = picture[..., band] * (1 - opacity) + colours[classes, band] * opacity
    return mixed


def _borders(classes: np.ndarray) -> np.ndarray:
    """Pixels whose neighbour above, below, left or right has another class."""
    borders = np.zeros(classes.shape, bool)
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    borders[:, 1:] |= across
    borders[:, :-1] |= across
    borders[1:] |= down
    borders[:-1] |= down
    return borders


def draw_objects_quicklook(scene: Scene, objects: gpd.GeoDataFrame, spec: InputSpec) -> Image.Image:
    """Outlines of objects over the scene.

    Args:
        scene: The scene that was predicted.
        objects: Rows with ``class_id`` and geometries in the scene's CRS.
        spec: Class names and colours.
    """
    picture, grid = _picture(scene)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    inverse = ~grid.transform
    for outline, label in zip(objects.geometry, objects['class_id'], strict=True):
        for part in shapely.get_parts(outline):
            for ring in (part.exterior, *part.interiors):
                points = [inverse @ point for point in ring.coords]
                draw.line(points, fill=spec.classes.colours[label], width=2)
    return _with_legend(image, spec)


def _picture(scene: Scene) -> tuple[np.ndarray, Grid]:
    data, valid, grid = scene.read_overview(_MAX_SIZE)
    return to_rgb(data, valid, scene.band_names), grid


def _with_legend(image: Image.Image, spec: InputSpec) -> Image.Image:
    """The image with class colours and names below it."""
    height = _LEGEND_ROW * len(spec.classes) + 8
    canvas = Image.new('RGB', (max(image.width, 200), image.height + height), 'white')
    canvas.paste(image)
    draw = ImageDraw.Draw(canvas)
    for row, name, colour in spec.classes.items():
        top = image.height + 6 + row * _LEGEND_ROW
        draw.rectangle((8, top, 30, top + 14), fill=colour, outline='black')
        draw.text((38, top + 1), name, fill='black')
    return canvas
