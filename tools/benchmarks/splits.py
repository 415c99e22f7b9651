"""How far scores of random and of block validation lie from the truth.

Landscapes are made in which everything is spatially autocorrelated: one band tells
the class in part, a hidden property that no band shows tells the rest, and further
bands have nothing to do with the class, but are alike in one place. A
nearest-neighbour classifier of pixels can learn from those where it is, and so what
the hidden property is there: on ground that it has seen, and only there.

Each landscape is split in several ways, the classifier learns from train and is
scored on val, and on another landscape: the truth.

    python tools/benchmarks/splits.py --repeats 20
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from geo_mm.catalog import (
    CatalogEntry,
    SceneOptions,
    SplitOptions,
    audit_splits,
    open_labelled,
    split_entries,
)
from geo_mm.catalog.audit import catalog_scenes
from geo_mm.labels import LabelOptions

SIDE = 512  # pixels of 1 m
RANGE = 12  # sigma of the smoothing, in pixels: places two of them apart are alike
CHIP = 32
CRS = 'EPSG:32617'
TRAIN, SCORED, NEIGHBOURS = 6000, 3000, 5


def landscape(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bands ``(4, SIDE, SIDE)`` and classes ``(SIDE, SIDE)``, 0 or 1."""
    fields = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), RANGE, mode='wrap') for _ in range(5)]
    telling, hidden, *others = (field / field.std() for field in fields)
    noise = 0.05 * rng.normal(size=(4, SIDE, SIDE))
    return np.stack([telling, *others]) + noise, (telling + hidden > 0).astype('uint8')


def write(folder: Path, bands: np.ndarray) -> list[CatalogEntry]:
    """The whole scene, then overlapping chips of it, as entries of a catalog."""
    scene = folder / 'scene.tif'
    profile = {'driver': 'GTiff', 'count': 4, 'dtype': 'float32', 'crs': CRS}
    transform = Affine(1, 0, 500_000, 0, -1, 4_000_000)
    with rasterio.open(scene, 'w', width=SIDE, height=SIDE, transform=transform, **profile) as file:
        file.write(bands.astype('float32'))
    share = CHIP / SIDE
    corners = np.arange(0, 1 - share + 1e-9, share / 2)  # half a chip of overlap
    chips = [
        CatalogEntry(str(scene), area=(x, y, x + share, y + share), name=f'{x:.3f} {y:.3f}')
        for y in corners
        for x in corners
    ]
    return [CatalogEntry(str(scene), name='scene'), *chips]


def masks(entries: list[CatalogEntry]) -> dict[str, np.ndarray]:
    """Which pixels of the scene belong to each split."""
    found = {}
    for entry in entries:
        mask = found.setdefault(entry.split, np.zeros((SIDE, SIDE), bool))
        if entry.aoi is None:
            left, top, right, bottom = (round(SIDE * edge) for edge in entry.area or (0, 0, 1, 1))
            mask[top:bottom, left:right] = True
            continue
        opened = open_labelled(entry, (), SceneOptions(), LabelOptions())
        mask |= rasterize(opened.aoi.geometries, mask.shape).astype(bool)
    return found


class Classifier:
    """The majority of the nearest training pixels, by the values of the bands."""

    def __init__(self, bands: np.ndarray, classes: np.ndarray, mask: np.ndarray, rng) -> None:
        pixels = rng.choice(np.flatnonzero(mask), TRAIN)
        self._tree = cKDTree(bands.reshape(4, -1).T[pixels])
        self._classes = classes.ravel()[pixels]

    def accuracy(self, bands: np.ndarray, classes: np.ndarray, mask: np.ndarray, rng) -> float:
        pixels = rng.choice(np.flatnonzero(mask), SCORED)
        _, nearest = self._tree.query(bands.reshape(4, -1).T[pixels], NEIGHBOURS)
        voted = self._classes[nearest].mean(axis=1) > 0.5
        return float((voted == classes.ravel()[pixels]).mean())


def compare(seed: int) -> dict[str, tuple[float, float, bool]]:
    """Score on val, score on another landscape, and whether the audit finds a leak."""
    rng = np.random.default_rng(seed)
    (bands, classes), elsewhere = landscape(rng), landscape(rng)
    fractions = (0.75, 0.25)
    ways = {
        'random chips': SplitOptions('scene', fractions, allow_overlap=True, seed=seed),
        'blocks of 32 m, no buffer': SplitOptions(
            'block', fractions, block_size=32, buffer=0, seed=seed
        ),
        'blocks of 128 m, no buffer': SplitOptions(
            'block', fractions, block_size=128, buffer=0, seed=seed
        ),
        'blocks of 128 m, buffer 45 m': SplitOptions(
            'block', fractions, block_size=128, chip_size=CHIP, seed=seed
        ),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        whole, *chips = write(Path(folder), bands)
        for name, options in ways.items():
            entries = split_entries([whole] if options.by == 'block' else chips, options).entries
            of = masks(list(entries))
            model = Classifier(bands, classes, of['train'], rng)
            truth = model.accuracy(*elsewhere, np.ones((SIDE, SIDE), bool), rng)
            leaks = audit_splits(*catalog_scenes(entries, CHIP)).leaks
            found[name] = (model.accuracy(bands, classes, of['val'], rng), truth, leaks)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=20, help='landscapes (default: 20)')
    repeats = [compare(seed) for seed in range(parser.parse_args().repeats)]
    print('| split | score on val | score elsewhere | too high by | audit |')
    print('|---|---|---|---|---|')
    for name in repeats[0]:
        val, truth, leaks = np.array([repeat[name] for repeat in repeats]).T
        gap, error = (val - truth).mean(), (val - truth).std() / len(val) ** 0.5
        verdict = {0.0: 'no leak', 1.0: 'leak'}.get(leaks.mean(), 'leak in some')
        print(
            f'| {name} | {val.mean():.1%} | {truth.mean():.1%} '
            f'| {100 * gap:.1f} ± {100 * error:.1f} points | {verdict} |'
        )


if __name__ == '__main__':
    main()
