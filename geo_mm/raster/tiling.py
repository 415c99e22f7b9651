"""Arithmetic of overlapping tiles."""

import itertools
from dataclasses import dataclass

from geo_mm.raster.grid import Window


@dataclass(frozen=True)
class Tile:
    """One of the tiles that cover a scene.

    Attributes:
        row: Row in the plan, from 0.
        col: Column in the plan, from 0.
        window: What to read, of the same size in the whole plan.
        core: The part this tile is responsible for. The cores of a plan cover
            every pixel of the scene exactly once.
    """

    row: int
    col: int
    window: Window
    core: Window


def tile_starts(length: int, tile: int, overlap: int, stride: int = 1) -> list[int]:
    """Starts of the fewest tiles that cover ``length``, evenly spread.

    Examples:
        For length 10, tile 4 and overlap 1 the starts are 0, 3 and 6: the
        tiles 0-4, 3-7 and 6-10 share one pixel each. Length 11 takes four
        tiles, at 0, 2, 4 and 7; with a stride of 2 at 0, 2, 4, 6 and 8, the
        last of which hangs over by one pixel.

    Args:
        length: Pixels to cover.
        tile: Pixels of a tile.
        overlap: Pixels that neighbouring tiles share at least.
        stride: What starts are multiples of. It is halved until tiles that are
            so far apart share ``overlap``.

    Returns:
        Ascending; the first is 0 and the last ``length - tile``, rounded up to a
        multiple of the stride, or just 0 where a single tile is enough.

    Raises:
        ValueError: If length or tile is not positive or the overlap is not in ``[0, tile)``.
    """
    if length < 1 or tile < 1:
        raise ValueError(f'length and tile must be positive, got {length} and {tile}')
    if not 0 <= overlap < tile:
        raise ValueError(f'the overlap must be in [0, {tile}), got {overlap}')
    if length <= tile:
        return [0]
    while stride > tile - overlap:
        stride //= 2
    span = -(-(length - tile) // stride)  # in strides, as all that follows
    steps = -(-span // ((tile - overlap) // stride))
    # Rounding down: neighbours are at most ceil(span / steps) apart, no more than they may be.
    return [i * span // steps * stride for i in range(steps + 1)]


def rounded_up(length: int, multiple: int) -> int:
    """The smallest multiple that is not less."""
    return -(-length // multiple) * multiple


def tile_plan(
    width: int,
    height: int,
    tile: int,
    overlap: int,
    multiple: int | None = None,
    stride: int = 1,
) -> list[Tile]:
    """Cover a scene with equal tiles, row by row.

    Where neighbours overlap, the border between their cores is the middle of
    the overlap. Windows hang over the edge by less than a stride, or where the
    scene is smaller than the tile.

    Args:
        width: Columns of the scene.
        height: Rows of the scene.
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        multiple: Of a scene that is smaller, tiles have the size, rounded up
            to a multiple of this. None keeps all tiles square.
        stride: What tiles begin at multiples of, see :func:`tile_starts`.

    Raises:
        ValueError: As for :func:`tile_starts`.
    """
    tile_width, tile_height = (
        tile if multiple is None else min(tile, rounded_up(length, multiple))
        for length in (width, height)
    )
    # A tile that alone covers the scene shares nothing.
    cols = _spans(width, tile_width, min(overlap, tile_width - 1), stride)
    rows = _spans(height, tile_height, min(overlap, tile_height - 1), stride)
    return [
        Tile(
            row=row,
            col=col,
            window=Window(x, y, tile_width, tile_height),
            core=Window(left, top, right - left, bottom - top),
        )
        for row, (y, top, bottom) in enumerate(rows)
        for col, (x, left, right) in enumerate(cols)
    ]


def _spans(length: int, tile: int, overlap: int, stride: int) -> list[tuple[int, int, int]]:
    """``(start, core start, core end)`` of each tile along one axis."""
    starts = tile_starts(length, tile, overlap, stride)
    middles = [(left + tile + right) // 2 for left, right in itertools.pairwise(starts)]
    return list(zip(starts, [0, *middles], [*middles, length], strict=True))
