"""What is to be predicted: files, scenes or arrays, whole or in part."""

import contextlib
import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from geo_mm.catalog import read_aoi
from geo_mm.errors import LabelError, SceneError
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Window


@dataclass(frozen=True)
class Area:
    """What is predicted, in two grids of the same footprint.

    Attributes:
        native: The scene in its own pixels.
        scene: The scene as the model must see it.
        aoi: Polygons in the grid of ``scene``; what lies outside has no data.
    """

    native: Scene
    scene: Scene
    aoi: SceneLabels | None = None


def open_area(
    source: str | PathLike | Sequence[str | PathLike] | Scene,
    spec: InputSpec,
    *,
    nodata: float | str | None,
    window: tuple[float, float, float, float] | None = None,
    aoi: str | PathLike | None = None,
    force: bool = False,
) -> Area:
    """Opens a scene as a model must see it.

    Args:
        source: File, or co-registered files, or a scene.
        spec: What the model must be fed.
        nodata: Value of pixels without data; not for scenes, which have one.
        window: ``(x_min, y_min, x_max, y_max)`` in map units: only this part.
        aoi: Vector file with polygons: only what lies inside.
        force: As for :meth:`InputSpec.fit`.

    Raises:
        SceneError: If it cannot be read, or the window lies outside.
        SpecError: If it cannot be made into what the model must be fed.
        LabelError: If the AOI cannot be read or lies elsewhere.
    """
    whole = native = source if isinstance(source, Scene) else _opened(source, spec, nodata)
    if window is not None:
        native = native.crop(_pixel_window(native, window))
    scene = spec.fit(native, force=force)
    return Area(native, scene, None if aoi is None else _polygons(str(aoi), whole, scene))


def _polygons(aoi: str, whole: Scene, scene: Scene) -> SceneLabels:
    try:
        return read_aoi(aoi, whole, scene)
    except LabelError as error:
        raise LabelError(f'the AOI cannot be used: {error}') from error


def _opened(
    source: str | PathLike | Sequence[str | PathLike], spec: InputSpec, nodata: float | str | None
) -> Scene:
    try:
        # By name, because an alpha band is left out unless asked for, and
        # in some files that is the near infrared.
        return Scene.open(source, bands=spec.bands, nodata=nodata)
    except SceneError:
        return Scene.open(source, nodata=nodata)


def _pixel_window(scene: Scene, bounds: tuple[float, float, float, float]) -> Window:
    """The pixels that a rectangle in map units touches."""
    x_min, y_min, x_max, y_max = bounds
    if x_min >= x_max or y_min >= y_max:
        raise SceneError(
            f'{scene.sources[0]}: the window {bounds} is empty',
            'x_min, y_min, x_max, y_max, the smaller numbers first',
        )
    corners = [(x, y) for x in (x_min, x_max) for y in (y_min, y_max)]
    cols, rows = zip(*(~scene.transform @ corner for corner in corners), strict=True)
    # A rectangle along pixel edges takes no pixel more, rounding or not.
    left, top = (math.floor(min(values) + 1e-6) for values in (cols, rows))
    right, bottom = (math.ceil(max(values) - 1e-6) for values in (cols, rows))
    window = Window(left, top, right - left, bottom - top).intersection(scene.grid.window)
    if not window.area:
        raise SceneError(
            f'{scene.sources[0]}: the window {bounds} touches none of its pixels',
            f'x_min, y_min, x_max, y_max within {tuple(round(v, 3) for v in scene.grid.bounds)}, '
            "in the scene's CRS",
        )
    return window


@contextlib.contextmanager
def scene_of_array(
    array: np.ndarray | Any,
    *,
    transform: Affine | None = None,
    crs: Any = None,
    bands: Sequence[str] | None = None,
    nodata: float | str | None = 'auto',
) -> Iterator[Scene]:
    """A scene over an array, as long as the context lasts.

    Args:
        array: ``(bands, height, width)``, or an xarray.DataArray of these
            dimensions with rioxarray's accessor, whose georeference, nodata
            and ``long_name`` (band names) are taken.
        transform: Pixel to map coordinates.
        crs: Anything rasterio takes for a CRS.
        bands: Names of the bands.
        nodata: Value of pixels without data.

    Raises:
        SceneError: If it is not of three dimensions.
    """
    if hasattr(array, 'rio'):
        rio, names = array.rio, array.attrs.get('long_name')
        transform, crs = transform or rio.transform(), crs or rio.crs
        bands = bands or ([names] if isinstance(names, str) else names)
        nodata = rio.nodata if nodata == 'auto' and rio.nodata is not None else nodata
    values = np.asarray(array)
    if values.ndim != 3:
        raise SceneError(
            f'an array of shape {values.shape}', 'an array (bands, height, width)', 'array[None]'
        )
    if bands is not None and len(bands) != len(values):
        raise SceneError(
            f'{len(bands)} names of bands for an array of shape {values.shape}',
            'an array (bands, height, width) and a name for each band',
            'np.moveaxis(array, -1, 0) if the bands come last',
        )
    # GDAL reads a file in memory as any other, so arrays go the way of files.
    name = f'array-{uuid.uuid4().hex[:8]}.tif'
    profile = {
        'driver': 'GTiff',
        'count': len(values),
        'height': values.shape[1],
        'width': values.shape[2],
        'dtype': values.dtype,
        'transform': transform or Affine.identity(),
        'crs': crs,
        'BIGTIFF': 'IF_SAFER',
    }
    with MemoryFile(filename=name) as memory:
        with memory.open(**profile) as dataset:
            dataset.write(values)
            if bands is not None:
                dataset.descriptions = tuple(bands)
            # Else four bands would be taken for RGB and alpha.
            dataset.colorinterp = [rasterio.enums.ColorInterp.undefined] * len(values)
        yield Scene.open(memory.name, nodata=nodata, name='array')
