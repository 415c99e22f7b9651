"""A trained model as a package for ArcGIS, driven by the stand-in host, beside the engine.

    python tools/dev/arcgis_proof.py CHECKPOINT SCENE [--side 1024] [--tiles 256 384 512]

The scene is read at the GSD of the model and cropped to its middle. The host hands it to the
raster function of the package in tiles of three sizes, a quarter of which is border on
each side. Compared is what lies away from the borders of the scene: for
segmentation the share of pixels of the same class, for detectors how many of the engine's
objects the host has again. The same is said of the engine with each size of tiles, since
what a network sees of an object depends on where a tile begins.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from affine import Affine

from geo_mm import Predictor, Scene, export_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.data.arcgis_host import Host


def middle_of(path: str, gsd: float | None, bands: Sequence[str], side: int) -> np.ndarray:
    """The pixels ``(bands, height, width)`` in the middle of a scene, at a GSD."""
    scene = Scene.open(path)
    scene = (scene if scene.missing(bands) else scene.select(bands)).at_gsd(gsd or scene.gsd[0])
    pixels, _ = scene.read()
    top, left = ((length - side) // 2 for length in pixels.shape[1:])
    return pixels[:, max(top, 0) :, max(left, 0) :][:, :side, :side]


def outlines_of(objects: object, shape: tuple[int, int], border: int) -> np.ndarray:
    """Outlines in pixels of the scene whose middle is not near its border."""
    found = np.array(objects, dtype=object)
    centres = shapely.get_coordinates(shapely.centroid(found))
    inside = (centres >= border) & (centres < np.array(shape[::-1]) - border)
    return found[inside.all(1)] if len(found) else found


def again(expected: np.ndarray, found: np.ndarray) -> str:
    """How many outlines there are again, in words."""
    best = np.zeros(len(expected))
    if len(found) and len(expected):
        left, right = shapely.STRtree(found).query(expected, 'intersects')
        one, other = expected[left], found[right]
        iou = shapely.area(shapely.intersection(one, other)) / shapely.area(
            shapely.union(one, other)
        )
        np.maximum.at(best, left, iou)
    counts = ', '.join(f'{(best >= least).sum()} with IoU >= {least}' for least in (0.99, 0.9, 0.5))
    return f'{len(expected)} objects, of which {counts}; {len(found)} found'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('scene')
    parser.add_argument('--side', type=int, default=1024, help='of the part of the scene')
    parser.add_argument('--tiles', type=int, nargs='+', default=[256, 384, 512])
    parser.add_argument('--score', type=float, default=0.5, help='least confidence of objects')
    args = parser.parse_args()

    def engine(tile: int | None = None) -> Predictor:
        return Predictor(args.checkpoint, device='cpu', force=True, tile=tile)

    whole = engine(args.side)
    spec = whole.spec
    pixels = middle_of(args.scene, spec.gsd, spec.bands, args.side)
    shape, border = pixels.shape[1:], args.tiles[-1] // 4
    valid = np.ones(shape, bool)
    gsd = spec.gsd or 1.0
    place = Affine(gsd, 0, 500_000, 0, -gsd, 4_000_000)
    core = (slice(border, -border),) * 2

    def result(predictor: Predictor) -> np.ndarray:
        placed = {'transform': place, 'crs': 'EPSG:32631'}
        found = predictor.predict(Scene.from_array(pixels, bands=spec.bands, **placed))
        if found.classes is not None:
            return found.classes
        kept = found.objects[found.objects.score >= args.score]
        in_pixels = kept.geometry.affine_transform((~place).to_shapely())
        return outlines_of(in_pixels.to_numpy(), shape, border)

    def hosted(tile: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            (package,) = export_model(args.checkpoint, folder, formats=['dlpk'], tile=tile)
            own = {} if spec.of_pixels else {'threshold': args.score}
            host = Host(package, Path(folder, 'host'), tile_size=tile, padding=tile // 4, **own)
            if spec.of_pixels:
                return host.classify(pixels, valid)
            found = [shapely.Polygon(each['rings'][0]) for each in host.detect(pixels, valid)]
            return outlines_of(found, shape, border)

    print(f'{args.checkpoint}: {shape[1]} x {shape[0]} pixels, {border} at each border left out')
    expected = result(whole)
    foreground = spec.classes.foreground
    values = np.array([foreground.index(i) + 1 if i in foreground else 0 for i in range(256)])
    for tile in args.tiles:
        for name, found in (('host', hosted(tile)), ('engine', result(engine(tile)))):
            if spec.of_pixels:
                own = values[found] if name == 'engine' else found
                same = (own == values[expected])[core]
                print(f'tiles of {tile}: {name}: same class on {same.mean():.4%} of pixels')
            else:
                print(f'tiles of {tile}: {name}: {again(expected, found)}')


if __name__ == '__main__':
    main()
