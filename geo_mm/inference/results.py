"""Result files: they appear together, and replace nothing of the user's."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio

from geo_mm.errors import OutputError
from geo_mm.raster import Grid, Scene
from geo_mm.raster.handles import open_quietly
from geo_mm.visualization.quicklook import SUFFIXES

_SUFFIXES = (
    '.tif',
    '.tif.aux.xml',
    '.tif.vat.dbf',
    '.tif.vat.cpg',
    '_confidence.tif',
    '_probabilities.tif',
    '.gpkg',
    '.gpkg.aux.xml',  # GDAL leaves it when the GeoPackage is read
    '.geojson',
    '.parquet',
    '.fgb',
    '.qml',
    '_confidence.qml',
    '_probabilities.qml',
    *SUFFIXES,
    '.json',
    '.stac.json',
)


@dataclass(frozen=True)
class Result:
    """What a prediction gave.

    Attributes:
        files: Paths, the main one first; none if no folder was given, and then
            the rest is set.
        counts: Objects or pixels of each class.
        grid: Grid of the rasters.
        classes: ``(height, width)`` uint8 class indices, 255 without data.
        confidence: ``(height, width)`` float32 0..1, NaN without data, if asked for.
        probabilities: ``(classes, height, width)`` float32 likewise.
        objects: One row per object, as in the files.
        polygons: One row per polygon, as in the files, if asked for.
    """

    files: tuple[Path, ...]
    counts: dict[str, int]
    grid: Grid | None = None
    classes: np.ndarray | None = None
    confidence: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    objects: gpd.GeoDataFrame | None = None
    polygons: gpd.GeoDataFrame | None = None


def loaded(result: Result) -> Result:
    """The same result in memory instead of in files."""
    found: dict = {}
    for path in result.files:
        if path.suffix == '.gpkg':
            layer = pyogrio.read_info(path, layer=0)['layer_name']  # after it: styles
            found[layer] = gpd.read_file(path, layer=layer)
        elif path.suffix == '.tif':
            with open_quietly(str(path)) as dataset:
                grid = Grid(dataset.transform, dataset.width, dataset.height, dataset.crs)
                if path.stem.endswith('_confidence'):
                    found['confidence'] = _shares(dataset)[0]
                elif path.stem.endswith('_probabilities'):
                    found['probabilities'] = _shares(dataset)
                else:
                    found |= {'classes': dataset.read(1), 'grid': grid}
    return Result((), result.counts, **found)


def _shares(dataset: rasterio.DatasetReader) -> np.ndarray:
    """All bands ``(bands, h, w)`` as float32 0..1, NaN without data."""
    values = dataset.read()
    if values.dtype != np.uint8:
        return values
    scale = np.float32(dataset.scales[0])
    return np.where(values == dataset.nodata, np.float32(np.nan), values * scale)


def check_replaced(folder: Path, name: str, scene: Scene) -> None:
    """Makes sure that writing results costs the user no file.

    Raises:
        OutputError: If it would.
    """
    if any(Path(source).parent.resolve() == folder.resolve() for source in scene.sources):
        raise OutputError(
            f'{folder} is the folder of the scene itself, whose file would be replaced',
            'another folder',
            'choose one with -o',
        )
    there = [p for suffix in _SUFFIXES if (p := folder / f'{name}{suffix}').exists()]
    if there and not set(scene.sources) <= _predicted_before(folder / f'{name}.json'):
        raise OutputError(
            f'{there[0]} exists, and is no earlier prediction of {scene.sources[0]}',
            'a folder without files of that name',
            'choose another folder with -o, or move the file away',
        )


def _predicted_before(record: Path) -> set[str]:
    """The files of the scene that a record says its results are of."""
    try:
        return set(json.loads(record.read_text())['scene'])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextlib.contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Turns trouble with writing to a folder into one message.

    Raises:
        OutputError: In place of the system's errors.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f'{folder}: cannot write there: {error.strerror or error}',
            'a folder you may write to, with enough free space',
            'choose another with -o',
        ) from error


@contextlib.contextmanager
def written_together(folder: Path, workplace: Path, name: str) -> Iterator[Path]:
    """An empty folder whose files move to ``folder`` if all goes well.

    Args:
        folder: Where the files belong.
        workplace: Folder to make, on the same disk; what is in it is lost.
        name: Of the results; older ones of that name that are not made again
            are removed.
    """
    with reported(folder):
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(parents=True)
        yield workplace
        # The summary first: it says that the others may be replaced. The STAC
        # item last: it says that the others are there.
        order = {f'{name}.json': -1, f'{name}.stac.json': 1}
        made = sorted(workplace.iterdir(), key=lambda path: order.get(path.name, 0))
        for file in made:
            os.replace(file, folder / file.name)
        for path in {folder / f'{name}{s}' for s in _SUFFIXES} - {folder / f.name for f in made}:
            path.unlink(missing_ok=True)
