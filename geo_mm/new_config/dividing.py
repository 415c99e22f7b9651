"""Dividing the scenes of a config among train, val and test."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from geo_mm.catalog import CatalogEntry, SceneOptions
from geo_mm.catalog.ground import read_ground
from geo_mm.catalog.profile import CatalogProfile
from geo_mm.catalog.split_options import By, SplitOptions
from geo_mm.catalog.splits import SplitCatalog, group_count, split_by_strips, split_entries
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.new_config.plan import NewOptions, Progress, ignored

FEW = 3
"""Scenes from which whole scenes are validated with, not parts of them."""

GIVEN = 'as the catalog says'
"""How the scenes were split if the catalog has all splits."""

_LEAST = 4 / 7  # of its share of the ground, of blocks with gaps between, is to be left to train


def is_split(entries: Sequence[CatalogEntry]) -> bool:
    """Whether entries say what to train and what to validate with."""
    return {'train', 'val'} <= {entry.split for entry in entries}


@dataclass(frozen=True)
class Dividing:
    """How scenes are divided among train, val and test.

    Attributes:
        options: What the user asked for.
        scene_options: How the scenes are opened.
        gsd: Metres per pixel of the chips; None for that of each file.
        tell: Is told what is being looked at.
    """

    options: NewOptions
    scene_options: SceneOptions
    gsd: float | None
    tell: Progress = ignored

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the ground."""
        val = self.options.val_split_pct
        return (0.7, 0.15, 0.15) if val is None else (1 - val, val)

    def of(
        self, entries: Sequence[CatalogEntry], profile: CatalogProfile, chip_size: int
    ) -> tuple[list[CatalogEntry], str, int]:
        """Gives the entries their splits; those that they have are kept.

        Args:
            entries: The scenes.
            profile: What they are like.
            chip_size: Side of the chips in pixels, whose diagonal lies between the splits.

        Returns:
            The entries with their splits, how they were split, and for which size of chips.

        Raises:
            ConfigError: If a share for val is asked for, and the entries have splits.
            CatalogError: If the ground does not suffice for that share.
        """
        val = self.options.val_split_pct
        if is_split(entries):
            if val is not None:
                raise ConfigError(
                    f'--val-split-pct {val:g}: the data say which scene is for train and for val',
                    'data without splits, or no --val-split-pct',
                    'leave it out, or take the splits out of the data',
                )
            if any(entry.split == 'test' for entry in entries):
                return list(entries), GIVEN, chip_size
            why = 'as the catalog says; no scene is for test: val is'
            return _tested(entries), why, chip_size
        if len(entries) >= FEW:
            return self._of_many(entries, chip_size)
        if val is None or self.options.chip_size is not None:
            return self._of_strips(entries, profile, chip_size)
        # A small share is long enough for small chips only.
        for size in _chip_sizes(chip_size):
            with contextlib.suppress(CatalogError):
                return self._of_strips(entries, profile, size)
        return self._of_strips(entries, profile, chip_size)  # which says why not

    def _of_strips(
        self, entries: Sequence[CatalogEntry], profile: CatalogProfile, chip_size: int
    ) -> tuple[list[CatalogEntry], str, int]:
        """Parts of few scenes."""
        gsd, val = self.gsd, self.options.val_split_pct
        diagonal = chip_size * math.sqrt(2)
        factor = 1.0 if gsd is None or profile.gsd is None else gsd / profile.gsd
        gap, shortest = diagonal * factor, chip_size * factor
        found = [
            part
            for entry in entries
            for part in split_by_strips(entry, self.scene_options, gap, shortest, val)
        ]
        if not is_split(found):
            if val is None:
                why = 'too little ground to split: scores are those of the training data'
                return list(entries), why, chip_size
            raise CatalogError(
                f'--val-split-pct {val:g}: too little ground for parts of {1 - val:.0%} and '
                f'{val:.0%}, each as long as a chip of {chip_size} pixels, with the diagonal of a '
                'chip between them',
                'more ground, or smaller chips',
                'give a smaller --chip-size, another --val-split-pct, or leave it out',
            )
        metres = '' if profile.gsd is None else f' = {diagonal * (gsd or profile.gsd):.3g} m'
        why = f'parts of the scene, a gap of {diagonal:.0f} pixels{metres} between '
        why += '(diagonal of a chip)'
        areas = {entry.split: entry.area for entry in found}
        if areas['val'] == areas['test']:
            little = 'too little ground for a third part: ' if val is None else ''
            why += f'; {little}val is test'
        return found, why, chip_size

    def _of_many(
        self, entries: Sequence[CatalogEntry], chip_size: int
    ) -> tuple[list[CatalogEntry], str, int]:
        """Whole scenes in each split; blocks of the ground where nearly all scenes overlap, or
        adjoin, so that the gaps would take most of them."""
        grounds = []
        for number, entry in enumerate(entries, 1):
            self.tell(f'the ground of scene {number} of {len(entries)}')
            grounds.append(read_ground(entry))
        several = group_count(entries) >= FEW
        whole = self._divided(entries, grounds, 'scene', chip_size) if several else None
        if whole is not None and self._leaves_enough(whole):
            found, what = whole, 'groups of scenes that do not overlap'
        else:
            found, chip_size = self._blocks(entries, grounds, chip_size)
            what = f'blocks of the ground, since the scenes {"adjoin" if several else "overlap"}'
        why = f'{found.units} {what}'
        if found.buffer:
            why += f'; {found.buffer:.3g} m between splits are left out (diagonal of a chip)'
        if self.options.val_split_pct is None:
            return list(found.entries), why, chip_size
        why += '; val is test'
        return _tested(found.entries), why, chip_size

    def _blocks(
        self, entries: Sequence[CatalogEntry], grounds: Sequence, chip_size: int
    ) -> tuple[SplitCatalog, int]:
        """A split by blocks for the largest chips whose diagonal leaves enough ground to train."""
        sizes = _chip_sizes(chip_size)
        for size in sizes:
            try:
                found = self._divided(entries, grounds, 'block', size)
            except CatalogError:
                if size == sizes[-1]:
                    raise
                continue
            if self._leaves_enough(found):
                break
        return found, size

    def _divided(
        self, entries: Sequence[CatalogEntry], grounds: Sequence, by: By, chip_size: int
    ) -> SplitCatalog:
        options = SplitOptions(
            by=by,
            fractions=self.fractions,
            gsd=self.gsd,
            chip_size=chip_size,
            seed=self.options.seed,
        )
        return split_entries(entries, options, grounds=grounds)

    def _leaves_enough(self, found: SplitCatalog) -> bool:
        whole = sum(found.areas) + found.left_out
        return found.areas[0] >= _LEAST * self.fractions[0] * whole


def _chip_sizes(most: int) -> list[int]:
    return [size for size in (512, 384, 256, 192, 128, 96, 64) if size <= most]


def _tested(entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
    """The entries, those that validate also to test."""
    return [*entries, *(replace(entry, split='test') for entry in entries if entry.split == 'val')]
