"""A trained model as a package for ArcGIS, driven by the stand-in host, beside the engine.

    python tools/dev/arcgis_proof.py CHECKPOINT SCENE [--side 1024] [--tiles 256 384 512]

The scene is read at the GSD of the model and cropped to its middle. The host hands it to the
raster function of the package in tiles of three sizes, about a quarter of which is border on
each side. It is compared with two results of the engine:

* in the same tiles, which is what the function must give: of segmentation the share of pixels of
  the same class, of detectors the objects inside a tile without its border;
* in one tile, which says how much a network sees of what is around a tile: the same, but away
  from the borders of the scene.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from affine import Affine

import geo_mm
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


def within(outlines: np.ndarray, first: int, last: int, step: int | None) -> np.ndarray:
    """Those between two pixels of either axis and, if that is given, inside a square of a grid."""
    low, high = np.split(shapely.bounds(outlines), 2, axis=1)
    inside = (low >= first) & (high <= last)
    return outlines[(inside & ((low // step == high // step) if step else True)).all(1)]


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

    spec = geo_mm.describe(args.checkpoint).spec
    kept = {'blend': 'crop'} if spec.of_pixels else {'score': args.score}

    def engine(tile: int, overlap: int) -> Predictor:
        kept.update(tile=tile, overlap=overlap, force=True)
        return Predictor(args.checkpoint, device='cpu', **kept)

    gsd = spec.gsd or 1.0
    # Pixels that are 0 in all bands would have no data.
    pixels = np.maximum(middle_of(args.scene, spec.gsd, spec.bands, args.side), 1)
    foreground = spec.classes.foreground
    values = np.array([foreground.index(i) + 1 if i in foreground else 0 for i in range(256)])

    def result(predictor: Predictor, pixels: np.ndarray, border: int = 0) -> np.ndarray:
        """What the engine gives for an image with a border that has no data."""
        around = [(0, 0), (border, border), (border, border)]
        place = Affine(gsd, 0, 500_000, 0, -gsd, 4_000_000)
        scene = Scene.from_array(
            np.pad(pixels, around), bands=spec.bands, transform=place, crs='EPSG:32631', nodata=0
        )
        found = predictor.predict(scene)
        if found.classes is not None:
            height, width = pixels.shape[1:]
            return values[found.classes[border:, border:][:height, :width]]
        in_pixels = found.objects.geometry.affine_transform((~place).to_shapely())
        return in_pixels.translate(-border, -border).to_numpy()

    def compared(
        expected: np.ndarray, found: np.ndarray, first: int, last: int, step: int | None = None
    ) -> str:
        if spec.of_pixels:
            core = (slice(first, last),) * 2
            return f'same class on {np.mean(found[core] == expected[core]):.4%} of pixels'
        return again(within(expected, first, last, step), within(found, first, last, step))

    expected = result(engine(args.side, 0), pixels)
    print(f'{args.checkpoint}: {pixels.shape[2]} x {pixels.shape[1]} pixels', flush=True)
    for tile in args.tiles:
        with tempfile.TemporaryDirectory() as folder:
            (package,) = export_model(args.checkpoint, folder, formats=['dlpk'], tile=tile)
            own = {} if spec.of_pixels else {'threshold': args.score}
            host = Host(package, Path(folder, 'host'), batch_size=1, **own)
            side, border = host.emd['ImageHeight'], host.emd['Padding']
            step = side - 2 * border
            number = min(pixels.shape[1:]) // step
            part = pixels[:, : number * step, : number * step]
            valid = np.ones(part.shape[1:], bool)
            if spec.of_pixels:
                found = host.classify(part, valid)
            else:
                rings = (each['rings'][0] for each in host.detect(part, valid))
                found = np.array([shapely.Polygon(ring) for ring in rings], object)
        print(f'tiles of {side}, {border} of it border, {number} x {number} of them')
        end = number * step
        same = result(engine(side, 2 * border), part, border)
        print('  engine in the same tiles:', compared(same, found, 0, end, step))
        away = border, end - border
        print('  engine in one tile:', compared(expected, found, *away), flush=True)


if __name__ == '__main__':
    main()
