"""Options of a split; the command line makes its own from them."""

import math
from dataclasses import dataclass
from typing import Literal

from geo_mm.errors import CatalogError
from geo_mm.options import option

# `geo-mm split --help` waits for what is imported here: no numpy.

SPLITS = ('train', 'val', 'test')

By = Literal['block', 'scene', 'cluster', 'aoi', 'column', 'date']


@dataclass(frozen=True)
class SplitOptions:
    """How a catalog is split.

    What each field means stands in its help text, which ``geo-mm split --help`` prints.
    """

    by: By = option(
        'block',
        'what goes to a split as a whole: a block of ground, a scene (with those that '
        'overlap it by a quarter or are of its group), a cluster of scenes, a polygon of '
        '--aoi, the scenes with one value in --column, or of one date',
    )
    fractions: tuple[float, ...] = option(
        (0.7, 0.15, 0.15), 'shares of the ground for train, val and test', metavar='SHARE'
    )
    folds: int | None = option(
        None, 'make this many equal splits fold_1, fold_2, ... for cross-validation'
    )
    block_size: float | None = option(
        None,
        'side of a block in metres; by default three buffers, or more if that '
        'gives more than 100 blocks',
        metavar='METRES',
    )
    buffer: float | None = option(
        None,
        'least distance in metres between splits; by default the diagonal of a chip',
        metavar='METRES',
    )
    chip_size: int = option(256, 'side of a chip, for the buffer', metavar='PIXELS')
    gsd: float | None = option(
        None,
        "metres per pixel that chips are read at; by default the scenes' own",
        metavar='METRES',
    )
    seed: int = option(0, 'same seed, same split')
    aoi: str | None = option(None, 'layer of polygons, for --by aoi', metavar='FILE')
    column: str | None = option(
        None,
        'column of the catalog, for --by column; of the layer of polygons, for '
        '--by aoi: the name of the split that each belongs to',
    )
    clusters: int = option(10, 'number of clusters, for --by cluster')
    stratify: bool = option(False, 'give each split its share of every class')
    class_column: str | None = option(None, 'column of label layers with the class, for --stratify')
    allow_overlap: bool = option(
        False,
        'leave no buffer, and divide also scenes of the same ground: the splits may '
        'leak into one another',
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The splits."""
        if self.folds is not None:
            return tuple(f'fold_{number + 1}' for number in range(self.folds))
        return SPLITS[: len(self.fractions)]

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each split, 0..1."""
        given = self.fractions if self.folds is None else (1.0,) * self.folds
        return tuple(share / sum(given) for share in given)

    def check(self) -> None:
        """Raises CatalogError if the options make no sense."""
        if self.folds is not None and self.folds < 2:
            raise CatalogError(f'{self.folds} folds', 'at least 2')
        if not 2 <= len(self.fractions) <= 3 or min(self.fractions) <= 0:
            raise CatalogError(
                f'fractions {" ".join(map(str, self.fractions))}',
                'two or three positive numbers: for train and val, or train, val and test',
            )
        for name in ('block_size', 'chip_size', 'gsd', 'clusters'):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise CatalogError(f'{name} {value}', 'a positive number')
        if self.buffer is not None and not 0 <= self.buffer < math.inf:
            raise CatalogError(f'buffer {self.buffer}', 'metres, 0 or more')
        for by, key in (('aoi', 'aoi'), ('column', 'column')):
            if self.by == by and getattr(self, key) is None:
                raise CatalogError(f'by={by!r} without {key}', f'--{key}', f'name the {key}')
