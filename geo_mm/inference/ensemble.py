"""Models that predict together, each in one or several views of a tile."""

import os
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from geo_mm.catalog import LabelledScene
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference.arcgis_package import PACKAGES, read_arcgis_model
from geo_mm.inference.network import Network
from geo_mm.inference.options import NETWORKS, PredictOptions
from geo_mm.inference.tasks import Task, task_of
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Tile

if TYPE_CHECKING:
    from mmengine.config import Config

VIEWS: dict[str, tuple[tuple[bool, int], ...]] = {
    'none': ((False, 0),),
    'flip': ((False, 0), (True, 0), (True, 2), (False, 2)),
    'd4': tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}
"""Test-time augmentation: whether a tile is mirrored left to right, and then
how many quarter turns it is given. ``'flip'`` is as seen, mirrored along
either axis and along both."""


class Ensemble:
    """One model or several, each with test-time augmentation.

    What the predictions of a tile have in common is for the task to say.

    Args:
        members: One or more models of the same task, classes, bands and GSD.
        options: How to predict.

    Raises:
        SpecError: If the models do not go together.
        ConfigError: If an option is not for models of this task.
    """

    def __init__(self, members: Sequence[Network], options: PredictOptions) -> None:
        check_alike(members)
        self.members = tuple(members)
        self.views = VIEWS[options.tta]
        self.task: Task = task_of(self.spec)(members, options)

    @classmethod
    def of_files(
        cls,
        checkpoints: str | PathLike | Sequence[str | PathLike],
        config: 'Config | None',
        device: str | None,
        options: PredictOptions,
        trust_checkpoint: bool = False,
    ) -> 'Ensemble':
        """Loads the models of checkpoints.

        Args:
            checkpoints: One file that training or an export to ONNX wrote, or of a model of
                others for ArcGIS, or several.
            config: For one checkpoint: what replaces the config in it.
            device: As for :class:`TrainedModel`; ``options.provider`` is for ONNX files.
            options: How to predict.
            trust_checkpoint: As for :class:`TrainedModel`.

        Raises:
            ConfigError: As for :class:`TrainedModel`, or if there is one config
                for several checkpoints.
            SpecError: As for the class.
        """
        paths = [checkpoints] if isinstance(checkpoints, str | PathLike) else list(checkpoints)
        if config is not None and len(paths) > 1:
            raise ConfigError(
                f'one config for {len(paths)} checkpoints',
                'none: each checkpoint holds the config of its model',
            )
        members: list[Network] = []
        for path in (os.fspath(each) for each in paths):
            if _has_network(path):
                members.append(_onnx_network(path, config, device, options))
            else:
                from geo_mm.inference.model import TrainedModel  # which imports torch

                how: dict[str, Any] = dict(tile=options.tile, trust_checkpoint=trust_checkpoint)
                how |= dict(amp=options.amp, compiled=options.compiled)
                members.append(TrainedModel(path, config, device, **how))
        return cls(members, options)

    @property
    def spec(self) -> InputSpec:
        return self.members[0].spec

    @property
    def on_cpu(self) -> bool:
        """Whether a model computes on the cores of the processor."""
        return any(member.threads is not None for member in self.members)

    def load(
        self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None
    ) -> tuple[list[dict], np.ndarray]:
        """Reads a tile once, and prepares it for each model. Safe in threads.

        Args:
            scene: The scene as the model must see it.
            tile: What to read.
            aoi: Polygons in the grid of the scene; pixels outside are invalid.

        Returns:
            Input of each model, none if nothing is valid, and the valid mask of the tile.
        """
        shape = tile.window.height, tile.window.width
        if aoi is not None and not len(aoi.query(tile.window)):
            return [], np.zeros(shape, bool)
        data, valid = LabelledScene(scene, aoi=aoi).read(tile.window)
        if not valid.any():
            return [], valid
        return [member.prepare(scene, tile.window, data, valid) for member in self.members], valid

    def predict(self, inputs: Sequence[list[dict]]) -> list[Any]:
        """What the task makes of the predictions for a batch of :meth:`load`'s inputs."""
        total: list[Any] = []
        for number, member in enumerate(self.members):
            for view in self.views:
                seen = member.predict_view([item[number] for item in inputs], view)
                found = [self.task.read(member, each, view) for each in seen]
                if total:
                    found = [self.task.combine(*both) for both in zip(total, found, strict=True)]
                total = found
        voters = len(self.members) * len(self.views)
        return [self.task.fuse(everything, voters) for everything in total]


def _has_network(path: str) -> bool:
    """Whether onnxruntime computes it: ONNX files, and packages with one that were made here."""
    return path.endswith(NETWORKS) and (
        not path.endswith(PACKAGES) or read_arcgis_model(path).is_own
    )


def _onnx_network(
    path: str, config: 'Config | None', device: str | None, options: PredictOptions
) -> Network:
    from geo_mm.inference.onnx_network import OnnxNetwork

    given = [name for name in ('amp', 'compiled') if getattr(options, name)]
    given += [name for name, value in (('config', config), ('device', device)) if value is not None]
    if given:
        raise ConfigError(
            f'{", ".join(given)} for {path}',
            'a checkpoint: the ONNX file holds all that is computed',
            'leave it out; --provider says on which device',
        )
    return OnnxNetwork(path, options.provider)


def check_alike(members: Sequence[Network]) -> None:
    """Raises SpecError if the models are not of the same task, classes, bands and GSD."""
    first = members[0]
    for other in members[1:]:
        for key in ('task', 'classes', 'bands', 'gsd', 'nodata'):
            one, two = _trait(first.spec, key), _trait(other.spec, key)
            if one != two:
                raise SpecError(
                    f'{other.checkpoint} was trained with {key} {_shown(two)}, '
                    f'{first.checkpoint} with {_shown(one)}',
                    'models of the same task, classes, bands, GSD and nodata rule',
                    'predict with each on its own',
                )


def _trait(spec: InputSpec, key: str) -> object:
    # Colours may differ, and are the first model's.
    return spec.classes.names if key == 'classes' else getattr(spec, key)


def _shown(value: object) -> str:
    return ', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
