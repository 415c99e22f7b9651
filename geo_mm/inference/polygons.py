"""Outlines of the classes of a finished class raster, as vector layers."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.windows import Window

from geo_mm.classes import IGNORE
from geo_mm.formats import LayerWriter
from geo_mm.formats.provenance import Provenance
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Grid
from geo_mm.raster.handles import open_quietly
from geo_mm.vectorize import Regions, StripPolygonizer, region_table, regularize, simplify

LAYER = 'polygons'

_ROWS = 512  # read at once: a row of blocks of the raster
# Shorter walls are stairs of the outline, or of no interest.
_WALL_PIXELS, _WALL_METRES = 2.0, 1.0


@dataclass(frozen=True)
class PolygonOutputs:
    """How classes become polygons.

    Attributes:
        min_area: Smallest region, in m2 on the ellipsoid; in pixels where the
            scene has no place on Earth.
        simplify: Tolerance of :func:`geo_mm.vectorize.simplify` in pixels of the
            class raster; None keeps outlines along pixel edges.
        regularise: Names of the classes that get straight walls at right
            angles (:func:`geo_mm.vectorize.regularize`), none shorter than 1 m
            and 2 pixels.
    """

    min_area: float = 0.0
    simplify: float | None = None
    regularise: Sequence[str] = ()


def write_polygons(
    raster: Path,
    files: Sequence[Path],
    spec: InputSpec,
    outputs: PolygonOutputs,
    record: Provenance,
    style: str,
) -> dict[str, int]:
    """Outlines the connected regions of each class but the background.

    The raster is read strip by strip, and without ``simplify`` no more is held
    than the regions that are not finished. To keep common borders common,
    ``simplify`` needs all polygons at once.

    Args:
        raster: Class raster, 255 without data.
        files: Layers to write; their suffixes choose the formats.
        spec: Class names.
        outputs: What the polygons are to be like.
        record: How the raster was made.
        style: QGIS style.

    Returns:
        Number of polygons of each class that has some.

    Raises:
        OutputError: If a layer cannot be written.
    """
    with open_quietly(str(raster)) as dataset, contextlib.ExitStack() as stack:
        grid = Grid(dataset.transform, dataset.width, dataset.height, dataset.crs)
        crs = grid.crs.to_wkt() if grid.crs else None
        names = dict(enumerate(spec.classes.names))
        on_map = partial(region_table, transform=grid.vector_transform, crs=crs, class_names=names)
        about = {'metadata': record.metadata(), 'style': style, 'time': record.time}
        writers = [
            stack.enter_context(LayerWriter(file, crs, layer=LAYER, **about)) for file in files
        ]
        batches = (_large(found, on_map, outputs.min_area) for found in _regions(dataset, spec))
        if outputs.simplify is not None:
            batches = [Regions.concatenate(batches)]
        counts: Counter = Counter()
        for regions in batches:
            table = on_map(_drawn(regions, grid, spec, outputs))
            counts.update(table['class'])
            for writer in writers:
                writer.append(table)
    return dict(counts)


def _regions(dataset: rasterio.DatasetReader, spec: InputSpec) -> Iterator[Regions]:
    """Those of all classes but the background, in pixels."""
    shown = spec.classes.foreground
    skip = [number for number in range(len(spec.classes)) if number not in shown]
    polygonizer = StripPolygonizer(dataset.width, skip=[*skip, IGNORE])
    for row in range(0, dataset.height, _ROWS):
        rows = min(_ROWS, dataset.height - row)
        yield polygonizer.add(dataset.read(1, window=Window(0, row, dataset.width, rows)))
    yield polygonizer.finish()


def _large(
    regions: Regions, on_map: Callable[[Regions], gpd.GeoDataFrame], min_area: float
) -> Regions:
    if not min_area:
        return regions
    areas = on_map(regions)['area_m2'].to_numpy()
    return regions[np.where(np.isnan(areas), regions.pixels, areas) >= min_area]


def _drawn(regions: Regions, grid: Grid, spec: InputSpec, outputs: PolygonOutputs) -> Regions:
    """The regions with the outlines that were asked for."""
    polygons = regions.polygons
    if outputs.simplify is not None:
        polygons = simplify(polygons, outputs.simplify)
    walled = [spec.classes.index(name) for name in outputs.regularise]
    chosen = np.isin(regions.values, walled)
    if chosen.any():
        polygons = polygons.copy()
        polygons[chosen] = _regular(regions.polygons[chosen], polygons[chosen], grid)
    return replace(regions, polygons=polygons)


def _regular(outlines: np.ndarray, otherwise: np.ndarray, grid: Grid) -> np.ndarray:
    """Outlines at right angles on the ground; ``otherwise`` where that does not come out."""
    # Pixels of a grid in degrees are not square on the ground.
    sides = np.array(grid.gsd or (np.inf, np.inf))
    shortest = max(_WALL_PIXELS, _WALL_METRES / sides.min())
    stretch = sides / sides.min() if grid.gsd else np.ones(2)
    given = shapely.transform(outlines, lambda xy: xy * stretch)
    made = regularize(given, shortest)
    failed = np.array([new is old for new, old in zip(made, given, strict=True)], bool)
    made = shapely.transform(made, lambda xy: xy / stretch)
    # Walls of what the edge of the scene cuts may have moved beyond it.
    made = shapely.intersection(made, shapely.box(0, 0, grid.width, grid.height))
    failed |= shapely.get_type_id(made) != shapely.GeometryType.POLYGON
    return np.where(failed, otherwise, made)
