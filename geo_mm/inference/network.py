"""What the engine asks of a trained network, whatever computes it. Nothing here imports torch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene, Window

View = tuple[bool, int]
"""Whether a tile is mirrored left to right, and how many quarter turns it is then given."""


@dataclass(frozen=True)
class TileObjects:
    """Objects that a network reports of a tile.

    Attributes:
        size: ``(height, width)`` of the tile in pixels, as it was seen.
        bboxes: ``(N, 4)`` float32, left, top, right, bottom in pixels of the tile.
        scores: ``(N,)`` float32, their confidences.
        labels: ``(N,)`` int64, their classes.
        masks: ``(N, height, width)`` bool; None of a network that gives none.
    """

    size: tuple[int, int]
    bboxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> 'TileObjects':
        masks = None if self.masks is None else self.masks[index]
        return TileObjects(
            self.size, self.bboxes[index], self.scores[index], self.labels[index], masks
        )

    @classmethod
    def cat(cls, parts: Sequence['TileObjects']) -> 'TileObjects':
        """All objects of several reports of one tile."""
        masks = [part.masks for part in parts if part.masks is not None]
        return cls(
            parts[0].size,
            np.concatenate([part.bboxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate(masks) if masks else None,
        )


class Network(Protocol):
    """A trained network, ready for chips of scenes.

    Attributes:
        checkpoint: Its file.
        config_name: Name of the config that it was trained with.
        spec: Its input specification.
        threshold: Of a binary model for pixels with one output: what the probability of
            the second class must be above. None for others.
        limit: How many objects it reports of one tile at most, if it says so.
        threads: That compute, where results hang on their number; else None.
    """

    checkpoint: str
    config_name: str
    spec: InputSpec

    @property
    def threshold(self) -> float | None: ...

    @property
    def limit(self) -> int | None: ...

    @property
    def threads(self) -> int | None: ...

    @property
    def divisor(self) -> int:
        """What sides of images must be a multiple of."""

    @property
    def stride(self) -> int:
        """The largest step from one cell of a feature map to the next, in pixels.

        Shifted by a multiple of it, an image gives the same result, shifted likewise, away
        from its borders. Shifted by less, its pixels fall into other cells.
        """

    def about(self) -> dict:
        """What records say of it: ``architecture``, ``parameters``, ``masks``."""

    def identity(self) -> dict:
        """What determines its results beside its file: libraries, device, settings."""

    def receptive_radius(self, side: int) -> int:
        """How far around a pixel a model for pixels looks, in pixels, up to half of ``side``."""

    def prepare(self, scene: Scene, window: Window, data: np.ndarray, valid: np.ndarray) -> Any:
        """Makes input of pixels. Safe in threads.

        Args:
            scene: The scene as the model must see it.
            window: Where the pixels are in it.
            data: ``(bands, height, width)``; left as it is.
            valid: ``(height, width)`` bool.
        """

    def predict_view(self, inputs: Sequence[Any], view: View) -> list:
        """Predictions for a view of each of a batch of tiles.

        Args:
            inputs: What :meth:`prepare` gave for each; of one size.
            view: How they are seen.

        Returns:
            Of each, as it is seen: class probabilities ``(classes, height, width)``
            float32, or :class:`TileObjects`.

        Raises:
            MemoryError: Or another of :func:`memory_errors`: if the batch is too large.
        """


def memory_errors() -> tuple[type[BaseException], ...]:
    """What is raised where the memory of a device does not suffice, by the libraries in use."""
    torch = sys.modules.get('torch')
    return (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
