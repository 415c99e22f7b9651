"""From a scene to results on the map."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from mmengine.config import Config
from rasterio.errors import NotGeoreferencedWarning

from geo_mm.errors import ConfigError, GeoMMError, OutputError
from geo_mm.formats.provenance import Provenance
from geo_mm.inference.facts import (
    check_unchanged,
    file_sha256,
    how_called,
    provenance,
    run_facts,
    run_notes,
    stamped,
    what_rows_hold,
)
from geo_mm.inference.journal import Journal
from geo_mm.inference.limits import most_objects
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.object_voting import ObjectVoters
from geo_mm.inference.objects import ObjectRows, check_overlap, warn_of_full_tiles
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.outputs import check_place, write_object_results, write_pixel_results
from geo_mm.inference.pixels import PixelRows
from geo_mm.inference.ranks import Ranks
from geo_mm.inference.results import Result, check_replaced, loaded, reported, written_together
from geo_mm.inference.rows import RowRun, RowWork
from geo_mm.inference.sources import Area, open_area, scene_of_array
from geo_mm.inference.tiles import tile_side
from geo_mm.inference.voting import PixelVoters
from geo_mm.inputspec import InputSpec
from geo_mm.paths import file_name
from geo_mm.raster import Grid, Scene, Tile, handles, tile_plan

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of tiles done since the last call, and of all that
this process has to do."""

Source = str | PathLike | Sequence[str | PathLike] | Scene | np.ndarray | Any


class Predictor:
    """Applies a trained model, or several, to scenes of any size.

    Where the processes of a launcher have been joined
    (:func:`geo_mm.inference.ranks.join`), they share the work of each scene;
    all must make the same calls.

    Example:
        >>> predictor = Predictor('work_dirs/town/iter_300.pth', overlap=0.5)
        >>> predictor.predict('town_3.tif', 'map').counts

    Args:
        checkpoint: ``.pth`` file that tools/train.py wrote, or several, which
            are asked together.
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
        SpecError: If the checkpoint does not say what its model must be fed,
            or the models do not go together.
        OutputError: If a format is asked for that needs what is not installed.
    """

    def __init__(
        self,
        checkpoint: str | PathLike | Sequence[str | PathLike],
        config: Config | None = None,
        *,
        device: str | None = None,
        options: PredictOptions | None = None,
        trust_checkpoint: bool = False,
        **changes: Any,
    ) -> None:
        options = replace(options or PredictOptions(), **changes)
        paths = [checkpoint] if isinstance(checkpoint, str | PathLike) else list(checkpoint)
        if config is not None and len(paths) > 1:
            raise ConfigError(
                f'one config for {len(paths)} checkpoints',
                'none: each checkpoint holds the config of its model',
            )
        self.models = [
            TrainedModel(
                path,
                config,
                device,
                tile=options.tile,
                amp=options.amp,
                compiled=options.compiled,
                trust_checkpoint=trust_checkpoint,
            )
            for path in paths
        ]
        spec = self.models[0].spec
        options.check_model(spec, str(self.models[0].checkpoint))
        tile, radius = tile_side(options.tile, spec.chip_size), None
        if spec.task == 'pixels':
            self._model = PixelVoters(self.models, options.tta, options.merge)
            radius = partial(self._model.radius, tile)
        else:
            self._model = ObjectVoters(self.models, options.tta, options.merge)
        overlap = Ranks.current().first(lambda: options.shared(tile, radius))
        nodata = spec.nodata if options.nodata is None else options.nodata
        self.options = replace(options, tile=tile, overlap=overlap, nodata=nodata)
        self._hashes = [file_sha256(model.checkpoint) for model in self.models]

    @property
    def spec(self) -> InputSpec:
        """What the model must be fed."""
        return self.models[0].spec

    def predict(
        self,
        scene: Source,
        folder: str | PathLike | None = None,
        *,
        name: str | None = None,
        window: tuple[float, float, float, float] | None = None,
        aoi: str | PathLike | None = None,
        transform: Affine | None = None,
        crs: Any = None,
        bands: Sequence[str] | None = None,
        restart: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Predicts one scene.

        Pixel models give ``<name>.tif``; object models, and pixel models that
        are asked for polygons, ``<name>.gpkg`` or other formats. Both give
        ``<name>.png`` to look at and ``<name>.json`` with what was done. The
        files appear together when all are complete, and replace those of an
        earlier prediction of the same scene.

        Finished rows of tiles are kept in ``<folder>/.<name>.unfinished``
        until then. If the run is interrupted, however that happens, the same
        call goes on there and gives the same bytes.

        Args:
            scene: File, or co-registered files, of the scene; or a Scene; or
                an array as :func:`geo_mm.inference.sources.scene_of_array`
                takes it.
            folder: Where to write; made if missing. None gives the result in
                memory.
            name: Name of the results; that of the scene by default.
            window: ``(x_min, y_min, x_max, y_max)`` in units of the scene's
                CRS: only this part is predicted.
            aoi: Vector file with polygons: only what lies inside is predicted.
            transform: Pixel to map coordinates of an array.
            crs: CRS of an array.
            bands: Names of the bands of an array.
            restart: Forget what an interrupted run has finished.
            progress: Called as tiles are done.

        Raises:
            SceneError: If the scene cannot be read.
            SpecError: If it cannot be made into what the model must be fed.
            LabelError: If the AOI cannot be read, or lies elsewhere.
            OutputError: If the results cannot be written, or would replace
                files that are not an earlier prediction of the scene, or
                GeoJSON is asked for without a place on Earth, or an
                interrupted run had other settings.
        """
        with contextlib.ExitStack() as stack:
            # Else a long list of scenes meets the system's limit of open files.
            stack.callback(handles.close_all)
            # A picture that lies nowhere on Earth is legitimate.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            if hasattr(scene, 'ndim'):
                scene = stack.enter_context(
                    scene_of_array(
                        scene,
                        transform=transform,
                        crs=crs,
                        bands=bands,
                        nodata=self.options.nodata,
                    )
                )
            how = (name, window, aoi, restart, progress)
            if folder is not None:
                return self._predict(scene, Path(folder), self.options, *how)
            there = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            options = replace(self.options, formats=('gpkg',), stac=False)
            return loaded(self._predict(scene, there, options, *how))

    def _predict(
        self,
        source: Source,
        folder: Path,
        options: PredictOptions,
        name: str | None,
        window: tuple[float, float, float, float] | None,
        aoi: str | PathLike | None,
        restart: bool,
        progress: Progress | None,
    ) -> Result:
        ranks = Ranks.current()
        area = ranks.each(
            lambda: open_area(
                source,
                self.spec,
                nodata=options.nodata,
                window=window,
                aoi=aoi,
                force=options.force,
            )
        )
        name = file_name(name or area.native.name)
        check_place(area, options)
        plan = tile_plan(area.scene.width, area.scene.height, options.tile, int(options.overlap))
        facts = run_facts(
            self.models,
            self._hashes,
            options,
            area,
            window=window,
            aoi=None if aoi is None else stamped(aoi),
        )
        if self.spec.task == 'objects':
            check_overlap(plan)
        journal = Journal(folder / f'.{name}.unfinished')

        def begin() -> tuple[dict, list[int]]:
            with reported(folder):
                check_replaced(folder, name, area.native)
                journal.open(what_rows_hold(facts), run_notes(), restart=restart)
                # The files are those that the last command asks for.
                journal.note(**how_called())
            finished = journal.finished()
            rows = {tile.row for tile in plan}
            if finished:
                logger.info(
                    '%s: going on, %d of %d rows of tiles are done', name, len(finished), len(rows)
                )
            missing = rows - finished
            return journal.notes, sorted(missing)

        try:
            notes, missing = ranks.first(begin)
            ranks.each(
                lambda: self._compute(area, plan, journal, ranks.share(missing), notes, progress)
            )

            def assemble() -> Result:
                check_unchanged(facts)
                record = provenance(self.models, self._hashes, facts, notes, area)
                return self._assemble(journal, area, plan, folder, name, options, record)

            return ranks.first(assemble)
        finally:
            if ranks.rank == 0:
                journal.close()

    def _compute(
        self,
        area: Area,
        plan: list[Tile],
        journal: Journal,
        rows: Sequence[int],
        notes: dict,
        progress: Progress | None,
    ) -> None:
        """Computes rows that a journal lacks."""
        run = RowRun(
            self._model,
            self._work(area, plan),
            area.scene,
            plan,
            journal,
            batch_size=notes.get('batch_size', self.options.batch_size),
            aoi=area.aoi,
            progress=progress,
        )
        try:
            run.run(rows)
        except GeoMMError:
            journal.report_failure()
            raise

    def _work(self, area: Area, plan: list[Tile]) -> RowWork:
        if self.spec.task == 'objects':
            model = self.models[0]
            return ObjectRows(area.scene, self.options.score, most_objects(model.config))
        return PixelRows(
            plan,
            area.scene.grid,
            self._grid(area),
            len(self.spec.classes),
            decision=self._model.decision,
            blend=self.options.blend,
            outputs=self.options.outputs,
        )

    def _assemble(
        self,
        journal: Journal,
        area: Area,
        plan: list[Tile],
        folder: Path,
        name: str,
        options: PredictOptions,
        record: Provenance,
    ) -> Result:
        """Makes the files of a complete journal, which is then forgotten."""
        rows = sorted({tile.row for tile in plan})
        if missing := set(rows) - journal.finished():
            raise OutputError(
                f'{journal.folder} lacks {len(missing)} rows that other processes computed',
                'a folder that all machines see',
                'choose one with -o',
            )
        with written_together(folder, journal.folder / 'results', name) as workplace:
            stored = (journal.read(row) for row in rows)
            if self.spec.task == 'pixels':
                files, counts = write_pixel_results(
                    stored,
                    area,
                    self._grid(area),
                    workplace,
                    name,
                    self.spec,
                    options,
                    record,
                )
            else:
                found = list(stored)
                warn_of_full_tiles(found, area.scene, most_objects(self.models[0].config))
                files, counts = write_object_results(
                    found, area, workplace, name, self.spec, options, record
                )
        journal.remove()
        return Result(tuple(folder / file for file in files), counts)

    def _grid(self, area: Area) -> Grid:
        """Grid of class rasters."""
        return (area.native if self.options.grid == 'scene' else area.scene).grid
