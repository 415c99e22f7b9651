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


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of the fewest tiles that cover ``length``, evenly spread.

    Examples:
        For length 10, tile 4 and overlap 1 the starts are 0, 3 and 6: the
        tiles 0-4, 3-7 and 6-10 share one pixel each. Length 11 takes four
        tiles, at 0, 2, 4 and 7.

    Args:
        length: Pixels to cover.
        tile: Pixels of a tile.
        overlap: Pixels that neighbouring tiles share at least.

    Returns:
        Ascending; the first is 0 and the last ``length - tile``, or just 0
        where a single tile is enough.

    Raises:
        ValueError: If length or tile is not positive or the overlap is not in ``[0, tile)``.
    """
    if length < 1 or tile < 1:
        raise ValueError(f'length and tile must be positive, got {length} and {tile}')
    if not 0 <= overlap < tile:
        raise ValueError(f'the overlap must be in [0, {tile}), got {overlap}')
    if length <= tile:
        return [0]
    span = length - tile
    steps = -(-span // (tile - overlap))
    # Rounding down: neighbours are at most ceil(span / steps) <= tile - overlap apart.
    return [i * span // steps for i in range(steps + 1)]


def rounded_up(length: int, multiple: int) -> int:
    """The smallest multiple that is not less."""
    return -(-length // multiple) * multiple


def tile_plan(
    width: int, height: int, tile: int, overlap: int, multiple: int | None = None
) -> list[Tile]:
    """Cover a scene with equal tiles, row by row.

    Where neighbours overlap, the border between their cores is the middle of
    the overlap. Windows hang over the edge only where the scene is smaller
    than the tile.

    Args:
        width: Columns of the scene.
        height: Rows of the scene.
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        multiple: Of a scene that is smaller, tiles have the size, rounded up
            to a multiple of this. None keeps all tiles square.

    Raises:
        ValueError: As for :func:`tile_starts`.
    """
    tile_width, tile_height = (
        tile if multiple is None else min(tile, rounded_up(length, multiple))
        for length in (width, height)
    )
    # A tile that alone covers the scene shares nothing.
    cols = _spans(width, tile_width, min(overlap, tile_width - 1))
    rows = _spans(height, tile_height, min(overlap, tile_height - 1))
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


def _spans(length: int, tile: int, overlap: int) -> list[tuple[int, int, int]]:
    """``(start, core start, core end)`` of each tile along one axis."""
    starts = tile_starts(length, tile, overlap)
    middles = [(left + tile + right) // 2 for left, right in itertools.pairwise(starts)]
    return list(zip(starts, [0, *middles], [*middles, length], strict=True))
