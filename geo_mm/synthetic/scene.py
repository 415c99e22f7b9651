"""Scenes of the synthetic town: one, or a whole run of them with their catalog."""

import csv
import io
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from shapely import Polygon

from geo_mm.paths import atomic_write, make_folder, reported, write_text
from geo_mm.raster.grid import Grid, Window
from geo_mm.synthetic.materials import BANDS
from geo_mm.synthetic.radiometry import Sensor, Sun
from geo_mm.synthetic.render import Renderer
from geo_mm.synthetic.town import Town, plan_town

logger = logging.getLogger(__name__)


CLASSES = ('building', 'road', 'tree', 'water')
STEP = 1024  # pixels rendered at a time; a multiple of the file's block size
BLOCK = 512


@dataclass(frozen=True)
class SyntheticScene:
    """Everything that determines one scene.

    Attributes:
        grid: Where its pixels are.
        town: What stands there.
        sun: Position of the sun.
        sensor: Air and camera.
        vigour: How green the season is, 0..1.
        swath: Pixel polygon outside of which there is no data, or None.
        seed: Of the textures.
    """

    grid: Grid
    town: Town
    sun: Sun
    sensor: Sensor
    vigour: float
    swath: Polygon | None
    seed: int

    @classmethod
    def draw(cls, index: int, size: tuple[int, int], gsd: float, seed: int) -> 'SyntheticScene':
        """Scene ``index`` of the towns of ``seed``.

        Args:
            index: 0-based; even scenes are in UTM zone 17, odd ones in 18, and
                every third one (0, 3, ...) has a corner without data.
            size: Columns and rows.
            gsd: Pixel size in metres.
            seed: Of the whole run.
        """
        town_rng, sky_rng, place_rng = np.random.default_rng([seed, index]).spawn(3)
        width, height = size
        sun = Sun(np.radians(sky_rng.uniform(128, 232)), np.radians(sky_rng.uniform(38, 57)))
        return cls(
            grid=_place(index, size, gsd, place_rng),
            town=plan_town(width * gsd, height * gsd, town_rng),
            sun=sun,
            sensor=Sensor.draw(sky_rng),
            vigour=float(sky_rng.uniform(0.40, 0.80)),
            swath=_swath(size, place_rng) if index % 3 == 0 else None,
            seed=int(sky_rng.integers(1 << 30)),
        )

    def read(self) -> Iterator[tuple[Window, np.ndarray]]:
        """The scene's pixels, ``STEP`` pixels square at a time.

        Yields:
            A window and its (4, rows, cols) uint16 digital numbers: reflectance
            times 10000, 0 where there is no data.
        """
        gsd = self.grid.transform.a
        renderer = Renderer(self.town, gsd, self.sun, self.seed, self.vigour)
        reach = self.sensor.reach
        for window in windows(self.grid.width, self.grid.height):
            outer = Window(
                window.col_off - reach, window.row_off - reach,
                window.width + 2 * reach, window.height + 2 * reach,
            )  # fmt: skip
            xs = (outer.col_off + np.arange(outer.width) + 0.5) * gsd
            ys = (outer.row_off + np.arange(outer.height) + 0.5) * gsd
            numbers = self.sensor.expose(renderer.render(outer), xs, ys, gsd)
            numbers = numbers[:, reach:-reach, reach:-reach]
            if self.swath is not None:
                cols, rows = np.meshgrid(xs[reach:-reach] / gsd, ys[reach:-reach] / gsd)
                numbers = numbers * shapely.contains_xy(self.swath, cols, rows)
            yield window, numbers.astype(np.uint16)

    def labels(self) -> geopandas.GeoDataFrame:
        """Labels in EPSG:4326 with columns ``class``, ``roof`` and ``height_m``.

        Objects are cut at the scene's edge. Where they overlap on the ground,
        trees are above buildings and roads; water is what is visible of it.
        """
        town = self.town
        parts = {
            'building': [b.footprint for b in town.buildings],
            'road': list(town.roads),
            'tree': list(town.trees.crowns),
            'water': list(town.water),
        }
        names = np.repeat(list(parts), [len(p) for p in parts.values()])
        shapes = np.array([g for group in parts.values() for g in group], object)
        roofs = np.full(len(shapes), None, object)
        roofs[: len(town.buildings)] = [b.roof for b in town.buildings]
        heights = np.full(len(shapes), np.nan)
        heights[: len(town.buildings)] = [round(b.height, 2) for b in town.buildings]
        frame = geopandas.GeoDataFrame(
            {'class': names, 'roof': roofs, 'height_m': heights}, geometry=shapes, crs=self.grid.crs
        )
        edge = shapely.box(0, 0, *town.size)
        frame = frame[shapely.intersects(shapes, edge)].copy()
        frame.geometry = shapely.intersection(frame.geometry.values, edge)
        frame = frame.explode(index_parts=False)
        frame = frame[(frame.geom_type == 'Polygon') & (frame.area > 0.2)]
        to_map = self.grid.transform @ Affine.scale(1 / self.grid.transform.a)
        frame.geometry = frame.geometry.affine_transform(
            [to_map.a, to_map.b, to_map.d, to_map.e, to_map.c, to_map.f]
        )
        return frame.reset_index(drop=True).to_crs('EPSG:4326')


def windows(width: int, height: int) -> list[Window]:
    """The windows a scene is rendered in, row by row."""
    return [
        Window(col, row, min(STEP, width - col), min(STEP, height - row))
        for row in range(0, height, STEP)
        for col in range(0, width, STEP)
    ]


def _place(index: int, size: tuple[int, int], gsd: float, rng: np.random.Generator) -> Grid:
    """A place of its own in UTM zone 17 or 18, between 36 and 45 degrees north."""
    width, height = size
    extent = max(size) * gsd
    spacing = max(12_000.0, 1.5 * extent)
    per_row = max(int(350_000 // spacing), 1)
    row, column = divmod(index // 2, per_row)
    easting = 320_000 + column * spacing + rng.uniform(0, spacing - 1.1 * extent)
    northing = 4_060_000 + row * spacing + rng.uniform(0, spacing - 1.1 * extent) + extent
    transform = Affine(gsd, 0, round(easting, -1), 0, -gsd, round(northing, -1))
    return Grid(transform, width, height, CRS.from_epsg((32617, 32618)[index % 2]))


def _swath(size: tuple[int, int], rng: np.random.Generator) -> Polygon:
    """The scene without one corner, cut off by the edge of the flight strip."""
    width, height = size
    a, b = rng.uniform(0.16, 0.30) * width, rng.uniform(0.20, 0.42) * height
    if rng.uniform() < 0.5:
        return Polygon([(a, 0), (width, 0), (width, height), (0, height), (0, b)])
    return Polygon([(0, 0), (width, 0), (width, height - b), (width - a, height), (0, height)])


def write_scene(
    scene: SyntheticScene, image: Path, labels: Path, tick: Callable[[], None] | None = None
) -> None:
    """Write the image and the label layer of ``scene``.

    Args:
        scene: What to write.
        image: The GeoTIFF: four bands, uint16, DEFLATE, nodata 0.
        labels: The GeoPackage with one layer, ``labels``.
        tick: Called after each window.

    Raises:
        OutputError: If a file cannot be written.
    """
    with reported(image, also=(rasterio.errors.RasterioError,)), atomic_write(image) as partial:
        _write_image(scene, partial, tick)
    with reported(labels, also=(RuntimeError,)), atomic_write(labels) as partial:
        scene.labels().to_file(partial, layer='labels', driver='GPKG', engine='pyogrio')


def _write_image(scene: SyntheticScene, path: Path, tick: Callable[[], None] | None) -> None:
    grid = scene.grid
    profile = {
        'driver': 'GTiff', 'width': grid.width, 'height': grid.height, 'count': len(BANDS),
        'dtype': 'uint16', 'crs': grid.crs, 'transform': grid.transform, 'nodata': 0,
        'tiled': True, 'blockxsize': BLOCK, 'blockysize': BLOCK, 'compress': 'deflate',
        'predictor': 2, 'photometric': 'rgb', 'BIGTIFF': 'IF_SAFER',
        'num_threads': 2,
    }  # fmt: skip
    with rasterio.open(path, 'w', **profile) as file:
        file.colorinterp = (
            ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir,
        )  # fmt: skip
        file.descriptions = BANDS
        file.update_tags(
            software='geo_mm.synthetic',
            units='reflectance x 10000',
            sun_azimuth=f'{np.degrees(scene.sun.azimuth):.1f}',
            sun_elevation=f'{np.degrees(scene.sun.elevation):.1f}',
        )
        for window, numbers in scene.read():
            file.write(numbers, window=rasterio.windows.Window(*window))
            if tick:
                tick()


def splits(count: int) -> list[str]:
    """The split of each of ``count`` scenes: the last ones are for test and validation."""
    held_out = max(count // 6, 1)
    test = held_out if count >= 3 else 0
    val = held_out if count >= 2 else 0
    return ['train'] * (count - val - test) + ['val'] * val + ['test'] * test


def make_town(
    folder: str | os.PathLike,
    *,
    scenes: int = 4,
    size: int | tuple[int, int] = 1024,
    gsd: float = 0.5,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Write synthetic aerial scenes of a town with vector labels.

    ``images/town_<i>.tif`` hold Red, Green, Blue and NIR as uint16 reflectance
    times 10000 with nodata 0; even scenes are in EPSG:32617, odd ones in
    EPSG:32618, and scenes 0, 3, 6, ... have a corner without data.
    ``labels/town_<i>.gpkg`` hold the layer ``labels`` in EPSG:4326 with the
    attribute ``class`` (building, road, tree, water) and, for buildings,
    ``roof`` (tile, metal, concrete) and ``height_m``.

    The same arguments give the same pixels and geometries, and scene ``i``
    does not depend on the number of scenes.

    Args:
        folder: Where to write; created if missing.
        scenes: How many.
        size: Pixels of a side, or (columns, rows).
        gsd: Pixel size in metres, 0.05 to 2; the look is made for 0.2 to 1.
        seed: Not negative.
        progress: Called with (windows done, windows in all, what is being done).

    Returns:
        The catalog, ``folder/catalog.csv``, with the columns ``image``,
        ``labels`` (both relative to the catalog) and ``split``.

    Raises:
        ValueError: For a count, size, GSD or seed that makes no sense.
        OutputError: If something cannot be written.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if scenes < 1 or width < 1 or height < 1 or not 0.05 <= gsd <= 2 or seed < 0:
        raise ValueError(
            'need scenes >= 1, size >= 1, 0.05 <= gsd <= 2 and seed >= 0, '
            f'got scenes={scenes}, size={size}, gsd={gsd}, seed={seed}'
        )
    folder = Path(folder)
    for name in ('images', 'labels'):
        make_folder(folder / name)
    total, done = scenes * len(windows(width, height)), 0
    rows = []
    for index, split in enumerate(splits(scenes)):
        image, labels = f'images/town_{index}.tif', f'labels/town_{index}.gpkg'

        def tick(image: str = image) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total, image)

        if progress is not None:
            progress(done, total, f'planning {image}')
        scene = SyntheticScene.draw(index, (width, height), gsd, seed)
        write_scene(scene, folder / image, folder / labels, tick)
        logger.info('wrote %s and %s', folder / image, folder / labels)
        rows.append({'image': image, 'labels': labels, 'split': split})
    return _write_catalog(folder / 'catalog.csv', rows)


def _write_catalog(path: Path, rows: list[dict[str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, ('image', 'labels', 'split'), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())
