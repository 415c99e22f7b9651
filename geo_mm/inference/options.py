"""What a prediction can be told."""

from dataclasses import dataclass

from geo_mm.errors import ConfigError
from geo_mm.inference.blending import BLENDS
from geo_mm.inference.pixels import PixelOutputs
from geo_mm.inference.tiles import tile_side
from geo_mm.inference.voting import MERGES, VIEWS
from geo_mm.vector.settling import METHODS

GRIDS = ('scene', 'model')


@dataclass(frozen=True)
class PredictOptions:
    """How scenes are predicted, and what is kept.

    Attributes:
        tile: Side of a tile in pixels of the model's GSD; None takes twice the
            chips' size, at least 512.
        overlap: What neighbouring tiles share: pixels, or a share of the tile
            below 1, such as 0.25; None takes a quarter.
        blend: How overlapping tiles are put together, for pixels:
            ``'window'`` fades them into each other, ``'crop'`` takes each
            pixel from the tile whose middle is nearest.
        batch_size: Tiles per forward pass. It is halved while the device has
            not the memory.
        tta: Test-time augmentation, for pixels: ``'none'``, ``'flip'`` (4
            views) or ``'d4'`` (8 views, mirrored and turned).
        merge: How views and models are put together: ``'mean'`` or ``'max'``
            of the probabilities.
        amp: Compute in 16-bit floats where that is safe.
        compiled: Compile the model's backbone with ``torch.compile``.
        score: Least confidence 0..1 of an object.
        suppress: What is done with objects of a class that overlap, after what
            several tiles show of one object is joined: ``'nms'``,
            ``'soft-nms'``, ``'nmm'`` or ``'none'``, as
            :func:`geo_mm.inference.objects.merge_rows` has it.
        iou: Intersection over union from which that is done.
        nodata: Value of pixels without data, for scenes that do not declare
            it; None takes the rule that the model was trained with.
        confidence: Keep the probability of the class that is written.
        probabilities: Keep those of all classes: ``'uint8'``, ``'float32'``, or None.
        grid: Pixels of class rasters: those of the ``'scene'``, or those of
            the ``'model'``, which has its own GSD.
        force: Take scenes whose GSD or data type is not what the model was
            trained with.

    Raises:
        ConfigError: If a value makes no sense.
    """

    tile: int | None = None
    overlap: float | None = None
    blend: str = 'window'
    batch_size: int = 2
    tta: str = 'none'
    merge: str = 'mean'
    amp: bool = False
    compiled: bool = False
    score: float = 0.3
    suppress: str = 'nms'
    iou: float = 0.5
    nodata: float | None = None
    confidence: bool = False
    probabilities: str | None = None
    grid: str = 'scene'
    force: bool = False

    def __post_init__(self) -> None:
        choices = {
            'blend': BLENDS,
            'tta': VIEWS,
            'merge': MERGES,
            'probabilities': (None, 'uint8', 'float32'),
            'grid': GRIDS,
            'suppress': METHODS,
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f'{name} {value!r}', f'one of {", ".join(map(str, allowed))}')
        if self.batch_size < 1:
            raise ConfigError(f'batches of {self.batch_size} tiles', 'at least one tile')
        if not 0 <= self.score <= 1:
            raise ConfigError(f'a least score of {self.score}', 'a number from 0 to 1')
        if not 0 < self.iou <= 1:
            raise ConfigError(f'an IoU of {self.iou}', 'a number above 0, up to 1')

    @property
    def outputs(self) -> PixelOutputs:
        return PixelOutputs(self.confidence, self.probabilities)

    def tiling(self, chip_size: tuple[int, int]) -> tuple[int, int]:
        """Side of the tiles and what they share, in pixels.

        Args:
            chip_size: ``(height, width)`` of the chips that the model learned from.

        Raises:
            ConfigError: If the overlap is not smaller than the tile.
        """
        tile = tile_side(self.tile, chip_size)
        share = 0.25 if self.overlap is None else self.overlap
        overlap = round(share * tile) if 0 < share < 1 else int(share)
        if not 0 <= overlap < tile or share < 0:
            raise ConfigError(
                f'tiles of {tile} pixels with an overlap of {self.overlap}',
                'an overlap smaller than the tile',
            )
        return tile, overlap
