"""What a raster file says about itself, as a value that a table can keep."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from geo_mm.raster.grid import Grid

_NAMELESS = {ColorInterp.undefined, ColorInterp.gray, ColorInterp.palette}

Mask = Literal['none', 'tag', 'dataset', 'bands']


@dataclass(frozen=True)
class Header:
    """The header of a raster file.

    Attributes:
        grid: Its pixel grid.
        names: Description or colour interpretation of each band, '' if neither.
        dtypes: Data type of each band.
        nodata: Declared nodata value of each band, or None.
        alpha: Number of the band that is a mask, or None.
        mask: Whether there is a mask beside the bands: one for the file, one per
            band, or by colours in the tag NODATA_VALUES.
        overviews: Factors of the overviews, ascending.
        block: (rows, cols) of the stored blocks.
    """

    grid: Grid
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    alpha: int | None
    mask: Mask
    overviews: tuple[int, ...]
    block: tuple[int, int]

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> 'Header':
        colors = dataset.colorinterp
        return cls(
            grid=Grid.of(dataset),
            names=tuple(map(_band_name, dataset.descriptions, colors)),
            dtypes=tuple(dataset.dtypes),
            nodata=tuple(dataset.nodatavals),
            alpha=colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None,
            mask=_mask(dataset),
            overviews=tuple(dataset.overviews(1)),
            block=tuple(dataset.block_shapes[0]),
        )

    def mask_kind(self, *, given: bool) -> Literal['none', 'dataset', 'bands']:
        """What else must be read for validity, if a nodata value is given or if not."""
        if self.mask == 'tag':
            return 'none' if given else 'dataset'
        return self.mask

    def differences(self, other: 'Header') -> str:
        """How another header differs, in words; '' if its file can be read as this one.

        Overviews may have been added.
        """
        for name, own in self._cells().items():
            found = other._cells()[name]
            if name == 'overviews':
                found = found[: len(own)]
            # As text, in which NaN equals NaN.
            if repr(own) != repr(found):
                return f'{name} {_short(found)}, in the table {_short(own)}'
        return ''

    def _cells(self) -> dict:
        grid = self.grid
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            'crs': _crs_text(grid.crs),
            'transform': tuple(grid.transform)[:6],
            'size': (grid.width, grid.height),
        } | {name: value for name, value in own.items() if name != 'grid'}


def to_text(headers: Sequence[Header]) -> str:
    """Headers as one cell of a table."""
    return json.dumps([header._cells() for header in headers], separators=(',', ':'))


def from_text(text: str) -> list[Header]:
    """The headers in a cell.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: If it is none of :func:`to_text`.
    """
    return [_header(cells) for cells in json.loads(text)]


def _header(cells: dict) -> Header:
    cells = {key: tuple(v) if isinstance(v, list) else v for key, v in cells.items()}
    crs, (width, height) = cells.pop('crs'), cells.pop('size')
    grid = Grid(Affine(*cells.pop('transform')), width, height, _crs(crs))
    return Header(grid, **cells)


@lru_cache(maxsize=256)
def _crs(text: str | None) -> CRS | None:
    return None if text is None else CRS.from_string(text)


@lru_cache(maxsize=256)
def _crs_text(crs: CRS | None) -> str | None:
    """A short text that stands for exactly this CRS, else its WKT."""
    if crs is None:
        return None
    text = crs.to_string()
    return text if CRS.from_string(text) == crs else crs.to_wkt()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def _band_name(description: str | None, color: ColorInterp) -> str:
    if description and description.strip():
        return description.strip()
    return '' if color in _NAMELESS else color.name


def _mask(dataset: rasterio.DatasetReader) -> Mask:
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.all_valid in flags or MaskFlags.alpha in flags:
        return 'none'
    if MaskFlags.nodata in flags:
        # Usually worked out from the pixels, which are read anyway; together
        # with per_dataset it means the NODATA_VALUES tag, a colour.
        return 'tag' if MaskFlags.per_dataset in flags else 'none'
    return 'dataset' if MaskFlags.per_dataset in flags else 'bands'
