"""The part of the scenes in which results count."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import geopandas as gpd
import numpy as np
import shapely
from shapely import STRtree

from geo_mm.catalog import area_window
from geo_mm.errors import LabelError, SceneError
from geo_mm.evaluation.layers import Source, brought_to, check_both_crs
from geo_mm.evaluation.records import Record
from geo_mm.labels import LabelLayer, SceneLabels
from geo_mm.labels.reading import layer_name
from geo_mm.raster import Grid, Scene, Window
from geo_mm.raster.handles import is_raster

_PIECES = 16  # in which a side is transformed: straight in one CRS is bent in another


Result = TypeVar('Result')


@dataclass(frozen=True, eq=False)
class ScoredArea:
    """Polygons inside which results count.

    Attributes:
        name: Name of its source, for messages.
        layer: Its polygons.
    """

    name: str
    layer: LabelLayer

    @classmethod
    def read(cls, source: Source) -> 'ScoredArea':
        """Read polygons, or the footprint of a raster.

        Raises:
            LabelError: If the source holds no polygon.
        """
        name = layer_name(source)
        if not isinstance(source, gpd.GeoDataFrame) and is_raster(source):
            return cls.footprint(name, Scene.open(source).grid)
        return cls(name, LabelLayer.read_area(source))

    @classmethod
    def footprint(cls, name: str, grid: Grid) -> 'ScoredArea':
        """The rectangle that a grid covers."""
        outline = grid.footprint
        outline = shapely.segmentize(outline, outline.length / 4 / _PIECES)
        crs = grid.crs.to_wkt() if grid.crs else None
        layer = LabelLayer.read_area(gpd.GeoDataFrame(geometry=[outline], crs=crs))
        return cls(name, replace(layer, source=name))

    def holds(self, geometries: np.ndarray, crs: object) -> np.ndarray:
        """(N,) bool, geometries whose centroid is inside or on the edge.

        Raises:
            LabelError: If only one side has a CRS.
        """
        inside = np.zeros(len(geometries), bool)
        if not len(geometries):
            return inside
        tree = STRtree(self.polygons_like(geometries, crs))
        found, _ = tree.query(shapely.centroid(geometries), predicate='intersects')
        inside[found] = True
        return inside

    def polygons_like(self, geometries: np.ndarray, crs: object) -> np.ndarray:
        """Its polygons in the coordinates of others.

        Raises:
            LabelError: If only one of the two has a CRS.
        """
        check_both_crs('the objects', crs, self.name, self.layer.crs)
        return brought_to(self.layer.geometries, self.layer.crs, geometries, crs)

    def onto(self, scene: Scene) -> SceneLabels:
        """Its polygons in the pixels of a scene.

        Raises:
            LabelError: If they are elsewhere, or only one side has a CRS.
        """
        return self.layer.onto(scene.grid, scene=scene.name)


@dataclass(frozen=True)
class ScoredPart:
    """Which part of the scenes is scored: the intersection if both are given.

    Attributes:
        aoi: An area of interest.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of each scene.
    """

    aoi: ScoredArea | None = None
    area: tuple[float, float, float, float] | None = None

    @classmethod
    def of(cls, aoi: Source | None, area: Sequence[float] | None) -> 'ScoredPart':
        """Read what a user gives.

        Raises:
            LabelError: If either makes no sense.
        """
        if area is not None:
            area = tuple(map(float, area))
            if len(area) != 4 or not (0 <= area[0] < area[2] <= 1 and 0 <= area[1] < area[3] <= 1):
                raise LabelError(
                    f'the area {" ".join(f"{share:g}" for share in area)}',
                    'left, top, right, bottom as fractions of the scene, 0 <= left < right <= 1 '
                    'and 0 <= top < bottom <= 1',
                    'the eastern third is 0.667 0 1 1',
                )
        return cls(None if aoi is None else ScoredArea.read(aoi), area)

    def in_scene(self, prediction: Source) -> tuple[ScoredArea, ...]:
        """The evaluated areas; none if everything counts.

        Raises:
            LabelError: If a share of the scene is asked for, and it is unknown
                which scene was predicted.
        """
        areas = [] if self.aoi is None else [self.aoi]
        if self.area is not None:
            scene = predicted_scene(prediction)
            grid = scene.grid.crop(area_window(scene, self.area))
            areas.append(ScoredArea.footprint(f'area {self._shares} of {scene.name}', grid))
        return tuple(areas)

    def sentence(self) -> str:
        """What is scored, for people."""
        parts = []
        if self.area is not None:
            parts.append(
                f'the part {self._shares} of each scene (left, top, right, bottom as shares of it)'
            )
        if self.aoi is not None:
            parts.append(f'the part inside {self.aoi.name}')
        if not parts:
            return 'All of each scene is scored, also what the model may have learned from.'
        return f'Only {" and ".join(parts)} is scored.'

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {
            'area': None if self.area is None else list(self.area),
            'aoi': None if self.aoi is None else self.aoi.name,
        }

    @property
    def _shares(self) -> str:
        return f'({", ".join(f"{share:g}" for share in self.area or ())})'


@dataclass(frozen=True, eq=False)
class ScoredParts:
    """Which part of each scene is scored: the same of all, or as catalogs have it.

    Attributes:
        parts: Part of each scene, by its name.
    """

    parts: Mapping[str, ScoredPart]

    @property
    def is_limited(self) -> bool:
        return any(part != ScoredPart() for part in self.parts.values())

    def sentence(self) -> str:
        """What is scored, for people."""
        sentences = {name: part.sentence() for name, part in self.parts.items()}
        if len({*sentences.values()}) == 1:
            return next(iter(sentences.values()))
        return ' '.join(f'{name}: {sentence}' for name, sentence in sentences.items())

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        if len({*self.parts.values()}) == 1:
            return next(iter(parts.values()))
        return {'area': None, 'aoi': None, 'parts': parts}


def predicted_scene(prediction: Source) -> Scene:
    """The whole scene of which a prediction is.

    A raster that was predicted as a whole has the same footprint, so the scene
    need not be there any more.

    Raises:
        LabelError: If that is unknown, or the scene cannot be opened.
    """
    record = Record.of(prediction)
    raster = not isinstance(prediction, gpd.GeoDataFrame) and is_raster(prediction)
    if raster and (record is None or not record.is_part):
        return Scene.open(prediction)
    name = layer_name(prediction)
    fix = 'give the part as polygons instead: aoi (--aoi)'
    if record is None:
        raise LabelError(
            f'{name}: its scene is unknown, so fractions of the scene cannot be located',
            'the .json that geo-mm predict writes beside its results, or a raster',
            fix,
        )
    try:
        return Scene.open(record.scene)
    except SceneError as error:
        raise LabelError(
            f'{name}: the scene that it is of cannot be opened: {error}',
            f'the scene named in {record.path}',
            f'call this where the scene is found under that name, or {fix}',
        ) from error


def predicted_grid(prediction: Source) -> Grid | None:
    """The pixels of the scene of which a prediction is, if that can be opened."""
    record = Record.of(prediction)
    try:
        return None if record is None else Scene.open(record.scene).grid
    except SceneError:
        return None


def window_of(areas: Iterable[SceneLabels], grid: Grid) -> Window:
    """The pixels of a grid around what is in all areas; it may be empty."""
    window = grid.window
    for area in areas:
        bounds = shapely.total_bounds(area.geometries)
        # Areas along pixel edges take no pixel more, rounding or not.
        left, top = (math.floor(value + 1e-6) for value in bounds[:2])
        right, bottom = (math.ceil(value - 1e-6) for value in bounds[2:])
        window = window.intersection(Window(left, top, right - left, bottom - top))
    return window


def told(
    results: Iterator[Result], names: Sequence[str], progress: Callable[[str], None] | None
) -> Iterator[Result]:
    """Results of scenes, each asked for when the name of its scene was told."""
    for name in names:
        if progress:
            progress(name)
        yield next(results)
