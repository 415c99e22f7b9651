"""The results in a folder, as their records describe them."""

import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.classes import ClassSet
from geo_mm.errors import ConfigError, OutputError
from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.formats.provenance import readable
from geo_mm.raster import Grid
from geo_mm.raster.grid import to_map
from geo_mm.raster.handles import layer_source
from geo_mm.raster.projection import transformer
from geo_mm.stores import download, folder_path, in_store, read_bytes

_EDGE_PARTS = 16  # straight pieces of an edge, which is a curve in another CRS


@dataclass(frozen=True)
class Result:
    """What was predicted of a scene.

    Attributes:
        name: Of its files.
        folder: Where they are.
        grid: Of the scene, or the part of it that was predicted.
        classes: Of the model.
        counts: Objects or pixels of each class.
        started: When it was predicted (ISO 8601).
        files: Names of the files.
        model: The file that predicted it, or several.
    """

    name: str
    folder: Path
    grid: Grid
    classes: ClassSet
    counts: Mapping[str, int]
    started: str
    files: tuple[str, ...]
    model: str = ''

    @classmethod
    def of(cls, path: Path) -> 'Result | None':
        """That of a record; None if the file is something else, or of a plain picture."""
        try:
            record: Mapping[str, Any] = json.loads(path.read_text(encoding='utf-8'))
            grid = record['grid']
            # A name with a folder would be a file somewhere else.
            if not all(Path(file).name == file for file in record['files']):
                return None
            found = cls(
                path.name.removesuffix('.json'),
                path.parent,
                Grid(
                    Affine(*grid['transform']),
                    int(grid['width']),
                    int(grid['height']),
                    CRS.from_user_input(grid['crs']),
                ),
                ClassSet.from_dict(record['input_spec']),
                dict(record['counts']),
                str(record['provenance']['started']),
                tuple(record['files']),
                ', '.join(item['path'] for item in record['provenance'].get('checkpoints', ())),
            )
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
            ConfigError,
        ):
            return None
        transform, pixels = found.grid.transform, found.grid.window.area
        is_raster = np.isfinite(tuple(transform)).all() and transform.determinant != 0
        return found if is_raster and pixels > 0 else None

    def raster(self, values: str = '') -> Path | None:
        """The raster of classes, or that of ``'confidence'`` or ``'probabilities'``."""
        name = f'{self.name}_{values}.tif' if values else f'{self.name}.tif'
        return self.folder / name if name in self.files else None

    @property
    def layer(self) -> Path | None:
        """The file with its objects, if it has some and no raster."""
        if self.raster() is not None:
            return None
        suffixes = {Path(file).suffix: file for file in self.files}
        return next((self.folder / suffixes[s] for s in LAYER_FORMATS if s in suffixes), None)

    def footprint(self, crs: object) -> shapely.Polygon:
        """The ground it covers, in a CRS in which its edges may be curves."""
        longest = max(self.grid.width, self.grid.height)
        pixels = shapely.box(0, 0, self.grid.width, self.grid.height)
        pixels = shapely.segmentize(pixels, longest / _EDGE_PARTS)
        project = transformer(self.grid.crs, crs)

        def on_map(xy: np.ndarray) -> np.ndarray:
            return np.stack(project.transform(*to_map(xy, self.grid.transform).T), axis=1)

        return shapely.transform(pixels, on_map)


def read_results(folder: str | os.PathLike) -> list[Result]:
    """The results in a folder, by name.

    Raises:
        OutputError: If there are none, or they are of models with different classes.
    """
    folder = folder_path(folder)
    with tempfile.TemporaryDirectory() as made:
        records = Path(made) if in_store(folder) else folder
        if in_store(folder):
            download(folder, '.json', records)
        found = [Result.of(path) for path in sorted(records.glob('*.json'))]
    results = [replace(result, folder=folder) for result in found if result is not None]
    if not results:
        raise OutputError(
            f'{folder}: no results of georeferenced scenes',
            'the folder of a prediction (-o), made by this version of geo_mm',
            'predict the scenes with `geo-mm predict`',
        )
    for result in results:
        if result.classes.names != results[0].classes.names:
            raise OutputError(
                f'{folder}: {result.name} has the classes {", ".join(result.classes.names)}, and '
                f'{results[0].name} {", ".join(results[0].classes.names)}',
                'results of one model',
                'predict them into two folders',
            )
    return results


def common_crs(results: Sequence[Result], wanted: str | None = None) -> CRS:
    """The CRS that was asked for, or that of most results.

    Raises:
        OutputError: If it is none.
    """
    if wanted is not None:
        try:
            return CRS.from_user_input(wanted)
        except ValueError as error:
            raise OutputError(f'{wanted}: no CRS', 'such as EPSG:25831') from error
    return Counter(CRS.from_user_input(result.grid.crs) for result in results).most_common(1)[0][0]


def read_objects(result: Result, crs: CRS) -> gpd.GeoDataFrame:
    """The objects of a result, in a CRS.

    Raises:
        OutputError: If they cannot be read.
    """
    path = result.layer
    if path is None:
        raise OutputError(f'{result.name}: no layer of objects', 'a result of a detector')
    with readable(path):
        if path.suffix == '.parquet':
            objects = gpd.read_parquet(io.BytesIO(read_bytes(path)))
        else:
            objects = pyogrio.read_dataframe(layer_source(path), layer=0)  # after it: styles
        return objects.to_crs(crs.to_wkt())
