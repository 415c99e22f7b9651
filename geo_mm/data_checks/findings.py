"""Findings: what is wrong, where, why it matters and how to mend it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import shapely

from geo_mm.raster import Grid
from geo_mm.raster.grid import to_map
from geo_mm.raster.projection import LONLAT, moved

Severity = Literal['error', 'warning', 'note']
"""Training fails or learns what is wrong; it may learn what is wrong; good to know."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)

_PLACES = 200  # that a finding keeps


@dataclass(frozen=True)
class Places:
    """Where in a scene something was found.

    Attributes:
        scene: Name of the scene.
        boxes: ``(N, 4)`` left, top, right and bottom in its pixels, as stored in the file.
        lonlat: ``(west, south, east, north)`` of them all; None without a CRS.
        shift: By which labels should be moved to the right and down, in these pixels.
    """

    scene: str
    boxes: np.ndarray
    lonlat: tuple[float, float, float, float] | None
    shift: tuple[float, float] | None = None

    @classmethod
    def of(cls, scene: str, boxes: np.ndarray | Sequence, grid: Grid) -> 'Places':
        """Places from boxes in the pixels of a grid; of very many, the first ones."""
        boxes = np.asarray(boxes, float).reshape(-1, 4)
        if grid.crs is None or not len(boxes):
            return cls(scene, boxes[:_PLACES], None)
        outlines = shapely.box(*boxes.T)
        xy = to_map(shapely.get_coordinates(outlines), grid.transform)
        with np.errstate(all='ignore'):
            lonlat = moved(xy, grid.crs, LONLAT)
        west, south = lonlat.min(axis=0).tolist()
        east, north = lonlat.max(axis=0).tolist()
        known = np.isfinite(lonlat).all()
        return cls(scene, boxes[:_PLACES], (west, south, east, north) if known else None)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or might be.

    Attributes:
        check: Name of the check.
        severity: How bad it is.
        where: The file, and the band, column or features.
        found: What was found.
        why: Why it matters.
        fix: How to mend it.
        places: Where in a scene, if it is somewhere.
    """

    check: str
    severity: Severity
    where: str
    found: str
    why: str
    fix: str
    places: Places | None = None

    def text(self, width: int = 80) -> str:
        """A paragraph for the terminal."""
        head = f'{self.severity.upper()} {self.check}: {self.where}'
        lines = [f'{sentence(self.found)} {sentence(self.why)}', f'To do: {self.fix.rstrip(".")}.']
        if self.places is not None and self.places.lonlat is not None:
            west, south, east, north = self.places.lonlat
            lines.append(f'At lon {west:.5f} to {east:.5f}, lat {south:.5f} to {north:.5f}.')
        body = [
            textwrap.fill(
                line,
                width,
                initial_indent='  ',
                subsequent_indent='  ',
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines
        ]
        return '\n'.join([head, *body])

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        texts = ('check', 'severity', 'where', 'found', 'why', 'fix')
        data: dict = {name: getattr(self, name) for name in texts}
        if self.places is not None:
            data['scene'] = self.places.scene
            data['lonlat'] = self.places.lonlat
            data['pixels'] = self.places.boxes[:20].round(1).tolist()
        return data


def sentence(words: str) -> str:
    """Words as a sentence."""
    return f'{words[0].upper()}{words[1:].rstrip(".")}.'


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; each as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, those that are the same in many scenes as one.

    Of the same check, severity and advice, more than three become one that names the first.
    """
    groups: dict[tuple, list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.severity, finding.fix), []).append(finding)
    result = []
    for group in groups.values():
        if len(group) <= 3:
            result += group
            continue
        first = group[0]
        where = f'{first.where} and {len(group) - 1} more'
        found = f'{first.found} (the first of {len(group)})'
        result.append(replace(first, where=where, found=found))
    return result
