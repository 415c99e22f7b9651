"""What the splits of a data set share: ground, neighbourhood and classes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from scipy.spatial import cKDTree
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.ground import Ground, Plane, Shapes, open_ground, sites
from geo_mm.errors import CatalogError
from geo_mm.geometry import rounded, union
from geo_mm.raster import Scene
from geo_mm.raster.projection import GEOD, transformer

_REACH = 2000.0  # metres within which distances are exact
_MOST_CHIPS = 20_000  # of a split, for distances between chips
_ORDER = {'train': 0, 'val': 1, 'test': 2}
_ROUNDING = 1e-4  # of the smaller scene: what touching scenes overlap by
_ROW = 6_371_008.8 * math.pi / 180  # metres in a degree of latitude
_LONLAT_HEIGHT, _GEOCENTRIC = 'EPSG:4979', 'EPSG:4978'  # of WGS 84; metres


@dataclass(frozen=True)
class AuditedScene:
    """A scene, or a part of one, that a split uses.

    Attributes:
        name: In messages.
        source: Its first file; parts of one picture without CRS are compared by it.
        ground: What it covers.
        pixels: The part of its file that is used, in pixels, for pictures without CRS.
        classes: Labels of each class.
    """

    name: str
    source: str
    ground: Ground
    pixels: shapely.Geometry | None = None
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlap:
    """Ground that two scenes of different splits share.

    Attributes:
        first: Name of the scene in the one split.
        second: That in the other.
        area: Square metres, or pixels of a picture without CRS.
        outline: In longitude and latitude; None without a CRS.
    """

    first: str
    second: str
    area: float
    outline: shapely.Geometry | None = None


@dataclass(frozen=True)
class SplitPair:
    """How far two splits depend on each other.

    Attributes:
        first: Name of the one.
        second: Name of the other, which the model is scored on.
        overlaps: Ground in both, the largest first.
        distance: Metres between their nearest pixels; None without georeference.
        shift: Half the sum of differences of the classes' shares: 0 if alike, 1 if
            they have no class in common; None without labels.
        chip_distances: Metres from places in the second, a quarter of a chip apart,
            to the nearest such place in the first, ascending; the distribution
            that NNDM looks at.
    """

    first: str
    second: str
    overlaps: tuple[Overlap, ...]
    distance: float | None
    shift: float | None
    chip_distances: np.ndarray

    @property
    def shared(self) -> float:
        """Ground in both splits, however many of their scenes cover it."""
        whole = sum(overlap.area for overlap in self.overlaps)
        outlines = [o.outline for o in self.overlaps if o.outline is not None]
        if len(outlines) < max(len(self.overlaps), 2):
            return whole
        return whole * float(shapely.area(union(outlines)) / shapely.area(outlines).sum())

    @property
    def leaks(self) -> bool:
        """Whether a model is scored on ground that it has learned from.

        Of any two splits but val and test, one is learned from: folds take turns.
        """
        return bool(self.overlaps) and (self.first, self.second) != ('val', 'test')


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        splits: The scenes of each.
        pairs: Each two of the splits.
        chip: Side of a chip in metres.
        map_distances: Metres from the places of the map to predict to the nearest
            training chip, ascending; empty if no map was given.
    """

    splits: dict[str, list[AuditedScene]]
    pairs: tuple[SplitPair, ...]
    chip: float
    map_distances: np.ndarray

    @property
    def leaks(self) -> bool:
        return any(pair.leaks for pair in self.pairs)

    def classes(self, split: str) -> dict[str, int]:
        """Labels of each class in a split."""
        return _summed(self.splits[split])

    def area(self, split: str) -> float:
        """Ground of a split in km2, however many of its scenes cover it."""
        found = [scene.ground.outline for scene in self.splits[split]]
        parts = shapely.get_parts(union([outline for outline in found if outline is not None]))
        return sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in parts) / 1e6

    def findings(self) -> list[str]:
        """What is wrong, or might be, the worst first."""
        found, diagonal = [], self.chip * math.sqrt(2)
        for pair in sorted(self.pairs, key=lambda pair: not pair.leaks):
            both = f'{pair.first} and {pair.second}'
            if pair.overlaps:
                worst = pair.overlaps[0]
                unit = 'pixels' if worst.outline is None else 'm2'
                kind = 'LEAK' if pair.leaks else 'warning'
                found.append(
                    f'{kind}: {both} share {pair.shared:,.0f} {unit}, most of all '
                    f'{worst.first} and {worst.second}'
                )
            elif (
                pair.first == 'train'
                and (pair.distance if pair.distance is not None else math.inf) < diagonal * 0.99
            ):
                found.append(
                    f'warning: {both} come as near as {pair.distance:.1f} m, less than the '
                    f'diagonal of a chip ({diagonal:.1f} m)'
                )
            if pair.shift is not None and pair.shift > 0.2:
                found.append(f'warning: the classes of {both} differ by {pair.shift:.0%}')
        for split in self.splits:
            known, own = _summed(self.splits.get('train', ())), self.classes(split)
            absent = [name for name, count in known.items() if count and not own.get(name)]
            if absent and any(own.values()):
                found.append(f'warning: {split} has no {", ".join(absent)}')
        if len(self.map_distances) and (scored := self._scored()) is not None:
            ours, theirs = np.median(scored.chip_distances), np.median(self.map_distances)
            if ours < theirs / 2:
                found.append(
                    f'warning: {scored.second} is {ours:,.0f} m from training (median), the map '
                    f'{theirs:,.0f} m: scores on the map will be lower'
                )
        return found

    def _scored(self) -> SplitPair | None:
        pairs = [p for p in self.pairs if p.first == 'train' and len(p.chip_distances)]
        return pairs[-1] if pairs else None

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {
            'leaks': self.leaks,
            'chip_m': self.chip,
            'findings': self.findings(),
            'splits': {
                name: {
                    'scenes': len(scenes),
                    'km2': self.area(name),
                    'labels': self.classes(name),
                }
                for name, scenes in self.splits.items()
            },
            'pairs': [
                {
                    'splits': [pair.first, pair.second],
                    'shared': pair.shared,
                    'overlaps': [
                        {'scenes': [o.first, o.second], 'area': o.area} for o in pair.overlaps
                    ],
                    'distance_m': pair.distance,
                    'class_shift': pair.shift,
                    'chip_distance_m': _quantiles(pair.chip_distances),
                }
                for pair in self.pairs
            ],
            'map_distance_m': _quantiles(self.map_distances),
        }


def audit_splits(
    splits: Mapping[str, Sequence[AuditedScene]],
    chip: float,
    places: Sequence[shapely.Geometry] = (),
) -> Audit:
    """Measures what splits share.

    Scenes are compared on the ground, so it does not matter in which CRS they
    are and when they were taken.

    Args:
        splits: The scenes of each split; ``train`` is what is learned from.
        chip: Side of a chip in metres.
        places: Outlines of the map to predict, in longitude and latitude.
    """
    order = sorted(splits, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    splits = found = {name: list(splits[name]) for name in order}
    located = _Located(splits)
    points = {name: _chip_middles(scenes, chip) for name, scenes in splits.items()}
    pairs = []
    for first, second in itertools.combinations(splits, 2):
        overlaps, near = located.between(first, second)
        overlaps += _same_pixels(splits[first], splits[second])
        pairs.append(
            SplitPair(
                first,
                second,
                tuple(sorted(overlaps, key=lambda overlap: -overlap.area)),
                0.0 if any(o.outline is not None for o in overlaps) else near,
                _shift(_summed(splits[first]), _summed(splits[second])),
                _nearest(points[second], points[first]),
            )
        )
    wanted = _middles([Ground(place, None, (0, 0)) for place in places], chip)
    train = points.get('train', np.empty((0, 3)))
    return Audit(
        found,
        tuple(pairs),
        chip,
        _nearest(wanted, train),
    )


class _Located:
    """The scenes of all splits on planes of their sites."""

    def __init__(self, splits: Mapping[str, Sequence[AuditedScene]]) -> None:
        known = [
            (name, scene)
            for name, scenes in splits.items()
            for scene in scenes
            if scene.ground.outline is not None and not shapely.is_empty(scene.ground.outline)
        ]
        outlines = np.array([scene.ground.outline for _, scene in known], dtype=object)
        self._sites = []
        for members in sites(outlines, _REACH) if known else []:
            plane = Plane(outlines[members])
            here = [known[member] for member in members]
            self._sites.append((plane, here, plane.flat(outlines[members])))
        self._vertices = {name: outlines[[split == name for split, _ in known]] for name in splits}

    def between(self, first: str, second: str) -> tuple[list[Overlap], float | None]:
        """Overlaps of two splits, and the least distance in metres."""
        overlaps: list[Overlap] = []
        least = math.inf
        for plane, here, flat in self._sites:
            of = {name: [n for n, (split, _) in enumerate(here) if split == name]
                  for name in (first, second)}  # fmt: skip
            if not of[first] or not of[second]:
                continue
            tree = STRtree(flat[of[first]])
            _, metres = tree.query_nearest(
                flat[of[second]], return_distance=True, all_matches=False
            )
            least = min(least, float(metres.min(initial=math.inf)))
            for b, a in tree.query(flat[of[second]], predicate='intersects').T:
                a, b = of[first][a], of[second][b]
                part = shapely.intersection(*rounded(flat[a], flat[b]))
                if part.area > _ROUNDING * min(flat[a].area, flat[b].area):
                    names = here[a][1].name, here[b][1].name
                    overlaps.append(Overlap(*names, float(part.area), plane.lonlat(part)))
        if math.isinf(least):
            ours, theirs = (_sphere(self._vertices[name]) for name in (first, second))
            apart = _nearest(ours, theirs)
            return overlaps, float(apart[0]) if len(apart) else None
        return overlaps, least


def _same_pixels(ours: Sequence[AuditedScene], theirs: Sequence[AuditedScene]) -> list[Overlap]:
    """Overlaps of pictures without CRS, which are those of one file."""
    found = []
    for a, b in itertools.product(ours, theirs):
        if a.source == b.source and a.pixels is not None and b.pixels is not None:
            area = shapely.intersection(a.pixels, b.pixels).area
            if area >= 1:
                found.append(Overlap(a.name, b.name, float(area)))
    return found


def _chip_middles(scenes: Sequence[AuditedScene], chip: float) -> np.ndarray:
    return _middles([scene.ground for scene in scenes], chip)


def _middles(grounds: Sequence[Ground], chip: float) -> np.ndarray:
    """Points on the ground, ``(N, 3)`` metres from the middle of the Earth.

    They are a quarter of a chip apart, as chips may lie anywhere.
    """
    outlines = [ground.outline for ground in grounds if ground.outline is not None]
    area = sum(abs(GEOD.geometry_area_perimeter(outline)[0]) for outline in outlines)
    step = max(chip / 4, math.sqrt(area / _MOST_CHIPS), 1e-3) / _ROW
    points = []
    for outline in outlines:
        west, south, east, north = shapely.bounds(outline)
        wide = step / max(math.cos(math.radians((south + north) / 2)), 1e-3)
        lon, lat = np.meshgrid(_spread(west, east, wide), _spread(south, north, step))
        inside = shapely.contains_xy(outline, lon.ravel(), lat.ravel())
        found = np.column_stack([lon.ravel()[inside], lat.ravel()[inside]])
        points.append(
            found if len(found) else shapely.get_coordinates(shapely.point_on_surface(outline))
        )
    return _of_lonlat(np.concatenate(points)) if points else np.empty((0, 3))


def _spread(low: float, high: float, step: float) -> np.ndarray:
    """Middles of as many steps as fit between two numbers."""
    count = max(round((high - low) / step), 1)
    return low + (np.arange(count) + 0.5) * (high - low) / count


def _sphere(outlines: Shapes) -> np.ndarray:
    return _of_lonlat(shapely.get_coordinates(np.asarray(outlines, dtype=object)))


def _of_lonlat(points: np.ndarray) -> np.ndarray:
    """Places on the Earth as metres from its middle, so that distances need no projection."""
    lon, lat = points.T.tolist()  # pyproj would take an array of one element for a number
    heights = [0.0] * len(lon)
    return np.column_stack(transformer(_LONLAT_HEIGHT, _GEOCENTRIC).transform(lon, lat, heights))


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of the others, ascending."""
    if not len(points) or not len(others):
        return np.empty(0)
    return np.sort(cKDTree(others).query(points)[0])


def _summed(scenes: Sequence[AuditedScene]) -> dict[str, int]:
    total: dict[str, int] = {}
    for scene in scenes:
        for name, count in scene.classes.items():
            total[name] = total.get(name, 0) + count
    return total


def _shift(ours: Mapping[str, int], theirs: Mapping[str, int]) -> float | None:
    """Total variation distance of two distributions of classes."""
    if not sum(ours.values()) or not sum(theirs.values()):
        return None
    names = {*ours, *theirs}
    return 0.5 * sum(
        abs(ours.get(n, 0) / sum(ours.values()) - theirs.get(n, 0) / sum(theirs.values()))
        for n in names
    )


def _quantiles(distances: np.ndarray) -> dict[str, float] | None:
    if not len(distances):
        return None
    found = np.quantile(distances, (0, 0.25, 0.5, 0.75, 1))
    return dict(zip(('min', 'q25', 'median', 'q75', 'max'), found.tolist(), strict=True))


def catalog_scenes(
    entries: Sequence[CatalogEntry], chip_size: int
) -> tuple[dict[str, list[AuditedScene]], float]:
    """The scenes of each split of a catalog, and the side of a chip in metres.

    Raises:
        CatalogError: If there are no two splits.
    """
    splits: dict[str, list[AuditedScene]] = {}
    for entry in entries:
        if entry.split is not None:
            splits.setdefault(entry.split, []).append(_of_entry(entry))
    if len(splits) < 2:
        raise CatalogError(
            f'the catalog has the splits {", ".join(splits) or "(none)"}',
            'at least two, in a column `split`',
            'make them with geo-mm split',
        )
    gsds = [scene.ground.gsd for scenes in splits.values() for scene in scenes]
    return splits, chip_size * max((gsd for gsd in gsds if gsd is not None), default=0.0)


def _of_entry(entry: CatalogEntry) -> AuditedScene:
    scene, ground, _ = open_ground(entry)
    return AuditedScene(scene.name, scene.sources[0], ground, picture_part(scene, ground))


def picture_part(scene: Scene, ground: Ground) -> shapely.Geometry | None:
    """Which pixels of its file a picture without CRS is; None of others."""
    return scene.grid.footprint if ground.outline is None else None
