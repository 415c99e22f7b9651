"""The detections of a tile or a scene, as arrays of equal length."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine

from geo_mm.classes import ClassSet
from geo_mm.detections.box_index import box_areas
from geo_mm.raster import Grid
from geo_mm.raster.projection import ground_areas

_OWN = ('boxes', 'class_ids', 'confidences', 'outlines', 'tiles')


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects that a model reports, or true ones, after the model of supervision's ``Detections``.

    Indexing with a mask, an array of numbers or a slice gives some of them.

    Attributes:
        boxes: ``(N, 4)`` float64 ``x_min, y_min, x_max, y_max``, in pixels of
            the scene's grid, or in map units after :meth:`to_map`.
        class_ids: ``(N,)`` int64 class indices.
        confidences: ``(N,)`` float64 0..1, or None, as for ground truth.
        outlines: ``(N,)`` polygons or multipolygons whose bounds are the
            boxes, or None: the objects are boxes.
        tiles: ``(N,)`` int64 number of the tile that shows each, or None.
        data: Further values of each, ``(N,)`` by name.

    Raises:
        ValueError: If the arrays differ in length, or hold a number that is
            not finite.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    confidences: np.ndarray | None = None
    outlines: np.ndarray | None = None
    tiles: np.ndarray | None = None
    data: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._set('boxes', np.asarray(self.boxes, np.float64).reshape(-1, 4))
        self._set('class_ids', np.asarray(self.class_ids, np.int64))
        if self.confidences is not None:
            self._set('confidences', np.asarray(self.confidences, np.float64))
        if self.tiles is not None:
            self._set('tiles', np.asarray(self.tiles, np.int64))
        lengths = {name: len(values) for name, values in self._columns().items()}
        if len({*lengths.values()}) > 1:
            listed = ', '.join(f'{count} {name}' for name, count in lengths.items())
            raise ValueError(f'arrays of different lengths: {listed}')
        confidences = 0.0 if self.confidences is None else self.confidences
        if not (np.isfinite(self.boxes).all() and np.isfinite(confidences).all()):
            raise ValueError('boxes and confidences must be finite')

    def _set(self, name: str, value: np.ndarray) -> None:
        object.__setattr__(self, name, value)

    def _columns(self) -> dict[str, np.ndarray]:
        """All arrays that are there."""
        own = {name: getattr(self, name) for name in _OWN}
        return {name: values for name, values in own.items() if values is not None} | self.data

    def needed(self, name: str) -> np.ndarray:
        """``confidences``, ``outlines`` or ``tiles``, where they must be there.

        Raises:
            ValueError: If they are not.
        """
        values = getattr(self, name)
        if values is None:
            raise ValueError(f'the detections have no {name}')
        return values

    @classmethod
    def from_outlines(
        cls, outlines: Sequence[shapely.Geometry] | np.ndarray, class_ids, confidences=None, **more
    ) -> 'Detections':
        """Detections whose boxes are the bounds of their outlines.

        Args:
            outlines: Polygons; the box of an empty one is ``0, 0, 0, 0``.
            class_ids: As for the class.
            confidences: As for the class.
            **more: As for the class.
        """
        outlines = np.array([*outlines, None], dtype=object)[:-1]
        boxes = np.nan_to_num(shapely.bounds(outlines).reshape(-1, 4))
        return cls(boxes, class_ids, confidences, outlines, **more)

    @classmethod
    def concatenate(cls, parts: Sequence['Detections']) -> 'Detections':
        """All detections of one or more parts; those that are not empty hold the same arrays."""
        parts = [part for part in parts if len(part)] or list(parts[:1])
        columns = [part._columns() for part in parts]
        joined = {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
        return cls._of(joined)

    @classmethod
    def _of(cls, columns: Mapping[str, np.ndarray]) -> 'Detections':
        data = dict(columns)
        return cls(**{name: data.pop(name) for name in _OWN if name in data}, data=data)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray | slice) -> 'Detections':
        if isinstance(chosen, slice):
            chosen = np.arange(len(self))[chosen]
        chosen = np.asarray(chosen)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        # Rows of boxes are taken several times as fast as they are indexed.
        taken = {name: values.take(chosen, axis=0) for name, values in self._columns().items()}
        return self._of(taken)

    def by_confidence(self) -> 'Detections':
        """The most confident first; equal ones keep their order."""
        return self[np.argsort(-self.needed('confidences'), kind='stable')]

    @cached_property
    def shapes(self) -> np.ndarray:
        """``(N,)`` polygons: the outlines, or the boxes where there are none."""
        return shapely.box(*self.boxes.T) if self.outlines is None else self.outlines

    @cached_property
    def areas(self) -> np.ndarray:
        """``(N,)`` areas of the shapes, in square pixels or map units."""
        return box_areas(self.boxes) if self.outlines is None else shapely.area(self.outlines)

    def to_map(self, transform: Affine) -> 'Detections':
        """From pixels to map coordinates.

        A box of a rotated grid is no box on the map, so all have outlines.

        Args:
            transform: Of the grid.
        """
        a, b, c, d, e, f = tuple(transform)[:6]
        matrix, offset = np.array([[a, d], [b, e]]), np.array([c, f])
        outlines = shapely.transform(self.shapes, lambda xy: xy @ matrix + offset)
        return replace(self, boxes=shapely.bounds(outlines), outlines=outlines)

    def to_geodataframe(self, classes: ClassSet, grid: Grid) -> gpd.GeoDataFrame:
        """Detections in pixels as features on the map.

        Args:
            classes: What the class indices mean.
            grid: Of the scene.

        Returns:
            One row per detection in the CRS of the grid: ``class``,
            ``class_id``, ``score`` (the confidence, 0..1, four digits),
            ``area_m2`` (on the ellipsoid; NaN where the grid is not
            georeferenced), what is in ``data``, and the outline.
        """
        on_map = replace(self, outlines=_of_one_type(self.shapes)).to_map(grid.vector_transform)
        outlines = on_map.shapes
        crs = grid.crs.to_wkt() if grid.crs else None
        names = np.array(classes.names, dtype=object)
        table = {'class': names[self.class_ids], 'class_id': self.class_ids}
        if self.confidences is not None:
            table['score'] = self.confidences.round(4)
        table |= {'area_m2': ground_areas(outlines, crs).round(2), **self.data}
        return gpd.GeoDataFrame(table, geometry=outlines, crs=crs)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a ``.npz`` file: the outlines as WKB end to end, and their lengths."""
        arrays = self._columns()
        if self.outlines is not None:
            wkb = shapely.to_wkb(self.outlines).tolist()
            arrays['outlines'] = np.frombuffer(b''.join(wkb), np.uint8)
            arrays['outline_sizes'] = np.array([len(item) for item in wkb], np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> 'Detections':
        """The inverse of :meth:`to_arrays`."""
        arrays = dict(arrays)
        sizes = arrays.pop('outline_sizes', None)
        if sizes is not None:
            blob, ends = arrays['outlines'].tobytes(), np.cumsum(sizes).tolist()
            wkb = [blob[start:end] for start, end in itertools.pairwise([0, *ends])]
            arrays['outlines'] = shapely.from_wkb(np.array([*wkb, None], dtype=object)[:-1])
        return cls._of(arrays)


def _of_one_type(outlines: np.ndarray) -> np.ndarray:
    """All MultiPolygons if one is: GIS programs want one type of geometry per layer."""
    if not (shapely.get_type_id(outlines) == shapely.GeometryType.MULTIPOLYGON).any():
        return outlines
    multi = [shapely.MultiPolygon(shapely.get_parts(item).tolist()) for item in outlines]
    return np.array(multi, dtype=object)
