"""Where which classes are labelled, as points."""

import numpy as np
import rasterio
import shapely

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.errors import LabelError
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import ImageObjects
from geo_mm.labels.label_raster import file_grid
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.reading import read_layer
from geo_mm.raster import Grid
from geo_mm.raster.grid import to_map
from geo_mm.raster.projection import LONLAT, moved

_SAMPLES = 256  # pixels along a side of a label raster that are counted


def class_points(entry: CatalogEntry, column: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Labelled points in longitude and latitude ``(N, 2)``, and their classes as text."""
    nothing = np.empty((0, 2)), np.empty(0, str)
    if entry.labels is None:
        return nothing
    in_pixels = read_image_labels(entry.labels, entry.image)
    if isinstance(in_pixels, ImageObjects):
        shapes, crs = in_pixels.on_map()
        xy = shapely.get_coordinates(shapely.point_on_surface(shapes))
        return moved(xy, crs, LONLAT) if crs else xy, np.array([str(n) for n in in_pixels.names])
    if in_pixels is not None:
        return _pixel_classes(in_pixels.path, file_grid(in_pixels.image))
    if is_label_raster(entry.labels):
        return _pixel_classes(entry.labels, file_grid(entry.labels))
    layer = read_layer(entry.labels, layer=entry.layer)
    if column is not None and column not in layer:
        raise LabelError(
            f'{entry.labels} has no column {column!r}',
            f'one of {", ".join(map(str, layer.columns.drop(["geometry", "fid"])))}',
        )
    xy = shapely.get_coordinates(shapely.point_on_surface(layer.geometry.to_numpy()))
    named = layer[column] if column else ['object'] * len(layer)
    values = np.array([str(name) for name in named])
    return moved(xy, layer.crs, LONLAT) if layer.crs is not None else xy, values


def _pixel_classes(path: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Some pixels of a label raster in longitude and latitude, and their values as text."""
    with rasterio.open(path) as raster:
        height, width = min(raster.height, _SAMPLES), min(raster.width, _SAMPLES)
        values = raster.read(1, out_shape=(height, width)).ravel()
    scale = rasterio.Affine.scale(grid.width / width, grid.height / height)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xy = to_map(np.column_stack([x.ravel(), y.ravel()]), grid.transform @ scale)
    return moved(xy, grid.crs, LONLAT) if grid.crs else xy, values.astype(str)
