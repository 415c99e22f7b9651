"""From scenes to results on the map."""

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.errors import NotGeoreferencedWarning

from geo_mm.errors import OutputError
from geo_mm.inference import executors
from geo_mm.inference.area import Area, SceneToPredict, Source
from geo_mm.inference.ensemble import Ensemble
from geo_mm.inference.fingerprint import Fingerprint
from geo_mm.inference.options import PredictOptions, tile_side
from geo_mm.inference.prediction import Job, Prediction
from geo_mm.inference.scene_run import FolderRun, predict_in_memory
from geo_mm.inputspec import InputSpec
from geo_mm.raster import handles, tile_plan
from geo_mm.stores import folder_path

if TYPE_CHECKING:
    from mmengine.config import Config

Progress = Callable[[int, int], None]
"""Called with the number of tiles done since the last call, and of all that
this process has to do."""


class Predictor:
    """Applies a trained model, or several, to scenes of any size.

    Where the processes of a launcher have been joined
    (:func:`geo_mm.inference.executors.join`), they share the work of each
    scene that goes to a folder; all must make the same calls.

    Examples:
        >>> predictor = Predictor('work_dirs/town/iter_300.pth', overlap=0.5)
        >>> predictor.predict('town_3.tif', 'map').counts

    Args:
        checkpoint: File that training or an export to ONNX wrote, or several: an ensemble.
        config: Config that the model was trained with; None takes the one in
            the checkpoint. Not for several checkpoints.
        device: Torch device; None takes the first GPU, else the CPU.
        options: How to predict.
        trust_checkpoint: Let the configs in the checkpoints import and call
            anything, for files of people you trust.
        **changes: Fields of :class:`PredictOptions`, changed in ``options``.

    Raises:
        ConfigError: If the checkpoint does not fit the config, or an option
            makes no sense.
        SpecError: If the checkpoint has no input specification of its model,
            or the models of an ensemble differ in classes, bands or GSD.
        OutputError: If a format is asked for that needs what is not installed.
    """

    def __init__(
        self,
        checkpoint: str | PathLike | Sequence[str | PathLike],
        config: 'Config | None' = None,
        *,
        device: str | None = None,
        options: PredictOptions | None = None,
        trust_checkpoint: bool = False,
        **changes: Any,
    ) -> None:
        options = replace(options or PredictOptions(), **changes)
        self.ensemble = Ensemble.of_files(
            checkpoint, config, device, options, trust_checkpoint=trust_checkpoint
        )
        self.models = self.ensemble.members
        tile = tile_side(options.tile, self.spec.chip_size)
        overlap = executors.current().first(lambda: self.ensemble.task.overlap(tile))
        nodata = self.spec.nodata if options.nodata is None else options.nodata
        settled: dict[str, Any] = {'tile': tile, 'overlap': overlap, 'nodata': nodata}
        self.options = replace(options, **settled)
        self._fingerprint = Fingerprint(self.ensemble, self.options)

    @property
    def spec(self) -> InputSpec:
        """The input specification of the model."""
        return self.ensemble.spec

    @property
    def settings(self) -> str:
        """What results depend on but for the scene, in short."""
        return self._fingerprint.settings

    def changed(self, **changes: Any) -> 'Predictor':
        """The same models with another ``batch_size``, ``readers`` or formats of results."""
        other = copy.copy(self)
        other.options = replace(self.options, **changes)
        other._fingerprint = Fingerprint(self.ensemble, other.options)
        return other

    def predict(
        self,
        scene: Source | SceneToPredict,
        folder: str | PathLike | None = None,
        *,
        restart: bool = False,
        progress: Progress | None = None,
        **part: Any,
    ) -> Prediction:
        """Predicts one scene.

        Without a folder the result is in memory, and nothing is written. With
        one, which may be in an object store, segmentation gives ``<name>.tif``;
        detection, and segmentation with polygons, ``<name>.gpkg`` or other formats. Both give
        ``<name>.png`` to look at and ``<name>.json`` with what was done. The
        files appear together when all are complete, and replace those of an
        earlier prediction of the same scene.

        Finished rows of tiles are kept in ``<folder>/.<name>.unfinished``
        until then. If the run is interrupted, however that happens, the same
        call resumes it, with byte-identical results.

        Args:
            scene: File, or co-registered files, of the scene; or a Scene; or
                an array as :meth:`geo_mm.raster.Scene.from_array` takes it.
            folder: Where to write; made if missing.
            restart: Discard what an interrupted run has finished.
            progress: Called as tiles are done.
            **part: Other fields of :class:`SceneToPredict`: ``name``, ``window``,
                ``aoi``, ``gsd``, ``bands``, and ``transform`` and ``crs`` of an
                array.

        Raises:
            SceneError: If the scene cannot be read, or changes meanwhile.
            SpecError: If it cannot be matched to the input specification.
            LabelError: If the AOI cannot be read, or is elsewhere.
            OutputError: If the results cannot be written, or would replace
                files that are not an earlier prediction of the scene, or
                GeoJSON is asked for of a scene that is not georeferenced, or an
                interrupted run had other settings.
        """
        request = SceneToPredict.of(scene, **part)
        if folder is not None:
            job = executors.current().each(lambda: self.job(request))
            return self.predict_job(job, folder_path(folder), restart, progress)
        with scene_closed():
            job = self.job(request, in_files=False)
            return predict_in_memory(self.ensemble, job, progress)

    def predict_job(
        self,
        job: Job,
        folder: Path,
        restart: bool = False,
        progress: Progress | None = None,
        *,
        again: bool = True,
    ) -> Prediction:
        """Predicts a scene that :meth:`job` has opened, as :meth:`predict` does.

        Unless it is to be done ``again``, a result that is the same, and complete, is returned.
        """
        with scene_closed():
            if executors.current().first(lambda: job.area.changed is not None):
                job = executors.current().each(lambda: self.job(job.request))
            return self.run(job, folder, progress).run(restart, again)

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> FolderRun:
        """The prediction of an opened scene, to be done in steps."""
        return FolderRun(self.ensemble, job, folder, executors.current(), progress)

    def job(self, request: SceneToPredict, *, in_files: bool = True) -> Job:
        """Opens a scene, and makes sure that it can be predicted.

        Args:
            request: What is to be predicted.
            in_files: Whether results will be written.

        Raises:
            GeoMMError: As :meth:`predict`.
        """
        options = self.options
        with _quiet():
            area = request.open(self.spec, options)
        if in_files:
            _check_georeferenced(area, options)
        multiple = max(model.divisor for model in self.models)
        stride = math.lcm(*(model.stride for model in self.models))
        size = area.scene.width, area.scene.height
        tile = tile_side(options.tile, self.spec.chip_size)
        plan = tile_plan(*size, tile, int(options.overlap or 0), multiple, stride)
        self.ensemble.task.check_plan(plan)
        return Job(request, area, plan, self.spec, options, self._fingerprint)


def _check_georeferenced(area: Area, options: PredictOptions) -> None:
    if 'geojson' in options.formats and not area.native.gsd:
        raise OutputError(
            f'{area.native.sources[0]} is not georeferenced, and GeoJSON is in longitude and '
            'latitude',
            'a georeferenced scene',
            'write gpkg, which needs no georeference',
        )


@contextlib.contextmanager
def scene_closed() -> Iterator[None]:
    """Bounds what is kept of a scene's files, and closes them at the end."""
    try:
        with handles.bounded_cache(), _quiet():
            yield
    finally:
        handles.close_all()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of missing georeference: a plain picture is legitimate."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield
