"""What is to be predicted: files, scenes or arrays, whole or in part."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np
from affine import Affine

from geo_mm.catalog import read_aoi
from geo_mm.errors import LabelError, SceneError
from geo_mm.inference.options import PredictOptions
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.paths import absolute
from geo_mm.raster import Scene, Window
from geo_mm.raster.sources import NoData
from geo_mm.raster.stack import Files

Source = Files | Scene | np.ndarray | Any
"""A file, co-registered files of one scene, a mapping from roles to files, a scene, or
an array as :meth:`geo_mm.raster.Scene.from_array` takes it."""


@dataclass(frozen=True)
class SceneToPredict:
    """A scene, and what of it is predicted.

    Attributes:
        source: See :data:`Source`.
        name: Name of the results; that of the scene by default.
        window: ``(x_min, y_min, x_max, y_max)`` in units of the scene's CRS:
            only this part.
        aoi: Vector file with polygons: only their inside is predicted.
        gsd: Metres per pixel, for a scene without georeference.
        bands: Of an array, the names of its bands. Of files, the bands, by name
            or number from 1, that are the model's bands, in its order.
        transform: Pixel to map coordinates of an array.
        crs: CRS of an array.
    """

    source: Source
    name: str | None = None
    window: tuple[float, float, float, float] | None = None
    aoi: str | PathLike | None = None
    gsd: float | None = None
    bands: Sequence[int | str] | None = None
    transform: Affine | None = None
    crs: Any = None

    @classmethod
    def of(cls, source: 'Source | SceneToPredict', **changes: Any) -> 'SceneToPredict':
        """A source and other fields, or one like it with other fields."""
        return replace(source, **changes) if isinstance(source, cls) else cls(source, **changes)

    @property
    def is_array(self) -> bool:
        return hasattr(self.source, 'ndim')

    @property
    def title(self) -> str:
        """What to call it in messages: its first file, or its name."""
        if isinstance(self.source, Scene):
            return self.source.name
        first = 'array' if self.is_array else self.source
        while not isinstance(first, str | PathLike):
            first = next(iter(first.values() if isinstance(first, Mapping) else first))
        return str(first)

    @property
    def stem(self) -> str:
        """Name of the results, before it becomes one of files."""
        title = self.title
        if self.name or self.is_array or isinstance(self.source, Scene):
            return self.name or title
        return PurePosixPath(title.split('?')[0]).stem

    @property
    def folder(self) -> str:
        """Name of the folder of the first file."""
        return PurePosixPath(absolute(self.title.split('?')[0])).parent.name

    def __str__(self) -> str:
        return self.title if self.name is None else f'{self.title} ({self.name})'

    def open(self, spec: InputSpec, options: PredictOptions) -> 'Area':
        """Opens the scene as a model must see it.

        Raises:
            SceneError: If it cannot be read, or the window is outside.
            SpecError: If it cannot be matched to the input specification.
            LabelError: If the AOI cannot be read or is elsewhere.
        """
        whole = native = self._scene(
            spec, spec.nodata if options.nodata is None else options.nodata
        )
        if self.window is not None:
            native = native.crop(_pixel_window(native, self.window))
        scene = spec.fit(native, gsd=self.gsd, force=options.force)
        aoi = None if self.aoi is None else _polygons(str(self.aoi), whole, scene)
        aoi_file = None if self.aoi is None else stamped(self.aoi)
        return Area(native, scene, aoi, tuple(map(stamped, whole.sources)), aoi_file)

    def _scene(self, spec: InputSpec, nodata: NoData) -> Scene:
        if isinstance(self.source, Scene):
            return self.source
        if self.is_array:
            return Scene.from_array(
                self.source,
                transform=self.transform,
                crs=self.crs,
                bands=None if self.bands is None else list(map(str, self.bands)),
                nodata=nodata,
            )
        files = cast(Files, self.source)
        if self.bands is not None:
            scene = Scene.open(files, bands=self.bands, nodata=nodata)
            if scene.count != len(spec.bands):
                raise SceneError(
                    f'{scene.count} bands are chosen: {", ".join(scene.band_names)}',
                    f'{len(spec.bands)}, as the model was trained: {", ".join(spec.bands)}',
                )
            return replace(scene, band_names=spec.bands)
        try:
            # By name, because an alpha band is left out unless asked for, and
            # in some files that is the near infrared.
            return Scene.open(files, bands=spec.bands, nodata=nodata)
        except SceneError:
            return Scene.open(files, nodata=nodata)


@dataclass(frozen=True)
class Area:
    """What is predicted, in two grids of the same footprint.

    Attributes:
        native: The scene in its own pixels.
        scene: The scene as the model must see it.
        aoi: Polygons in the grid of ``scene``; the result has no data outside.
        files: The scene's files as they were, see :func:`stamped`.
        aoi_file: That of the polygons, or None.
    """

    native: Scene
    scene: Scene
    aoi: SceneLabels | None = None
    files: tuple[dict, ...] = ()
    aoi_file: dict | None = None

    @property
    def changed(self) -> str | None:
        """A file that was written to, or went, since it was opened."""
        for then in (*self.files, self.aoi_file):
            if then and stamped(then['path']) != then:
                return then['path']
        return None

    def check_unchanged(self) -> None:
        """Makes sure that all that was read is of one version of the files.

        Raises:
            SceneError: If a file has changed since it was opened.
        """
        if (path := self.changed) is not None:
            raise SceneError(
                f'{path}: changed while it was predicted, so the result would be inconsistent',
                'the same file from start to end',
                'predict it again once it is no longer written to',
            )


def stamped(path: str | PathLike) -> dict:
    """A file's path, size and time of change; of a URL the path alone."""
    path = os.fspath(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return {'path': path}
    return {'path': path, 'size': status.st_size, 'changed': status.st_mtime_ns}


def _polygons(aoi: str, whole: Scene, scene: Scene) -> SceneLabels:
    try:
        return read_aoi(aoi, whole, scene)
    except LabelError as error:
        raise LabelError(f'the AOI cannot be used: {error}') from error


def _pixel_window(scene: Scene, bounds: tuple[float, float, float, float]) -> Window:
    """The pixels that a rectangle in map units touches."""
    x_min, y_min, x_max, y_max = bounds
    if x_min >= x_max or y_min >= y_max:
        raise SceneError(
            f'{scene.sources[0]}: the window {bounds} is empty',
            'x_min, y_min, x_max, y_max, the smaller numbers first',
        )
    if scene.grid.is_picture and y_max <= 0:  # as QGIS shows the rows of a picture
        y_min, y_max = -y_max, -y_min
    window = scene.grid.window_of((x_min, y_min, x_max, y_max)).intersection(scene.grid.window)
    if not window.area:
        raise SceneError(
            f'{scene.sources[0]}: the window {bounds} touches none of its pixels',
            f'x_min, y_min, x_max, y_max within {tuple(round(v, 3) for v in scene.grid.bounds)}, '
            "in the scene's CRS",
        )
    return window
