"""The results of all scenes in a folder as one map."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.errors import OutputError
from geo_mm.formats.layers import LAYER_FORMATS, write_layer
from geo_mm.formats.provenance import readable
from geo_mm.formats.qml import class_style, write_style
from geo_mm.mosaics.objects import join_scenes
from geo_mm.mosaics.options import MosaicOptions
from geo_mm.mosaics.results import Result, common_crs, read_objects, read_results
from geo_mm.mosaics.virtual import write_collection, write_vrt
from geo_mm.paths import absolute, make_folder
from geo_mm.raster import Grid, RasterMetadata, RasterWriter, Window
from geo_mm.raster.projection import transformer

_BLOCK = 1024
"""Pixels of the side of a part that is computed at a time."""

logger = logging.getLogger(__name__)

_SCATTERED = 0.02
"""Share of a raster that is in scenes, below which most of the work is for nothing."""

Progress = Callable[[int, int], None]
"""Called with the number of parts done, and of all."""


def mosaic(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    options: MosaicOptions | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Makes one map of the results of many scenes that touch or overlap.

    Args:
        folder: That of the predictions.
        out: The map without a suffix, such as ``city``; with that of a layer, such as
            ``city.parquet``, that is the format of layers.
        options: Rule, CRS and pixels.
        progress: Called as a raster grows.

    Returns:
        What was written: ``city.tif``, if the scenes have class rasters;
        ``city.gpkg``, if they have objects: each once; and
        ``city_scenes.gpkg``: footprints and what was found in each scene; and
        ``city.collection.json``, a STAC collection, if they have STAC items. With
        ``virtual`` a raster ``city.vrt``, and no objects.

    Raises:
        OutputError: If there are no results, they do not belong together, or
            a file cannot be read or written.
    """
    options, out = options or MosaicOptions(), Path(absolute(out))
    suffix = out.suffix if out.suffix in LAYER_FORMATS else '.gpkg'
    stem = out.with_suffix('') if out.suffix in (*LAYER_FORMATS, '.tif') else out
    results = read_results(folder)
    _check_kept(stem, results)
    make_folder(stem.parent)
    crs = common_crs(results, options.crs)
    written = []
    rasters = [result for result in results if result.raster() is not None]
    if rasters and options.virtual:
        grid = common_grid(rasters, crs, options.gsd)
        if (vrt := write_vrt(stem.with_name(f'{stem.name}.vrt'), rasters, grid)) is not None:
            written.append(vrt)
    elif rasters:
        path = stem.with_name(f'{stem.name}.tif')
        _write_raster(path, rasters, common_grid(rasters, crs, options.gsd), options.rule, progress)
        written.append(path)
    detected = [result for result in results if result.layer is not None]
    if detected and not options.virtual:
        written += _write_objects(stem.with_name(f'{stem.name}{suffix}'), detected, crs)
    scenes = stem.with_name(f'{stem.name}_scenes{suffix}')
    written.append(write_layer(footprints(results, crs), scenes, layer='scenes'))
    collection = stem.with_name(f'{stem.name}.collection.json')
    if write_collection(collection, results, written) is not None:
        written.append(collection)
    return written


def _check_kept(stem: Path, results: Sequence[Result]) -> None:
    """Raises OutputError if the map would replace what it is made of."""
    own = {stem.resolve(), stem.with_name(f'{stem.name}_scenes').resolve()}
    for result in results:
        for file in result.files:
            path = (result.folder / file).resolve()
            if path.with_suffix('') in own:
                raise OutputError(
                    f'{stem}: the map would replace {path.name}, a result of {result.name}',
                    'a name that no result has',
                    'choose another with -o',
                )


def footprints(results: Sequence[Result], crs: CRS) -> gpd.GeoDataFrame:
    """One row per scene: its ground, when it was predicted, and what was found."""
    table: dict[str, list] = {
        'name': [result.name for result in results],
        'predicted': [result.started for result in results],
        'model': [result.model for result in results],
        'files': [', '.join(result.files) for result in results],
    }
    for name in results[0].classes.names:
        table[f'count_{name}'] = [result.counts.get(name, 0) for result in results]
    shapes = [result.footprint(crs) for result in results]
    return gpd.GeoDataFrame(table, geometry=shapes, crs=crs.to_wkt())


def _write_objects(path: Path, results: Sequence[Result], crs: CRS) -> list[Path]:
    layers = [read_objects(result, crs) for result in results]
    shapes = [result.footprint(crs) for result in results]
    pixels = [
        np.sqrt(shape.area / (result.grid.width * result.grid.height))
        for shape, result in zip(shapes, results, strict=True)
    ]
    joined = join_scenes(layers, shapes, max(pixels), [result.name for result in results])
    style = class_style(results[0].classes)
    write_layer(joined, path, layer='objects', style=style)
    write_style(style, path)
    return [path]


def common_grid(results: Sequence[Result], crs: CRS, gsd: float | None = None) -> Grid:
    """A grid with north up that covers all; the pixels of the first scene in the CRS stay."""
    bounds = shapely.total_bounds([result.footprint(crs) for result in results])
    own = next((result.grid for result in results if result.grid.crs == crs), None)
    if gsd is None:
        first = results[0]
        gsd = (
            float(np.sqrt(first.footprint(crs).area / (first.grid.width * first.grid.height)))
            if own is None
            else float(np.hypot(own.transform.a, own.transform.d))
        )
    x, y = (0.0, 0.0) if own is None else (own.transform.c, own.transform.f)
    # A pixel is not added where rounding alone asks for one.
    left, bottom, right, top = (bounds - [x, y, x, y]) / gsd
    left, bottom = np.floor(left + 1e-6), np.floor(bottom + 1e-6)
    right, top = np.ceil(right - 1e-6), np.ceil(top - 1e-6)
    transform = Affine(gsd, 0, x + left * gsd, 0, -gsd, y + top * gsd)
    return Grid(transform, int(right - left), int(top - bottom), crs)


def _write_raster(
    path: Path, results: Sequence[Result], grid: Grid, rule: str, progress: Progress | None
) -> None:
    share = sum(result.footprint(grid.crs).area for result in results) / grid.footprint.area
    if share < _SCATTERED:
        logger.warning(
            '%s: a raster of %s x %s pixels, %.2g %% of them in scenes, which takes long; '
            '--virtual describes the scenes where they are',
            path,
            f'{grid.width:,}',
            f'{grid.height:,}',
            100 * share,
        )
    classes = results[0].classes
    metadata = RasterMetadata(
        colors=dict(enumerate(classes.colours)),
        class_names=dict(enumerate(classes.names)),
        band_names=['class'],
    )
    order = sorted(results, key=lambda result: result.started)
    readers = [_SceneReader(result, grid, rule, rank) for rank, result in enumerate(order)]
    windows = [
        Window(col, row, min(_BLOCK, grid.width - col), min(_BLOCK, grid.height - row))
        for row in range(0, grid.height, _BLOCK)
        for col in range(0, grid.width, _BLOCK)
    ]
    merge = _mean if rule == 'mean' else _best
    with RasterWriter(path, grid, 1, 'uint8', classes.ignore, metadata) as writer:
        for number, window in enumerate(windows, 1):
            touched = [reader for reader in readers if reader.touches(window)]
            if touched:
                writer.write(merge(touched, window, classes.ignore), window)
            if progress:
                progress(number, len(windows))


def _best(readers: Sequence['_SceneReader'], window: Window, ignore: int) -> np.ndarray:
    """Each pixel from the scene in which its weight is the largest."""
    found = np.full((window.height, window.width), ignore, np.uint8)
    best = np.full(found.shape, -1.0, np.float32)
    for reader in readers:
        classes, weight = reader.read(window, ignore)
        better = (classes != ignore) & (weight > best)
        found[better], best[better] = classes[better], weight[better]
    return found


def _mean(readers: Sequence['_SceneReader'], window: Window, ignore: int) -> np.ndarray:
    """The class of the highest mean probability."""
    total: np.ndarray = np.zeros((1, window.height, window.width))
    seen = np.zeros((window.height, window.width), bool)
    for reader in readers:
        classes, shares = reader.read(window, ignore)
        valid = classes != ignore
        seen |= valid
        total = total + np.where(valid, shares, 0).astype(np.float64)
    return np.where(seen, np.argmax(total, axis=0), ignore).astype(np.uint8)


class _SceneReader:
    """The pixels of a result, nearest neighbours, on another grid."""

    def __init__(self, result: Result, grid: Grid, rule: str, rank: int) -> None:
        self._grid, self._rule, self._rank = grid, rule, rank
        path = result.raster()
        assert path is not None  # of results with rasters alone
        self._path = path
        self._weights = {'confidence': 'confidence', 'mean': 'probabilities'}.get(rule)
        if self._weights and (found := result.raster(self._weights)) is None:
            raise OutputError(
                f'{result.name} has no raster of {self._weights}',
                f'scenes predicted with --{self._weights}',
                'predict them with it, or choose another --rule',
            )
        self._weight_path = found if self._weights else None
        with readable(path), rasterio.open(path) as dataset:
            self._own = Grid.of(dataset)
        self._window = grid.window_of(result.footprint(grid.crs).bounds)
        self._project = None
        if self._own.crs != grid.crs:
            self._project = transformer(grid.crs, self._own.crs)

    def touches(self, window: Window) -> bool:
        return self._window.intersection(window).area > 0

    def read(self, window: Window, ignore: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes ``(height, width)`` and what they are weighted by, likewise or per class."""
        centres: Any = np.meshgrid(
            window.col_off + np.arange(window.width) + 0.5,
            window.row_off + np.arange(window.height) + 0.5,
        )
        x, y = self._grid.transform @ centres
        if self._project is not None:
            x, y = self._project.transform(x, y)
        x, y = ~self._own.transform @ (x, y)
        inside = (x >= 0) & (y >= 0) & (x < self._own.width) & (y < self._own.height)
        if not inside.any():
            empty = np.full(inside.shape, ignore, np.uint8)
            return empty, np.zeros(inside.shape, np.float32)
        cols = np.where(inside, x, 0).astype(np.int64)
        rows = np.where(inside, y, 0).astype(np.int64)
        first, last = ((int(f(rows[inside])), int(f(cols[inside]))) for f in (np.min, np.max))
        part = Window(first[1], first[0], last[1] - first[1] + 1, last[0] - first[0] + 1)
        place = (
            np.clip(rows - part.row_off, 0, part.height - 1),
            np.clip(cols - part.col_off, 0, part.width - 1),
        )
        classes = np.where(inside, _pixels(self._path, part)[0][place], ignore)
        if self._weight_path is not None:
            values = _pixels(self._weight_path, part)[:, place[0], place[1]]
            return classes, values if self._rule == 'mean' else values[0].astype(np.float32)
        if self._rule == 'newest':
            return classes, np.full(classes.shape, self._rank, np.float32)
        depth = np.minimum(np.minimum(x, self._own.width - x), np.minimum(y, self._own.height - y))
        return classes, (depth * np.hypot(self._own.transform.a, self._own.transform.d)).astype(
            np.float32
        )


def _pixels(path: Path, window: Window) -> np.ndarray:
    with readable(path), rasterio.open(path) as dataset:
        cols, rows = (window.col_off, window.col_end), (window.row_off, window.row_end)
        return dataset.read(window=rasterio.windows.Window.from_slices(rows, cols))
