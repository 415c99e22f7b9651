"""Class probabilities of tiles: of one model or several, as seen or also mirrored and turned."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference.model import TrainedModel
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.models.receptive_field import receptive_radius
from geo_mm.raster import Scene, Tile

VIEWS: dict[str, tuple[tuple[bool, int], ...]] = {
    'none': ((False, 0),),
    'flip': ((False, 0), (True, 0), (True, 2), (False, 2)),
    'd4': tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}
"""Test-time augmentation: whether a tile is mirrored left to right, and then
how many quarter turns it is given. ``'flip'`` is as seen, mirrored along
either axis and along both."""

MERGES = ('mean', 'max')


class Voters:
    """Models that are asked together, each in one or several views of a tile.

    Args:
        members: One or more models of the same classes, bands and GSD.
        tta: Key of :data:`VIEWS`.
        merge: One of :data:`MERGES`.

    Raises:
        SpecError: If the models do not go together.
    """

    def __init__(
        self, members: Sequence[TrainedModel], tta: str = 'none', merge: str = 'mean'
    ) -> None:
        check_alike(members)
        self.members = tuple(members)
        self.views = VIEWS[tta]
        self.merge = merge

    @property
    def spec(self) -> InputSpec:
        return self.members[0].spec

    def load(
        self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None
    ) -> tuple[list[dict], np.ndarray]:
        """Inputs of a tile for each model, as :meth:`TrainedModel.load`; none if it is empty."""
        loaded = [member.load(scene, tile, aoi) for member in self.members]
        valid = loaded[0][1]
        return [inputs for inputs, _ in loaded] if loaded[0][0] else [], valid


class PixelVoters(Voters):
    """Models for pixels; ``merge`` is of the class probabilities.

    ``'mean'``, or the ``'max'`` of each class, scaled to add up to 1.
    """

    @property
    def decision(self) -> np.ndarray | None:
        """What class probabilities are weighed with before the largest is taken; None for 1.

        A binary model with one output channel means its second class above a
        threshold that need not be 0.5.
        """
        thresholds = [_threshold(member) for member in self.members]
        if all(value is None for value in thresholds):
            return None
        mean = float(np.mean([0.5 if value is None else value for value in thresholds]))
        return np.array([mean, 1 - mean], np.float32)

    def radius(self, tile: int) -> int:
        """How far around a pixel the models look, up to a quarter of the tile, in pixels."""
        # No network divides its input more often than 6 times.
        side = max(64, tile // 2 // 64 * 64)
        bands = len(self.spec.bands)
        return max(
            receptive_radius(member.model, bands, side)
            if member.spec.receptive_radius is None  # of an older checkpoint
            else min(member.spec.receptive_radius, side // 2)
            for member in self.members
        )

    def predict(self, inputs: Sequence[list[dict]]) -> list[np.ndarray]:
        """Probabilities ``(classes, tile, tile)`` float32 for a batch of :meth:`load`'s inputs."""
        total: list[np.ndarray] | None = None
        for number, member in enumerate(self.members):
            items = [item[number] for item in inputs]
            for view in self.views:
                found = _seen(member, items, view)
                self._check(member, found[0])
                if total is None:
                    total = found
                elif self.merge == 'mean':
                    total = [a + b for a, b in zip(total, found, strict=True)]
                else:
                    total = [np.maximum(a, b) for a, b in zip(total, found, strict=True)]
        if len(self.members) * len(self.views) > 1:
            total = [values / values.sum(axis=0) for values in total]
        return total

    def _check(self, member: TrainedModel, found: np.ndarray) -> None:
        classes = self.spec.classes
        if len(found) != len(classes):
            raise ConfigError(
                f'{member.checkpoint}: the model gives {len(found)} classes',
                f'{len(classes)}: {", ".join(classes.names)}',
                'set num_classes of the decode_head likewise and train again',
            )


def probabilities(prediction: BaseDataElement) -> np.ndarray:
    """Class probabilities ``(classes, h, w)`` float32 of a SegDataSample.

    A model with one output channel is binary: it gives the probability of the
    second class.
    """
    logits = prediction.seg_logits.data.float()
    if len(logits) == 1:
        # MMSegmentation has applied the sigmoid already, though not for more classes.
        second = logits.cpu().numpy()
        return np.concatenate([1 - second, second])
    return logits.softmax(dim=0).cpu().numpy()


def check_alike(members: Sequence[TrainedModel]) -> None:
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


def _seen(member: TrainedModel, items: Sequence[dict], view: tuple[bool, int]) -> list[np.ndarray]:
    """Probabilities that a model gives for tiles in a view, turned back."""
    predicted = member.predict([turned(item, view) for item in items])
    return [_turned_back(probabilities(prediction), *view) for prediction in predicted]


def turned(item: dict, view: tuple[bool, int]) -> dict:
    """Model input, seen as an element of :data:`VIEWS` says."""
    mirrored, turns = view
    image = item['inputs'].flip(-1) if mirrored else item['inputs']
    return {**item, 'inputs': torch.rot90(image, turns, (-2, -1))}


def _turned_back(values: np.ndarray, mirrored: bool, turns: int) -> np.ndarray:
    values = np.rot90(values, -turns, (-2, -1))
    return values[..., ::-1] if mirrored else values


def _threshold(member: TrainedModel) -> float | None:
    head = getattr(member.model, 'decode_head', None)
    return getattr(head, 'threshold', None) if getattr(head, 'out_channels', 0) == 1 else None


def _shown(value: object) -> str:
    return ', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
