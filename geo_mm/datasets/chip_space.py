"""Chip space: every chip that could be cut from a list of scenes, as one integer.

MMEngine's samplers, loaders and dataset wrappers pass plain integers around,
so a chip's address is one. With a stride of 1 the space holds every position
a chip can take; with a stride of the chip's size it is a grid that covers each
scene once.
"""

import bisect
import math
from collections.abc import Sequence
from itertools import accumulate

from geo_mm.raster import Window


class ChipSpace:
    """The one-to-one map between integers and windows of scenes.

    Along one axis of ``length`` pixels chips start at ``0, stride, 2 * stride,
    ...`` until the last pixel is covered. The last chip hangs over the edge by
    less than a stride; with a stride of 1 it never does, unless the scene is
    smaller than the chip. With a stride larger than the chip, pixels between
    chips are left out.

    Args:
        sizes: ``(width, height)`` of each scene, in pixels.
        chip_size: ``(height, width)`` of a chip, in pixels.
        stride: Step between neighbouring chips, in pixels.
        variants: Chips at each position: numbers of variants follow one another, and
            in each the positions do.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        chip_size: tuple[int, int],
        stride: int = 1,
        variants: int = 1,
    ) -> None:
        self.chip_height, self.chip_width = chip_size
        self.stride = stride
        self.variants = variants
        self.shapes = [
            (_steps(height, self.chip_height, stride), _steps(width, self.chip_width, stride))
            for width, height in sizes
        ]
        self._ends = list(accumulate(rows * cols for rows, cols in self.shapes))

    def __len__(self) -> int:
        return self.positions * self.variants

    @property
    def positions(self) -> int:
        """Number of positions, those of all scenes."""
        return self._ends[-1] if self._ends else 0

    def variant(self, index: int) -> int:
        """Which of the chips at its position chip ``index`` is."""
        return index // self.positions

    def locate(self, index: int) -> tuple[int, Window]:
        """The scene's number and the window of chip ``index``.

        Raises:
            IndexError: If there is no such chip.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'chip {index} of a space of {len(self)} chips')
        index %= self.positions
        scene = bisect.bisect_right(self._ends, index)
        row, col = divmod(index - self._start(scene), self.shapes[scene][1])
        return scene, Window(
            col * self.stride, row * self.stride, self.chip_width, self.chip_height
        )

    def index(self, scene: int, col_off: float, row_off: float) -> int:
        """The chip of ``scene`` that starts nearest to a pixel position."""
        rows, cols = self.shapes[scene]
        row = min(max(round(row_off / self.stride), 0), rows - 1)
        col = min(max(round(col_off / self.stride), 0), cols - 1)
        return self.at(scene, row, col)

    def at(self, scene: int, row: int, col: int) -> int:
        """The chip in one row and column of the chips of ``scene``."""
        return self._start(scene) + row * self.shapes[scene][1] + col

    def _start(self, scene: int) -> int:
        return self._ends[scene - 1] if scene else 0


def _steps(length: int, chip: int, stride: int) -> int:
    """How many chips along an axis: enough to cover it, none beyond it, at least one."""
    return math.ceil(max(length - max(chip, stride), 0) / stride) + 1
