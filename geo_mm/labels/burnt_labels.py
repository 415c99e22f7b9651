"""Vector labels seen as classes of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo_mm.labels.label_raster import IGNORED
from geo_mm.labels.scene_labels import SceneLabels
from geo_mm.raster import Window


@dataclass(frozen=True)
class BurntLabels:
    """Features burnt into pixels; later classes lie on top of earlier ones.

    Has the methods of :class:`geo_mm.catalog.LabelRaster`.

    Attributes:
        labels: Features in the scene's pixel grid.
        background: Class index of pixels without a feature.
        values: Class index of each class that a feature can have.
    """

    labels: SceneLabels
    background: int
    values: tuple[int, ...]

    @classmethod
    def of(
        cls, labels: SceneLabels, classes: Sequence[str], background: str | None
    ) -> 'BurntLabels':
        """Features whose labels count all ``classes`` but the background."""
        values = tuple(i for i, name in enumerate(classes) if name != background)
        index = IGNORED if background is None else list(classes).index(background)
        return cls(labels, index, values)

    def rasterise(self, window: Window) -> np.ndarray:
        """Class indices ``(h, w)`` uint8 under ``window``; 255 where ignored."""
        return self.labels.rasterise(window, background=self.background, values=self.values)

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """A point in each feature, pixels ``(N, 2)`` as (x, y), and its class index."""
        points, labels = self.labels.centres(), self.labels.labels
        classes = np.where(labels >= 0, np.array(self.values)[np.maximum(labels, 0)], -1)
        return points, classes

    def __deepcopy__(self, memo: dict) -> 'BurntLabels':
        return self
