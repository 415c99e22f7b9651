"""Stand-ins for embeddings of a foundation model: rasters of features, from the town.

They are stored as AlphaEarth's: bands ``A00`` to ``A63`` of int8 with nodata -128, of
which ``sign(v) * (v / 127.5) ** 2`` are unit vectors. What is in them is simple: brightness
of the bands and its variation, in the pixel and around it, mixed at random.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from scipy.ndimage import uniform_filter

from geo_mm.paths import atomic_write, make_folder, reported, write_text

BANDS = tuple(f'A{i:02}' for i in range(64))
NODATA = -128

_STEP = 4  # pixels of the town per pixel
_AROUND = (1, 5)  # pixels that a feature looks at


def make_embeddings(
    catalog: Path, progress: Callable[[str], None] = lambda name: None, seed: int = 0
) -> Path:
    """Write embeddings of the scenes of a town.

    Args:
        catalog: Of :func:`geo_mm.synthetic.make_town`.
        progress: Is told the name of each file.
        seed: Of the mixture.

    Returns:
        Their catalog, ``embeddings.csv`` beside that of the town, with its labels.

    Raises:
        OutputError: If something cannot be written.
    """
    make_folder(catalog.parent / 'embeddings')
    with catalog.open(newline='') as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = f'embeddings/{Path(row["image"]).name}'
        progress(name)
        _write(catalog.parent / row['image'], catalog.parent / name, seed)
        row['image'] = name
    lines = [','.join(rows[0]), *(','.join(row.values()) for row in rows)]
    return write_text(catalog.with_name('embeddings.csv'), '\n'.join(lines) + '\n')


def _write(image: Path, path: Path, seed: int) -> None:
    with rasterio.open(image) as source:
        pixels = source.read().astype('float32')
        valid = _blocks(pixels.any(axis=0)[None])[0].all(axis=(1, 3))
        profile = source.profile | {
            'count': len(BANDS),
            'dtype': 'int8',
            'nodata': NODATA,
            'height': valid.shape[0],
            'width': valid.shape[1],
            'transform': source.transform @ source.transform.scale(_STEP),
            'photometric': 'MINISBLACK',
        }
    vectors = _vectors(_features(pixels / 10000), seed)
    values = np.rint(np.sign(vectors) * np.sqrt(np.abs(vectors)) * 127.5).clip(-127, 127)
    values[:, ~valid] = NODATA
    with (
        reported(path),
        atomic_write(path) as partial,
        rasterio.open(partial, 'w', **profile) as to,
    ):
        to.write(values.astype('int8'))
        to.descriptions = BANDS


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """``(bands, rows, step, columns, step)`` out of ``(bands, height, width)``."""
    bands, height, width = pixels.shape
    rows, columns = height // _STEP, width // _STEP
    cut = pixels[:, : rows * _STEP, : columns * _STEP]
    return cut.reshape(bands, rows, _STEP, columns, _STEP)


def _features(reflectance: np.ndarray) -> np.ndarray:
    """Brightness and its variation, ``(features, rows, columns)``, about 0."""
    blocks = _blocks(reflectance)
    single = np.concatenate([blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4))])
    total = single[:4].sum(axis=0)
    shares = single[:4] / np.maximum(total, 1e-6)
    single = np.concatenate([4 * single, 4 * shares - 1])
    return np.concatenate([uniform_filter(single, size=(0, size, size)) for size in _AROUND])


def _vectors(features: np.ndarray, seed: int) -> np.ndarray:
    """Unit vectors ``(64, rows, columns)``: features mixed at random, with a bend."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(len(BANDS), len(features))) / np.sqrt(len(features))
    bent = np.tanh(2 * np.einsum('bf,fyx->byx', mix, features) + rng.normal(size=(64, 1, 1)) / 4)
    return bent / np.linalg.norm(bent, axis=0)
