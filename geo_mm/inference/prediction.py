"""Results: in memory first, with files as they are asked for."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np

from geo_mm.detections import Detections
from geo_mm.errors import OutputError
from geo_mm.formats import (
    ProjectLayer,
    html_page,
    write_layer,
    write_layer_file,
    write_project,
    write_stac_item,
)
from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.formats.provenance import Provenance, write_record
from geo_mm.formats.qml import class_style, share_style
from geo_mm.inference.area import Area, SceneToPredict
from geo_mm.inference.fingerprint import Fingerprint, run_notes
from geo_mm.inference.journal import journal_name
from geo_mm.inference.options import PredictOptions
from geo_mm.inputspec import InputSpec
from geo_mm.paths import file_name, reported
from geo_mm.raster import Grid, RasterMetadata, RasterWriter, Scene, Tile
from geo_mm.stores import (
    folder_path,
    in_store,
    listed,
    read_text,
    remove,
    upload,
    url,
    write_empty,
)
from geo_mm.visualization.quicklook import (
    SUFFIXES,
    Quicklook,
    draw_objects_quicklook,
    draw_pixels_quicklook,
    quicklook_shape,
)

SHARE_STEPS = 250
"""A probability of 1 in 8-bit rasters; steps of 0.004. 255 is nodata, as for classes."""


_SUFFIXES = (
    '.tif',
    '.tif.aux.xml',
    '.tif.vat.dbf',
    '.tif.vat.cpg',
    '_confidence.tif',
    '_probabilities.tif',
    *LAYER_FORMATS,
    '.gpkg.aux.xml',  # GDAL leaves it when the GeoPackage is read
    '.qml',
    '_confidence.qml',
    '_probabilities.qml',
    *SUFFIXES,
    '.qgz',
    '.qlr',
    '.json',
    '.stac.json',
)


def as_steps(share: np.ndarray) -> np.ndarray:
    """Probabilities 0..1 as uint8 0..250."""
    return np.rint(np.clip(share, 0, 1) * SHARE_STEPS).astype(np.uint8)


def nearest(grid: Grid, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a grid that a quick look of a scene of this footprint shows."""
    rows, cols = (
        ((np.arange(shown) + 0.5) * own / shown).astype(np.int64)
        for shown, own in zip(quicklook_shape(scene), (grid.height, grid.width), strict=True)
    )
    return rows, cols


@dataclass(frozen=True, eq=False)
class Job:
    """One scene that is predicted, and how.

    Attributes:
        request: What is to be predicted.
        area: The scene as it was opened.
        plan: Tiles that cover it.
        spec: What the model finds.
        options: What is kept and written.
        fingerprint: What else determines the result.
        notes: When and how the run was started.
    """

    request: SceneToPredict
    area: Area
    plan: Sequence[Tile]
    spec: InputSpec
    options: PredictOptions
    fingerprint: Fingerprint = field(repr=False)
    notes: Mapping = field(default_factory=run_notes)

    @property
    def name(self) -> str:
        """Of the results."""
        return file_name(self.request.stem)

    @cached_property
    def facts(self) -> dict:
        """What determines the rows of tiles."""
        return self.fingerprint.of(self.request, self.area)

    @cached_property
    def identity(self) -> str | None:
        """What the files depend on, in short; None of what is only in memory."""
        if self.request.is_array or isinstance(self.request.source, Scene):
            return None
        return self.fingerprint.identity(self.request, self.area)

    @cached_property
    def record(self) -> Provenance:
        """How the result was made."""
        record = self.fingerprint.provenance(self.request, self.area, self.notes)
        # Of a small scene it is less than was asked for.
        tile = max((side for tile in self.plan for side in tile.window[2:]), default=0)
        return replace(record, options={**record.options, 'tile': tile})

    @property
    def grid(self) -> Grid:
        """Grid of class rasters."""
        return (self.area.native if self.options.grid == 'scene' else self.area.scene).grid

    def writer(self, path: Path, values: str) -> RasterWriter:
        """A GeoTIFF in the grid of the results.

        Args:
            path: Where to.
            values: ``'classes'``, ``'confidence'`` or ``'probabilities'``.
        """
        classes = self.spec.classes
        kind = (values == 'probabilities' and self.options.probabilities) or 'uint8'
        more: dict = {'band_names': [values], 'tags': self.record.tags()}
        if values == 'classes':
            more |= {'colors': dict(enumerate(classes.colours)), 'band_names': ['class']}
            more['class_names'] = dict(enumerate(classes.names))
        elif kind == 'uint8':
            more['scale'] = 1 / SHARE_STEPS
        if values == 'probabilities':
            more['band_names'] = classes.names
        nodata = classes.ignore if kind == 'uint8' else float('nan')
        metadata = RasterMetadata(**more)
        count = len(metadata.band_names)
        return RasterWriter(path, self.grid, count, kind, nodata, metadata)

    def layer(self) -> dict:
        """Arguments of a layer writer: metadata, style and time."""
        record = self.record
        return {'metadata': record.metadata(), 'style': self.style, 'time': record.time}

    @cached_property
    def style(self) -> str:
        """Class colours for QGIS."""
        return class_style(self.spec.classes)


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The result of a scene.

    What goes to a folder as it is computed is in :attr:`files`, and class
    rasters are then not held in memory.

    Attributes:
        job: What was predicted, and how.
        counts: Objects or pixels of each class.
        files: Paths, the main one first.
        classes: ``(height, width)`` uint8 class indices, 255 without data.
        confidence: ``(height, width)`` float32 0..1, NaN without data, if asked for.
        probabilities: ``(classes, height, width)`` float32 likewise.
        detections: The objects in pixels of the scene as the model saw it.
        objects: One row per object on the map, as in the files.
        polygons: One row per polygon, as in the files, if asked for.
        polygon_counts: Polygons of each class that has some, if asked for.
        thumbnail: Classes in the size of a quick look.
    """

    job: Job
    counts: dict[str, int]
    files: tuple[Path, ...] = ()
    classes: np.ndarray | None = None
    confidence: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    detections: Detections | None = field(default=None, repr=False)
    objects: gpd.GeoDataFrame | None = None
    polygons: gpd.GeoDataFrame | None = None
    polygon_counts: dict[str, int] | None = None
    thumbnail: np.ndarray | None = field(default=None, repr=False)

    @property
    def spec(self) -> InputSpec:
        """What the model takes and finds."""
        return self.job.spec

    @property
    def grid(self) -> Grid:
        """Grid of class rasters."""
        return self.job.grid

    @property
    def provenance(self) -> Provenance:
        """How it was made."""
        return self.job.record

    def to_cog(self, path: str | os.PathLike, values: str = 'classes') -> Path:
        """Writes a raster that is in memory as a Cloud Optimized GeoTIFF.

        Args:
            path: Where to, ``.tif``.
            values: ``'classes'``, ``'confidence'`` or ``'probabilities'``.

        Raises:
            OutputError: If it is not in memory, or cannot be written.
        """
        array = self._held(values)
        with self.job.writer(Path(path), values) as writer:
            if array.dtype != writer.dtype:
                valid = ~np.isnan(array)
                array = as_steps(np.where(valid, array, 0))
                array[~valid] = writer.nodata
            writer.write(array.astype(writer.dtype))
        return Path(path)

    def to_layer(self, path: str | os.PathLike) -> Path:
        """Writes objects or polygons; the suffix chooses the format.

        Raises:
            OutputError: If there are none in memory, or they cannot be written.
        """
        name = 'objects' if self.objects is not None else 'polygons'
        write_layer(self._held(name), path, layer=name, **self.job.layer())
        return Path(path)

    def to_quicklook(self, path: str | os.PathLike) -> Path:
        """Draws the result on the scene, as a picture of 800 to 1600 pixels.

        Raises:
            OutputError: If it is not in memory, or cannot be written.
        """
        return self._drawn().save(path)[0]

    def to_project(self, path: str | os.PathLike, home: str | os.PathLike | None = None) -> Path:
        """Writes a QGIS project (``.qgz``) or layer file (``.qlr``) of files and image.

        Args:
            path: Where to; the suffix chooses which.
            home: The folder that it is going to be in; that of ``path`` by default.

        Raises:
            OutputError: If it cannot be written.
        """
        path, native = Path(path), self.job.area.native
        home = path.parent if home is None else home
        write = write_layer_file if path.suffix == '.qlr' else write_project
        return write(path, self._project_layers(Path(home)), native.grid, home)

    def _project_layers(self, home: Path) -> list[ProjectLayer]:
        """From the uppermost down: outlines, class raster, shares, image."""
        job, names = self.job, [file.name for file in self.files]
        layers = []
        for suffix in job.options.formats[:1]:
            if f'{job.name}.{suffix}' in names:
                title = 'polygons' if f'{job.name}.tif' in names else 'objects'
                inner = title if suffix == 'gpkg' else None
                place = home / f'{job.name}.{suffix}'
                layers.append(ProjectLayer(place, title.capitalize(), job.style, inner))
        if f'{job.name}.tif' in names:
            place = home / f'{job.name}.tif'
            layers.append(ProjectLayer(place, 'Classes', job.style, opacity=0.6))
        shown = min(self.spec.classes.foreground, default=0)
        for key, band in (('confidence', 1), ('probabilities', shown + 1)):
            if (file := f'{job.name}_{key}.tif') in names:
                style = share_style(band)
                layers.append(ProjectLayer(home / file, key.capitalize(), style, visible=False))
        images = [ProjectLayer(source, 'Image') for source in job.area.native.sources]
        return [*layers, *images]

    def to_stac(
        self,
        folder: str | os.PathLike,
        name: str | None = None,
        home: str | os.PathLike | None = None,
    ) -> Path:
        """Writes a STAC item of the files ``<name>.*`` and ``<name>_*`` in a folder.

        Args:
            folder: Where they are.
            name: That of the prediction by default.
            home: The folder that they are going to be in; the same by default.
        """
        folder, name = Path(folder), name or self.job.name
        own = [path.name for path in self.files]
        there = sorted(path.name for path in result_files(folder, name) if path.exists())
        names = [*own, *(file for file in there if file not in (*own, f'{name}.stac.json'))]
        files = [folder / file for file in names]
        native = self.job.area.native
        return write_stac_item(
            folder, files, self.provenance, native.grid, name, home=Path(home or folder)
        )

    def with_rest(self, home: Path) -> 'Prediction':
        """Writes picture, project, record and STAC item beside the files, as the options have it.

        Args:
            home: The folder that the files are going to be in.
        """
        job, folder, files = self.job, self.files[0].parent, list(self.files)
        if job.options.quicklook:
            files.append(self.to_quicklook(folder / f'{job.name}{SUFFIXES[0]}'))
            for suffix in ('.qgz', '.qlr'):
                self.to_project(folder / f'{job.name}{suffix}', home)
        drawn = {} if self.polygon_counts is None else {'polygons': self.polygon_counts}
        record = job.record
        # What is asked for most stands on top; the provenance has it too.
        path = write_record(
            folder / f'{job.name}.tif',
            record,
            scene=[item.path for item in record.inputs],
            window=record.options['window'],
            input_spec=record.spec.to_dict(),
            counts=self.counts,
            **drawn,
            tiles=len(job.plan),
            identity=job.identity,
            grid=_plain(job.area.native.grid),
            files=[file.name for file in files],
        )
        complete = replace(self, files=(*files, path))
        if not job.options.stac:
            return complete
        return replace(complete, files=(*complete.files, complete.to_stac(folder, home=home)))

    def moved(self, folder: Path) -> 'Prediction':
        """The same, complete, when its files are in another folder."""
        files = tuple(folder / path.name for path in self.files)
        return replace(self, files=files, thumbnail=None)

    def picture(self) -> np.ndarray:
        """The quick look as an RGB array ``(height, width, 3)`` uint8."""
        return np.asarray(self._drawn().image)

    def __repr__(self) -> str:
        found = ', '.join(f'{count:,} {name}' for name, count in self.counts.items())
        where = f', {self.files[0]}' if self.files else ''
        return f'<Prediction of {self.job.name}: {found}{where}>'

    def _repr_html_(self) -> str:
        """The quick look and what was found, for notebooks."""
        unit = 'objects' if self.objects is not None else 'pixels'
        found = {name: f'{count:,} {unit}' for name, count in self.counts.items()}
        files = {'files': ', '.join(map(str, self.files))} if self.files else {}
        try:
            picture = html_page.figure(self._drawn().image, f'{self.job.name}, predicted')
        except OutputError:  # pixels that went to files alone
            picture = ''
        return picture + html_page.pairs(self.job.name, {**found, **files})

    def _drawn(self) -> Quicklook:
        area, classes = self.job.area, self.spec.classes
        aoi = () if area.aoi is None else list(area.aoi.geometries)
        if self.objects is not None:
            return draw_objects_quicklook(area.scene, self.objects, classes, aoi=aoi)
        thumbnail = self.thumbnail
        if thumbnail is None:
            rows, cols = nearest(self.grid, area.scene)
            thumbnail = self._held('classes')[rows[:, None], cols]
        total = self.grid.width * self.grid.height
        shares = {name: count / total for name, count in self.counts.items()}
        return draw_pixels_quicklook(area.scene, thumbnail, classes, shares=shares, aoi=aoi)

    def _held(self, name: str) -> np.ndarray | gpd.GeoDataFrame:
        found = getattr(self, name)
        if found is None:
            raise OutputError(
                f'{self.job.name}: {name} are not in memory',
                'a prediction without a folder that keeps them',
                'predict(scene) without a folder, with the option that asks for them',
            )
        return found


def result_files(folder: Path, name: str) -> list[Path]:
    """All files that results of a name may have."""
    return [folder / f'{name}{suffix}' for suffix in _SUFFIXES]


def _plain(grid: Grid) -> dict:
    """A grid as plain data."""
    return {
        'crs': None if grid.crs is None else grid.crs.to_string(),
        'transform': tuple(grid.transform)[:6],
        'width': grid.width,
        'height': grid.height,
    }


def found_complete(job: Job, folder: Path) -> Prediction | None:
    """The result of a scene if it is in a folder already, as it would be made now."""
    try:
        record = json.loads(read_text(folder / f'{job.name}.json'))
        if job.identity is None or record['identity'] != job.identity:
            return None
        names, counts = [*record['files'], f'{job.name}.json'], dict(record['counts'])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if job.options.stac:
        names.append(f'{job.name}.stac.json')
    files = tuple(folder / name for name in names)
    # Of those in a store the record is the last.
    there = in_store(folder) or all(path.exists() for path in files)
    return Prediction(job, counts, files) if there else None


def check_replaced(folder: Path, name: str, scene: Scene) -> None:
    """Makes sure that writing results costs the user no file.

    Raises:
        OutputError: If it would.
    """
    folders = (folder_path(source).parent.resolve() for source in scene.sources)
    if folder.resolve() in folders:
        raise OutputError(
            f'{url(folder)} is the folder of the scene itself, whose file would be replaced',
            'another folder',
            'choose one with -o',
        )
    there = _earlier_files(folder, name)
    if (
        there
        and not set(scene.sources) <= _predicted_before(folder / f'{name}.json')
        and not (in_store(folder) and listed(folder, journal_name(name)))
    ):
        raise OutputError(
            f'{url(there[0])} exists, and is no earlier prediction of {scene.sources[0]}',
            'a folder without files of that name',
            'choose another folder with -o, or move the file away',
        )


def _earlier_files(folder: Path, name: str) -> list[Path]:
    """Those files of results that are there."""
    possible = result_files(folder, name)
    if in_store(folder):
        there = set(listed(folder, name))
        return [path for path in possible if path in there]
    return [path for path in possible if path.exists()]


def _predicted_before(record: Path) -> set[str]:
    """The files of the scene that a record says its results are of."""
    try:
        return set(json.loads(read_text(record))['scene'])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextlib.contextmanager
def written_together(folder: Path, workplace: Path, name: str) -> Iterator[Path]:
    """An empty folder whose files move to ``folder`` if all goes well.

    Args:
        folder: Where the files belong.
        workplace: Folder to make, on the same disk if that is a local one; what is in
            it is lost.
        name: Of the results; older ones of that name that are not made again
            are removed.
    """
    with reported(workplace if in_store(folder) else folder):
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(parents=True)
        yield workplace
        if in_store(folder):
            _upload(sorted(workplace.iterdir()), folder, name)
            return
        # The summary first: it says that the others may be replaced. The STAC
        # item last: it says that the others are there.
        order = {f'{name}.json': -1, f'{name}.stac.json': 1}
        made = sorted(workplace.iterdir(), key=lambda path: order.get(path.name, 0))
        for file in made:
            os.replace(file, folder / file.name)
        for path in {*result_files(folder, name)} - {folder / file.name for file in made}:
            path.unlink(missing_ok=True)


def _upload(made: Sequence[Path], folder: Path, name: str) -> None:
    """Copies results to a store, the record last: a result is complete when it is there.

    Until then a file called like the journal says that what is there may be replaced.
    """
    marker, record = folder / journal_name(name), folder / f'{name}.json'
    write_empty(marker)
    earlier = _earlier_files(folder, name)
    remove(path for path in earlier if path == record)
    upload([path for path in made if path.name != record.name], folder)
    remove({*earlier} - {folder / path.name for path in made})
    upload([path for path in made if path.name == record.name], folder)
    remove([marker])
