"""The audit of splits as a map, a layer and numbers."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline

from geo_mm.catalog.audit import Audit, AuditedScene
from geo_mm.catalog.ground import Plane, sites
from geo_mm.classes import Colour
from geo_mm.formats import write_layer
from geo_mm.formats.qml import category_style
from geo_mm.paths import atomic_write, make_folder, reported, write_text
from geo_mm.raster.projection import LONLAT

SHARED = 'shared'
# Okabe and Ito's, which the colour-blind can tell apart; shared ground is magenta.
_COLOURS: tuple[Colour, ...] = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (86, 180, 233))
_SHARED: Colour = (204, 0, 120)
_MOST_SITES = 5  # that get a map each
_NEAR = 5000.0  # metres between scenes of one map


def write_audit(audit: Audit, folder: str | PathLike) -> Path:
    """Writes ``audit.png``, ``audit.gpkg`` and ``audit.json``.

    Raises:
        OutputError: If they cannot be written.
    """
    folder = make_folder(folder)
    colours = {
        name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(audit.splits)
    } | {SHARED: _SHARED}
    frame = _frame(audit)
    if len(frame):
        style = category_style('split', {name: (name, c) for name, c in colours.items()})
        write_layer(frame, folder / 'audit.gpkg', geometry_type='MultiPolygon', style=style)
    write_text(folder / 'audit.json', json.dumps(audit.to_dict(), indent=2))
    figure = _drawn(audit, frame, colours)
    with reported(folder), atomic_write(folder / 'audit.png') as partial:
        figure.savefig(partial, dpi=110)
    return folder


def split_map(splits: Mapping[str, Sequence[AuditedScene]]) -> Figure:
    """Where the scenes of each split are, in longitude and latitude."""
    figure = Figure(figsize=(8, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for number, (split, scenes) in enumerate(splits.items()):
        colour = _rgb(_COLOURS[number % len(_COLOURS)])
        parts = [
            part
            for scene in scenes
            if scene.ground.outline is not None
            for part in shapely.get_parts(scene.ground.outline)
        ]
        for place, part in enumerate(parts):
            x, y = np.asarray(part.exterior.coords)[:, :2].T
            label = None if place else split
            axis.fill(x, y, facecolor=(*colour, 0.35), edgecolor=colour, label=label)
    low, high = axis.get_ylim()
    axis.set_aspect(1 / max(np.cos(np.radians((low + high) / 2)), 0.05), adjustable='datalim')
    axis.ticklabel_format(useOffset=False)
    axis.tick_params(labelsize=8)
    axis.locator_params(nbins=4)
    axis.set_xlabel('longitude')
    axis.set_ylabel('latitude')
    if len(splits) > 1:
        axis.legend(frameon=False)
    return figure


def _frame(audit: Audit) -> gpd.GeoDataFrame:
    """The ground of each scene by split, then what two share."""
    rows: list[tuple[str, str, str | None, shapely.Geometry]] = [
        (name, scene.name, None, scene.ground.outline)
        for name, scenes in audit.splits.items()
        for scene in scenes
        if scene.ground.outline is not None and not shapely.is_empty(scene.ground.outline)
    ]
    rows += [
        (SHARED, f'{pair.first}: {overlap.first}', f'{pair.second}: {overlap.second}', part)
        for pair in audit.pairs
        for overlap in pair.overlaps
        if (part := overlap.outline) is not None
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 4
    data = dict(zip(('split', 'scene', 'other'), map(list, columns[:3]), strict=True))
    return gpd.GeoDataFrame(data, geometry=list(columns[3]), crs=LONLAT)


def _drawn(audit: Audit, frame: gpd.GeoDataFrame, colours: dict[str, Colour]) -> Figure:
    outlines = frame.geometry.to_numpy()
    places = sites(outlines, _NEAR) if len(frame) else []
    places.sort(key=lambda members: -shapely.area(outlines[members]).sum())
    shown = places[:_MOST_SITES]
    panels = len(shown) + 1
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(5 * columns, 4.6 * rows + 0.6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False).ravel())
    for number, members in enumerate(shown):
        _draw_site(axes[number], frame.iloc[members], colours)
        axes[number].set_title(f'site {number + 1} of {len(places)}' if len(places) > 1 else '')
    _draw_distances(axes[len(shown)], audit, colours)
    for empty in axes[panels:]:
        empty.set_axis_off()
    found = [name for name in colours if name in set(frame['split'])]
    handles = [Patch(color=_rgb(colours[name]), label=name) for name in found]
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles) or 1)
    verdict = 'LEAK' if audit.leaks else 'no shared ground between training and scoring'
    figure.suptitle(verdict, color='#b00050' if audit.leaks else '#222222', weight='bold')
    return figure


def _draw_site(axes: Axes, frame: gpd.GeoDataFrame, colours: dict[str, Colour]) -> None:
    outlines = frame.geometry.to_numpy()
    flat = Plane(outlines).flat(outlines)
    left, bottom, *_ = shapely.total_bounds(flat)
    for split, polygons in zip(frame['split'], flat, strict=True):
        shared = split == SHARED
        for polygon in shapely.get_parts(polygons):
            rings = [polygon.exterior, *polygon.interiors]
            path = Outline.make_compound_path(
                *(Outline(np.asarray(ring.coords)[:, :2] - (left, bottom)) for ring in rings)
            )
            colour = _rgb(colours[split])
            axes.add_patch(
                PathPatch(
                    path,
                    facecolor=(*colour, 0.9 if shared else 0.45),
                    edgecolor=colour,
                    linewidth=0.8,
                    hatch='////' if shared else None,
                )
            )
    axes.autoscale_view()
    axes.set_aspect('equal')
    axes.set_xlabel('metres east')
    axes.set_ylabel('metres north')


def _draw_distances(axes: Axes, audit: Audit, colours: dict[str, Colour]) -> None:
    """Share of places that have training ground no farther than a distance."""
    lines = [
        (pair.second, pair.chip_distances, _rgb(colours[pair.second]))
        for pair in audit.pairs
        if pair.first == 'train' and len(pair.chip_distances)
    ]
    if len(audit.map_distances):
        lines.append(('map to predict', audit.map_distances, (0.3, 0.3, 0.3)))
    for name, distances, colour in lines:
        steps = np.arange(1, len(distances) + 1) / len(distances)
        axes.step(distances, steps, color=colour, label=name, where='post')
    axes.axvline(audit.chip, color='#999999', linestyle=':', label='side of a chip')
    axes.set_xlabel('metres to the nearest training ground')
    axes.set_ylabel('share of places')
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.legend(loc='lower right', frameon=False)


def _rgb(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
