"""Pixels in memory in the place of a file's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window as RasterioWindow

from geo_mm.errors import SceneError
from geo_mm.raster.grid import Grid
from geo_mm.raster.sources import NoData, Source


class _Pixels:
    """What :class:`Source` asks of a dataset of rasterio, of an array ``(bands, h, w)``."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.dtypes = (array.dtype.name,) * len(array)

    def read(self, indexes: Sequence[int], window: RasterioWindow, out: np.ndarray) -> np.ndarray:
        part = self.array[[index - 1 for index in indexes]][(slice(None), *window.toslices())]
        rows, cols = (
            ((np.arange(count) + 0.5) * length / count).astype(int)
            for count, length in zip(out.shape[1:], part.shape[1:], strict=True)
        )
        out[...] = part if out.shape == part.shape else part[:, rows[:, None], cols]
        return out

    def tags(self, *_, **__) -> dict:
        return {}


@dataclass(frozen=True)
class ArraySource(Source):
    """Bands of an array.

    Attributes:
        pixels: ``(bands, height, width)``.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @classmethod
    def of(
        cls,
        array: Any,
        *,
        transform: Affine | None = None,
        crs: Any = None,
        bands: Sequence[str] | None = None,
        nodata: NoData = 'auto',
    ) -> 'ArraySource':
        """Describes an array; see :meth:`geo_mm.raster.Scene.from_array`."""
        if hasattr(array, 'rio'):
            rio, names = array.rio, array.attrs.get('long_name')
            transform, crs = transform or rio.transform(), crs or rio.crs
            bands = bands or ([names] if isinstance(names, str) else names)
            nodata = rio.nodata if nodata == 'auto' and rio.nodata is not None else nodata
        values = np.asarray(array)
        if values.ndim != 3:
            raise SceneError(
                f'an array of shape {values.shape}',
                'an array (bands, height, width)',
                'array[None]',
            )
        count, height, width = values.shape
        if bands is not None and len(bands) != count:
            raise SceneError(
                f'{len(bands)} names of bands for an array of shape {values.shape}',
                'an array (bands, height, width) and a name for each band',
                'np.moveaxis(array, -1, 0) if the bands come last',
            )
        return cls(
            path='<array>',
            stamp=0,
            grid=Grid(
                transform or Affine.identity(),
                width,
                height,
                None if crs is None else CRS.from_user_input(crs),
            ),
            indexes=tuple(range(1, count + 1)),
            names=('',) * count if bands is None else tuple(bands),
            dtypes=(values.dtype.name,) * count,
            nodata=(None if nodata == 'auto' else nodata,) * count,
            alpha=None,
            mask='none',
            overviews=(),
            block=(height, width),
            pixels=values,
        )

    def _dataset(self, level: int = 0) -> _Pixels:
        return _Pixels(self.pixels)
