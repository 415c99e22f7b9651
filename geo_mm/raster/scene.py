"""A scene: one georeferenced image, from one file or several."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from geo_mm.errors import SceneError
from geo_mm.raster import handles
from geo_mm.raster.arrays import ArraySource
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.resample import PlacedFile, common_grid, placed_files, read_part, read_part_valid
from geo_mm.raster.rgb import to_rgb
from geo_mm.raster.sources import NoData, Recorded, Source, as_stored
from geo_mm.raster.stack import Files, Part, band_names, find_bands, other_names, parts_of

_THUMBNAIL = 400  # pixels of the picture in notebooks


@dataclass(frozen=True)
class Scene:
    """One georeferenced image that is read window by window, never as a whole.

    A small immutable value: it holds no open files, can be pickled, copied,
    forked and used from many threads. Make one with :meth:`open`, derive
    others with :meth:`crop`, :meth:`at_gsd` and :meth:`select`.

    **Bands** are numbered from 1 over all files in the given order, and have
    names: the description, else the colour interpretation ('red', 'nir', ...),
    else 'B' and the number. Names are matched without regard to case. Bands of
    files with roles are called 'role:name', and the bare name will do where
    only one band has it. Of several files without roles, a name that occurs
    more than once is preceded by the file's number, as in '2:red'.

    **Neighbours.** The files of one role hold the same bands of places beside
    each other. Where they overlap, the first that has data counts; between
    them there is no data.

    **Validity.** A pixel is valid where every role has data: it is inside
    the file, the mask band and the alpha band (if any) say so, not all chosen
    bands of the file equal nodata, and no float band is NaN or infinite. An
    alpha band is a mask and no band of the scene, unless it is chosen by
    ``bands``: then it is data.

    **Resampling** happens only where the scene's pixels are not the file's:
    averages by area where they are larger, linear interpolation where they
    are smaller, from valid pixels of the scene only. The value of a pixel
    does not depend on the window it is read through. Stored numbers are
    returned: scale and offset tags are not applied.

    Attributes:
        name: Short name, by default the first file's without extension.
        sources: The files, in order.
        roles: The role of each file; empty if they have none.
        grid: Pixel grid of the scene.
        band_names: Names of the bands.
        dtype: The type of all pixels read, wide enough for every band.
    """

    name: str
    sources: tuple[str, ...]
    roles: tuple[str, ...]
    grid: Grid
    band_names: tuple[str, ...]
    dtype: np.dtype
    _placed: tuple[PlacedFile, ...]

    @classmethod
    def open(
        cls,
        source: Files,
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        nodata: NoData = 'auto',
        name: str | None = None,
        recorded: Sequence[Recorded] | None = None,
    ) -> 'Scene':
        """Describe a scene. Only metadata is read.

        Args:
            source: Anything GDAL opens, or several such files of one CRS, or a
                mapping from roles to a file or several neighbouring ones. The
                finest gives the grid; the others are resampled to it and need
                not have the same footprint.
            bands: Band numbers or names, in the order wanted. All but alpha by default.
            gsd: Ground sampling distance to read at, in metres; the file's by default.
            nodata: Value that marks pixels without data, 'auto' for what each
                file declares, None to take every value as data (mask bands
                count all the same).
            name: Name of the scene.
            recorded: What a table says of each file, in their order: none is then
                opened before its pixels are read, and one that is another file
                by then is a SceneError.

        Raises:
            SceneError: If a file is missing, unreadable or not georeferenced by
                a transform, the files do not fit together, or a band is unknown.
        """
        parts = parts_of(source, nodata, recorded)
        files = [file for part in parts for file in part.files]
        if nodata is not None and not isinstance(nodata, str):
            _check_nodata(nodata, files)
        grid = common_grid(min(parts, key=lambda part: _pixel_area(part.first.grid)).files)
        bands_of = [(i, j) for i, part in enumerate(parts) for j in range(len(part.first.indexes))]
        names = band_names(parts)
        if bands is None:
            wanted = [n for n, (i, j) in enumerate(bands_of) if j + 1 != parts[i].first.alpha]
            wanted = wanted or list(range(len(bands_of)))
        else:
            others = other_names(
                (n, file, j) for n, (i, j) in enumerate(bands_of) for file in parts[i].files
            )
            where = ', '.join(file.path for file in files)
            wanted = find_bands(bands, names, others, where)
        placed: list[PlacedFile] = []
        for i, part in enumerate(parts):
            own = [(k, bands_of[n][1]) for k, n in enumerate(wanted) if bands_of[n][0] == i]
            if own:
                positions, inner = zip(*own, strict=True)
                placed += placed_files([file.pick(inner) for file in part.files], positions, grid)
        scene = cls(
            name=name or files[0].stem,
            sources=tuple(file.path for file in files),
            roles=tuple(file.role for file in files if file.role),
            grid=grid,
            band_names=tuple(names[n] for n in wanted),
            dtype=np.result_type(*(file.source.dtype for file in placed)),
            _placed=tuple(placed),
        )
        return scene if gsd is None else scene.at_gsd(gsd)

    @classmethod
    def from_array(
        cls,
        array: np.ndarray | Any,
        *,
        transform: Affine | None = None,
        crs: Any = None,
        bands: Sequence[str] | None = None,
        nodata: NoData = 'auto',
        name: str = 'array',
    ) -> 'Scene':
        """A scene over pixels in memory, which are not copied.

        Args:
            array: ``(bands, height, width)``, or an xarray.DataArray of these
                dimensions with rioxarray's accessor, whose georeference, nodata
                and ``long_name`` (band names) are taken.
            transform: Pixel to map coordinates.
            crs: Anything rasterio takes for a CRS.
            bands: Names of the bands.
            nodata: Value of pixels without data.
            name: Name of the scene.

        Raises:
            SceneError: If it is not of three dimensions.
        """
        source = ArraySource.of(array, transform=transform, crs=crs, bands=bands, nodata=nodata)
        if source.nodata[0] is not None:
            _check_nodata(source.nodata[0], [source])
        return cls(
            name=name,
            sources=(source.path,),
            roles=(),
            grid=source.grid,
            band_names=tuple(band_names([Part('', (source,))])),
            dtype=source.dtype,
            _placed=tuple(placed_files([source], tuple(range(len(source.indexes))), source.grid)),
        )

    @property
    def files(self) -> str | tuple[str, ...] | dict[str, tuple[str, ...]]:
        """The files as :meth:`open` takes them."""
        if self.roles:
            pairs = list(zip(self.roles, self.sources, strict=True))
            return {
                role: tuple(path for own, path in pairs if own == role)
                for role in dict.fromkeys(self.roles)
            }
        return self.sources if len(self.sources) > 1 else self.sources[0]

    @property
    def crs(self) -> CRS | None:
        return self.grid.crs

    @property
    def transform(self) -> Affine:
        """Pixel ``(x, y)`` to map coordinates."""
        return self.grid.transform

    @property
    def width(self) -> int:
        return self.grid.width

    @property
    def height(self) -> int:
        return self.grid.height

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.band_names)

    @cached_property
    def gsd(self) -> tuple[float, float] | None:
        """Ground sampling distance ``(x, y)`` in metres at the centre.

        None without CRS, or if the CRS is not defined there.
        """
        return self.grid.gsd

    @property
    def nodata(self) -> float | None:
        """The nodata value that all bands share, else None."""
        values = {value for file in self._placed for value in file.source.nodata}
        return values.pop() if len(values) == 1 else None

    @cached_property
    def wavelengths(self) -> tuple[float | None, ...]:
        """Centre of each band in micrometres, None where its file does not say.

        Files say it in GDAL's metadata domain IMAGERY, as CENTRAL_WAVELENGTH_UM.
        """
        found: list[float | None] = [None] * self.count
        for file in self._placed:
            path = file.source.path
            with handles.environment(path):
                dataset = file.source._dataset(0)
                for position, index in zip(file.bands, file.source.indexes, strict=True):
                    value = dataset.tags(index, ns='IMAGERY').get('CENTRAL_WAVELENGTH_UM')
                    found[position] = None if value is None else float(value)
        return tuple(found)

    @property
    def block_shape(self) -> tuple[int, int]:
        """(rows, cols) of this scene that one stored block of the first file covers."""
        source, _, x, y = self._placed[0]
        rows = min(max(round(source.block[0] / y.step), 1), self.height)
        return rows, min(max(round(source.block[1] / x.step), 1), self.width)

    def resized(self, factor: float) -> 'Scene':
        """The same footprint in so many times as many pixels along each side.

        The number of pixels is rounded, and is at least one.
        """
        width, height = (max(round(side * factor), 1) for side in (self.width, self.height))
        scale = Affine.scale(self.width / width, self.height / height)
        return self._on(Grid(self.transform @ scale, width, height, self.crs))

    def crop(self, window: Window) -> 'Scene':
        """The part under ``window``, as if the image ended there.

        Reading beyond it is padding, and resampling does not look beyond it
        either, so that two crops side by side share no pixel.

        Raises:
            SceneError: If the window is empty or not inside the scene.
        """
        window = Window(*map(int, window))
        if not window.area or window.intersection(self.grid.window) != window:
            raise SceneError(
                f'{self.name}: cannot crop to {window}',
                f'a window inside the {self.width} x {self.height} pixels of the scene',
                'take window.intersection(scene.grid.window)',
            )
        placed = tuple(file.crop(window) for file in self._placed)
        return replace(self, grid=self.grid.crop(window), _placed=placed)

    def at_gsd(self, gsd: float) -> 'Scene':
        """The same footprint in pixels of ``gsd`` metres, resampled while reading.

        Raises:
            SceneError: If the scene has no CRS or ``gsd`` is not positive.
        """
        if self.gsd is None:
            raise SceneError(
                f'{self.name}: has no ground sampling distance, so it cannot be read at {gsd} m',
                'an image with a coordinate reference system',
                'georeference the image, or read it without gsd',
            )
        try:
            grid = self.grid.at_gsd(gsd)
        except ValueError as error:
            raise SceneError(f'{self.name}: {error}') from error
        return self._on(grid)

    def select(self, bands: Sequence[int | str]) -> 'Scene':
        """The scene with these of its bands, by name or by number from 1.

        Raises:
            SceneError: If there is no such band.
        """
        wanted = find_bands(bands, self.band_names, self._other_names(), self.name)
        placed = []
        for source, own, x, y in self._placed:
            chosen = [(k, own.index(n)) for k, n in enumerate(wanted) if n in own]
            if chosen:
                positions, inner = zip(*chosen, strict=True)
                placed.append(PlacedFile(source.pick(inner), positions, x, y))
        return replace(
            self,
            band_names=tuple(self.band_names[n] for n in wanted),
            dtype=np.result_type(*(file.source.dtype for file in placed)),
            _placed=tuple(placed),
        )

    def missing(self, bands: Sequence[str]) -> list[str]:
        """Those of some names by which :meth:`select` would find no band."""
        known = {*map(str.lower, self.band_names), *self._other_names()}
        return [name for name in bands if name.lower() not in known]

    def _other_names(self) -> dict[str, int]:
        return other_names(
            (position, file.source, own)
            for file in self._placed
            for own, position in enumerate(file.bands)
        )

    def read(
        self,
        window: Window | None = None,
        out_shape: tuple[int, int] | None = None,
        dtype: np.dtype | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels and their validity.

        Args:
            window: In pixels of this scene; it may hang over the edge or be
                outside. The whole scene by default.
            out_shape: (rows, cols) of a coarse picture of the window, made from
                overviews or from thinned-out pixels. Full resolution by default.
            dtype: Type of the pixels, :attr:`dtype` by default.

        Returns:
            ``(bands, height, width)`` in that type, and ``(height, width)``
            bool. Pixels that are not valid (nodata, NaN and padding alike)
            are 0.

        Raises:
            SceneError: If a file cannot be read there.
        """
        window = window or self.grid.window
        if out_shape is None:
            return self._read(window, dtype=dtype)
        rows, cols = out_shape
        coarse = replace(self, _placed=tuple(self._coarse(window, out_shape)))
        return coarse._read(Window(0, 0, cols, rows), quick=True, dtype=dtype)

    def read_valid(
        self, window: Window | None = None, out_shape: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Read validity alone.

        Args:
            window: As for :meth:`read`.
            out_shape: (rows, cols) of a coarse map of the window, made from
                overviews or from thinned-out pixels. Full resolution by default.

        Returns:
            (height, width) or ``out_shape``, bool.
        """
        window = window or self.grid.window
        if out_shape is None:
            return _valid_everywhere(self._placed, window, quick=False)
        rows, cols = out_shape
        placed = self._coarse(window, out_shape)
        return _valid_everywhere(placed, Window(0, 0, cols, rows), quick=True)

    def _coarse(self, window: Window, shape: tuple[int, int]) -> list[PlacedFile]:
        """The files in a grid of (rows, cols) over a window."""
        rows, cols = shape
        corner = window.col_off, window.row_off
        return [
            file.moved(*corner).zoom(window.width / cols, window.height / rows)
            for file in self._placed
        ]

    def seen_from(self, corner: tuple[float, float], zoom: float) -> 'Scene':
        """The scene in other pixels, the first of which begins at a place between pixels.

        Args:
            corner: Pixel position ``(x, y)`` of the upper left corner of the first pixel.
            zoom: Sides of the new pixels, in pixels of this scene.
        """
        transform = self.transform @ Affine.translation(*corner) @ Affine.scale(zoom)
        width, height = (max(round(side / zoom), 1) for side in (self.width, self.height))
        placed = tuple(file.moved(*corner).zoom(zoom, zoom) for file in self._placed)
        return replace(self, grid=Grid(transform, width, height, self.crs), _placed=placed)

    def read_overview(self, max_size: int) -> tuple[np.ndarray, np.ndarray, Grid]:
        """Read the whole scene, coarsely, for quick-looks and estimates.

        Args:
            max_size: Upper limit of width and height of the result.

        Returns:
            Pixels and validity as from :meth:`read`, and their grid. Pixels
            come from overviews, or are thinned out first: quick, not exact.
        """
        factor = max(self.width / max_size, self.height / max_size, 1)
        width, height = max(round(self.width / factor), 1), max(round(self.height / factor), 1)
        scale = Affine.scale(self.width / width, self.height / height)
        view = self._on(Grid(self.transform @ scale, width, height, self.crs))
        return (*view._read(view.grid.window, quick=True), view.grid)

    def _on(self, grid: Grid) -> 'Scene':
        """The scene in a grid of the same footprint."""
        x, y = self.width / grid.width, self.height / grid.height
        placed = tuple(file.zoom(x, y) for file in self._placed)
        return replace(self, grid=grid, _placed=placed)

    def _read(
        self, window: Window, quick: bool = False, dtype: np.dtype | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        shape = (window.height, window.width)
        wanted = self.dtype if dtype is None else dtype
        parts = _parts(self._placed)
        if len(parts) == 1:
            data, valid = read_part(parts[0], window, quick, wanted)
            return data.astype(wanted, copy=False), np.ones(shape, bool) if valid is None else valid
        data, valid = np.zeros((self.count, *shape), self.dtype), np.ones(shape, bool)
        for placed in parts:
            data[list(placed[0].bands)], mask = read_part(placed, window, quick)
            if mask is not None:
                valid &= mask
        if not valid.all():
            np.copyto(data, 0, where=~valid)
        return data.astype(wanted, copy=False), valid

    def __copy__(self) -> 'Scene':
        return self

    def __deepcopy__(self, memo: dict) -> 'Scene':
        return self

    def __repr__(self) -> str:
        crs = self.crs.to_string() if self.crs else 'no CRS'
        return (
            f'Scene({self.name!r}, {self.width} x {self.height}, {self.dtype} '
            f'{", ".join(self.band_names)}, {crs if len(crs) < 40 else "custom CRS"})'
        )

    def _repr_html_(self) -> str:
        """A small picture over the text, for notebooks."""
        data, valid, _ = self.read_overview(_THUMBNAIL)
        file = io.BytesIO()
        Image.fromarray(to_rgb(data, valid, self.band_names)).save(file, 'PNG')
        picture = base64.b64encode(file.getvalue()).decode('ascii')
        text = html.escape(repr(self))
        return f'<img alt="{text}" src="data:image/png;base64,{picture}"><p>{text}</p>'


def _valid_everywhere(placed: Sequence[PlacedFile], window: Window, quick: bool) -> np.ndarray:
    """(height, width) bool: where every part is valid."""
    valid = np.ones((window.height, window.width), bool)
    for part in _parts(placed):
        mask = read_part_valid(part, window, quick)
        if mask is not None:
            valid &= mask
    return valid


def _parts(placed: Sequence[PlacedFile]) -> list[list[PlacedFile]]:
    """Neighbouring files with the same bands of a scene."""
    return [list(part) for _, part in groupby(placed, key=lambda file: file.bands)]


def _check_nodata(nodata: float, files: Sequence[Source]) -> None:
    dtypes = sorted({dtype for file in files for dtype in file.dtypes})
    if not np.isnan(nodata) and all(as_stored(nodata, dtype) is None for dtype in dtypes):
        raise SceneError(
            f'{files[0].path}: nodata={nodata} cannot occur in {"/".join(dtypes)} pixels',
            "a value of the pixels' data type",
            'give another nodata value, or None if every value is data',
        )


def _pixel_area(grid: Grid) -> float:
    # Rounded, so that of grids equal but for rounding the first is taken.
    return float(f'{abs(grid.transform.determinant):.6g}')
