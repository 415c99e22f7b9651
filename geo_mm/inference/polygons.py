"""Outlines of the classes of a raster that comes strip by strip, as features on the map."""

from dataclasses import replace
from functools import partial

import geopandas as gpd
import numpy as np
import shapely

from geo_mm.classes import ClassSet
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prediction import SHARE_STEPS
from geo_mm.raster import Grid
from geo_mm.vectorize import Regions, StripPolygonizer, region_table, regularize, simplify

LAYER = 'polygons'

# Shorter walls are stairs of the outline, or of no interest.
_WALL_PIXELS, _WALL_METRES = 2.0, 1.0


class PolygonTables:
    """Outlines the connected regions of each class but the background.

    Without ``simplify`` no more is held than the regions that are not finished.
    To keep common borders common, ``simplify`` needs all polygons at once.

    Args:
        grid: Of the class raster.
        classes: Their names.
        options: ``min_area``: the smallest region, in m2 on the ellipsoid; in
            pixels where the scene is not georeferenced. ``simplify``: tolerance
            of :func:`geo_mm.vectorize.simplify` in pixels; None keeps outlines
            along pixel edges. ``regularise``: names of the classes that get
            straight walls at right angles, none shorter than 1 m and 2 pixels.
    """

    def __init__(self, grid: Grid, classes: ClassSet, options: PredictOptions) -> None:
        self._grid, self._classes, self._options = grid, classes, options
        shown = classes.foreground
        skip = [number for number in range(len(classes)) if number not in shown]
        self._polygonizer = StripPolygonizer(grid.width, skip=[*skip, classes.ignore])
        self._waiting: list[Regions] = []
        self._on_map = partial(
            region_table,
            transform=grid.vector_transform,
            crs=grid.crs.to_wkt() if grid.crs else None,
            class_names=dict(enumerate(classes.names)),
            confidence_unit=1 / SHARE_STEPS if options.confidence else None,
        )

    def add(self, classes: np.ndarray, confidence: np.ndarray | None = None) -> gpd.GeoDataFrame:
        """Takes the next rows and gives what they finish.

        Args:
            classes: ``(rows, width)`` class indices.
            confidence: Likewise, in steps as in the files, if options have it.
        """
        return self._table(self._polygonizer.add(classes, summed=confidence), last=False)

    def finish(self) -> gpd.GeoDataFrame:
        """What is left when all rows are there."""
        return self._table(self._polygonizer.finish(), last=True)

    def _table(self, regions: Regions, last: bool) -> gpd.GeoDataFrame:
        regions = self._large(regions)
        if self._options.simplify is not None:
            self._waiting.append(regions)
            regions = Regions.concatenate(self._waiting) if last else regions[:0]
        return self._on_map(self._drawn(regions))

    def _large(self, regions: Regions) -> Regions:
        if not self._options.min_area:
            return regions
        areas = self._on_map(regions)['area_m2'].to_numpy()
        return regions[np.where(np.isnan(areas), regions.pixels, areas) >= self._options.min_area]

    def _drawn(self, regions: Regions) -> Regions:
        """The regions with the outlines that were asked for."""
        polygons = regions.polygons
        if self._options.simplify is not None:
            polygons = simplify(polygons, self._options.simplify)
        walled = [self._classes.index(name) for name in self._options.regularise]
        chosen = np.isin(regions.values, walled)
        if chosen.any():
            polygons = polygons.copy()
            polygons[chosen] = _regular(regions.polygons[chosen], polygons[chosen], self._grid)
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
