"""Many scenes over one vector layer: how long a dataset takes to open.

Writes a GeoPackage of polygons and the scenes that are over it, then opens all
of them as GeoDetDataset does: with what is near a scene taken from the layer in
memory, and, for comparison, with the layer read again for each of some scenes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine

from geo_mm.catalog import SceneOptions, open_labelled, read_catalog
from geo_mm.labels import LabelOptions, layer

SIDE = 512  # pixels along a side of a scene, of 0.5 m
CRS = 'EPSG:32617'
CLASSES = ('house', 'shed', 'hall')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--polygons', type=int, default=200_000)
    parser.add_argument('--scenes', type=int, default=500)
    parser.add_argument('--again', type=int, default=3, help='scenes that read the layer again')
    parser.add_argument('--crs', default='EPSG:4326', help='of the layer')
    parser.add_argument('--raster', action='store_true', help='a label raster for each scene')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scenes = write_scenes(Path(folder), args.scenes, args.raster)
        if not args.raster:
            write_polygons(Path(folder) / 'labels.gpkg', args)
        entries = read_catalog(scenes, root=folder)
        options = LabelOptions() if args.raster else LabelOptions('class', background=None)
        wall, cpu = opened(entries, options, args.raster)
        print(f'{len(entries)} scenes: {wall:.2f} s, {cpu:.2f} s of CPU, ', end='')
        print(f'{1000 * cpu / len(entries):.1f} ms of CPU per scene')
        if not args.raster:
            wall, cpu = np.sum([alone(entry, options) for entry in entries[: args.again]], axis=0)
            print(f'layer read again: {cpu / args.again:.2f} s of CPU per scene')


def opened(entries: list, options: LabelOptions, raster: bool) -> tuple[float, float]:
    """Wall and CPU seconds to open scenes with their labels."""
    wall, cpu = time.perf_counter(), time.process_time()
    classes = ('background', *CLASSES) if raster else CLASSES
    for entry in entries:
        open_labelled(entry, classes, SceneOptions(), options, objects=not raster)
    return time.perf_counter() - wall, time.process_time() - cpu


def alone(entry: object, options: LabelOptions) -> tuple[float, float]:
    layer._layers.clear()
    return opened([entry], options, raster=False)


def write_scenes(folder: Path, count: int, raster: bool) -> list[dict]:
    """A block of scenes side by side, with the labels that belong to each."""
    columns = int(np.ceil(np.sqrt(count)))
    profile = dict(driver='GTiff', width=SIDE, height=SIDE, dtype='uint8', crs=CRS, count=1)
    scenes = []
    for number in range(count):
        row, col = divmod(number, columns)
        left, top = 500_000 + col * SIDE / 2, 4_000_000 - row * SIDE / 2
        transform = Affine(0.5, 0, left, 0, -0.5, top)
        names = (f'{number}.tif', f'{number}_labels.tif') if raster else (f'{number}.tif',)
        for name in names:
            with rasterio.open(folder / name, 'w', transform=transform, **profile) as dataset:
                dataset.write(np.ones((1, SIDE, SIDE), 'uint8'))
        scenes.append(dict(image=names[0], labels=names[-1] if raster else 'labels.gpkg'))
    return scenes


def write_polygons(path: Path, args: argparse.Namespace) -> None:
    """Houses of 4 to 20 m over all scenes, with eight corners each."""
    rng = np.random.default_rng(args.seed)
    columns = int(np.ceil(np.sqrt(args.scenes)))
    x = 500_000 + rng.uniform(0, columns * SIDE / 2, args.polygons)
    y = 4_000_000 - rng.uniform(0, columns * SIDE / 2, args.polygons)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    sizes = rng.uniform(2, 10, (args.polygons, 1, 1))
    houses = shapely.polygons(np.stack([x, y], axis=-1)[:, None] + corners * sizes)
    classes = np.array(CLASSES)[rng.integers(0, len(CLASSES), args.polygons)]
    frame = gpd.GeoDataFrame({'class': classes, 'height': sizes[:, 0, 0]}, geometry=houses, crs=CRS)
    frame.to_crs(args.crs).to_file(path)


if __name__ == '__main__':
    main()
