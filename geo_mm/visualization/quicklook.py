"""Quick looks: a whole scene's results on a picture of it, as a small map."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import cv2
import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from PIL import Image, ImageDraw

from geo_mm.classes import ClassSet, Colour
from geo_mm.paths import atomic_write, reported, write_text
from geo_mm.raster import Grid, Scene
from geo_mm.raster.rgb import INVALID_COLOUR, to_rgb
from geo_mm.visualization.map_frame import Entry, framed

SUFFIXES = ('_quicklook.png', '_quicklook.pgw', '_quicklook.png.aux.xml')
"""Of the files of a quick look, after the name of the results. Not the plain
name: QGIS would paint ``town.png`` by the style of ``town.tif``, ``town.qml``."""

_MAX_SIZE = 1600  # pixels along the longer side
_ENLARGED_TO = 512  # small scenes, so that one can see them
_OPACITY = 0.35
_RIM = (20, 20, 20)
_AOI_COLOUR = (255, 255, 255)


@dataclass(frozen=True)
class Quicklook:
    """A finished picture.

    Attributes:
        image: The picture with title, scale and legend below it.
        grid: Of the picture; the upper left corner is that of the scene.
    """

    image: Image.Image
    grid: Grid

    def save(self, path: str | PathLike) -> tuple[Path, ...]:
        """Write it as PNG, with a world file and CRS beside it, where it has them.

        Args:
            path: The picture, ``.png``.

        Returns:
            The files, the picture first.

        Raises:
            OutputError: If it cannot be written.
        """
        path = Path(path)
        with reported(path), atomic_write(path, sidecars=['.aux.xml'], sync=False) as partial:
            # OpenCV writes it in half of Pillow's time; its colours are BGR. Rows of an
            # enlarged scene repeat, so that no filter is the fastest and smallest.
            flags = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
            flags += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
            flags += [cv2.IMWRITE_PNG_COMPRESSION, 1]
            encoded = cv2.imencode('.png', np.asarray(self.image)[..., ::-1], flags)[1]
            partial.write_bytes(encoded.tobytes())
        files = [path]
        if not self.grid.transform.is_identity:
            # World files give the centre of the first pixel.
            a, b, c, d, e, f, *_ = self.grid.vector_transform @ Affine.translation(0.5, 0.5)
            numbers = '\n'.join(f'{value!r}' for value in (a, d, b, e, c, f))
            files.append(write_text(path.with_suffix('.pgw'), numbers + '\n'))
        else:
            path.with_suffix('.pgw').unlink(missing_ok=True)
        if self.grid.crs is not None:
            root = ElementTree.Element('PAMDataset')
            ElementTree.SubElement(root, 'SRS').text = self.grid.crs.to_wkt()
            text = ElementTree.tostring(root, encoding='unicode')
            files.append(write_text(f'{path}.aux.xml', text + '\n'))
        return tuple(files)


def quicklook_shape(scene: Scene) -> tuple[int, int]:
    """``(rows, columns)`` of the quick look of a scene, without what stands below it."""
    longer = max(scene.width, scene.height)
    factor = max(longer / _MAX_SIZE, 1) / _times(longer)
    return max(round(scene.height / factor), 1), max(round(scene.width / factor), 1)


def _times(longer: int) -> int:
    """How many pixels of the picture a pixel of a small scene is long."""
    return max(1, math.ceil(_ENLARGED_TO / longer))


def draw_pixels_quicklook(
    scene: Scene,
    labels: np.ndarray,
    classes: ClassSet,
    *,
    shares: Mapping[str, float] | None = None,
    aoi: Sequence[shapely.Geometry] = (),
) -> Quicklook:
    """Class colours over the scene; the background class stays clear.

    Args:
        scene: The scene that was predicted.
        labels: Its class indices, in the shape of :func:`quicklook_shape`.
        classes: Names and colours.
        shares: Part of the whole raster that each class has, for the legend; by
            default that of ``labels``, in which small things may be missing.
        aoi: Polygons in pixels of the scene that were predicted alone.
    """
    picture, valid, grid = _picture(scene)
    image = Image.fromarray(overlay(picture, labels, classes))
    if shares is None:
        shares = {name: float((labels == index).mean()) for index, name, _ in classes.items()}
    legend = [
        Entry(
            f'{name}  {_percent(shares[name])}',
            None if name == classes.background else colour,
        )
        for _, name, colour in classes.items()
        if shares.get(name)
    ]
    missing = max(0.0, 1 - sum(shares.values()))
    return _finished(scene, image, grid, [*legend, *_no_data(missing, valid)], aoi)


def draw_objects_quicklook(
    scene: Scene,
    objects: gpd.GeoDataFrame,
    classes: ClassSet,
    *,
    aoi: Sequence[shapely.Geometry] = (),
) -> Quicklook:
    """Outlines of objects over the scene.

    Args:
        scene: The scene that was predicted.
        objects: Rows with ``class_id`` and geometries, as in a layer of the scene.
        classes: Names and colours.
        aoi: Polygons in pixels of the scene that were predicted alone.
    """
    picture, valid, grid = _picture(scene)
    image = Image.fromarray(picture)
    to_picture = ~grid.transform @ scene.grid.transform @ ~scene.grid.vector_transform
    for outline, label in zip(objects.geometry, objects['class_id'], strict=True):
        _draw_outline(image, outline, to_picture, classes.colours[label])
    numbers = np.bincount(objects['class_id'].to_numpy(np.int64), minlength=len(classes))
    legend = [
        Entry(f'{name}  {numbers[index]:,}', colour, line=True)
        for index, name, colour in classes.items()
        if numbers[index]
    ]
    legend += _no_data(float((~valid).mean()), valid)
    return _finished(scene, image, grid, legend, aoi)


def overlay(picture: np.ndarray, labels: np.ndarray, classes: ClassSet) -> np.ndarray:
    """Class colours laid over a picture ``(h, w, 3)`` uint8, with outlines; the
    background and pixels without a class stay clear."""
    palette, clear = np.zeros((256, 1, 3), np.uint8), np.ones(256, np.uint8)
    palette[: len(classes), 0] = classes.colours
    clear[list(classes.foreground)] = 0
    colours = cv2.LUT(cv2.merge([labels] * 3), palette)
    mixed = cv2.addWeighted(picture, 1 - _OPACITY, colours, _OPACITY, 0)
    # The same colour as what is under it shows by its outline alone.
    cv2.copyTo(colours, _borders(labels).view(np.uint8), mixed)
    return cv2.copyTo(picture, clear[labels], mixed)


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels whose neighbour above, below, left or right has another class."""
    borders = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    borders[:, 1:] |= across
    borders[:, :-1] |= across
    borders[1:] |= down
    borders[:-1] |= down
    return borders


def _picture(scene: Scene) -> tuple[np.ndarray, np.ndarray, Grid]:
    data, valid, grid = scene.read_overview(_MAX_SIZE)
    rgb = to_rgb(data, valid, scene.band_names)
    times = _times(max(scene.width, scene.height))
    if times > 1:
        width, height = grid.width * times, grid.height * times
        grid = Grid(grid.transform @ Affine.scale(1 / times), width, height, grid.crs)
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_NEAREST)
    return rgb, valid, grid


def _no_data(share: float, valid: np.ndarray) -> list[Entry]:
    """The legend of what has no result; the picture shows it where it has no pixels either."""
    if share < 1e-6:
        return []
    return [Entry(f'no data  {_percent(share)}', None if valid.all() else INVALID_COLOUR)]


def _finished(
    scene: Scene,
    image: Image.Image,
    grid: Grid,
    legend: Sequence[Entry],
    aoi: Sequence[shapely.Geometry],
) -> Quicklook:
    for part in aoi:
        _draw_outline(image, part, ~grid.transform @ scene.grid.transform, _AOI_COLOUR)
    if len(aoi):
        legend = [*legend, Entry('area of interest', _RIM, line=True)]
    return Quicklook(framed(image, grid, scene.name, legend), grid)


def _draw_outline(
    image: Image.Image, outline: shapely.Geometry, to_picture: Affine, colour: Colour
) -> None:
    """A line with a dark rim, which shows on ground of its own colour, too."""
    draw = ImageDraw.Draw(image)
    rings = [
        [to_picture @ point for point in ring.coords]
        for part in shapely.get_parts(outline)
        if part.geom_type == 'Polygon'
        for ring in (part.exterior, *part.interiors)
    ]
    for fill, width in ((_RIM, 4), (colour, 2)):
        for points in rings:
            draw.line(points, fill=fill, width=width)


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return '< 0.1 %'
    digits = 0 if share >= 0.9995 or math.isclose(share, 0) else 1
    return f'{share * 100:.{digits}f} %'
