"""Pretrained weights for imagery of other bands: filters go where their bands are.

The first convolution of a network, its stem, holds one filter per band and
feature. :func:`adapt_stem` makes one for our bands out of one for theirs.

Take the published network to see, in the place of each of *its* ``K`` bands
``k``, a weighted mean of *our* bands, ``sum_i A[i, k] x_i`` with ``sum_i A[i, k]
= 1``. The stem that computes this from our bands has the filters
``v_i = sum_k A[i, k] w_k``. Where bands are the same, ``A`` is a permutation and
features are the published network's. ``A`` is found in this order:

1. bands of the same canonical name (:mod:`geo_mm.models.spectral`);
2. of what is left, the band of ours at the nearest wavelength, if one of the two
   holds the other's centre (within half a bandwidth);
3. with ``lost='spread'``, our neighbours stand in for a band of theirs that we lack:
   it is interpolated linearly in wavelength between those on both sides, or is the
   nearest, beyond the last of ours. Cirrus, panchromatic and radar bands have no
   neighbours, and thermal ones thermal ones only. With ``lost='scale'`` all that is
   not found by 1 and 2 is lost;
4. a band of ours with no filter so far is interpolated between neighbours of
   theirs, if those would be lost.

Filters that are lost take their part of the response with them. What is left is
scaled so that the expected response stays: with ``m_k = mean |w_k|`` and
``c_k = sum_i A[i, k]``, 1 or 0 for most bands, all are multiplied by
``sum_k m_k / sum_k c_k m_k``, the published sum of magnitudes over that which is
still there. It is 1 where nothing is lost: with all of their bands among ours,
those have exactly the published filters.

Bands of ours beyond that have nothing to add to the published features. They get
an interpolated filter, if they are between bands of theirs, or one by a rule:

===========  ===================================================================
``missing``  filter of each of the ``E`` other bands
===========  ===================================================================
``mean``     ``d * mean_k w_k``
``nearest``  ``d * w_k`` of the nearest wavelength, for a band that looks like it
``zero``     ``0``: the other bands start unseen, and are learnt
``random``   ``d * N(0, s)``, with the standard deviation ``s`` of the stem
``error``    none: they are an error
===========  ===================================================================

with the damping ``d = 1 / (3 E)``: together they weigh as much as a third of one
band. For RGB weights and bands that all show the same after normalisation, the
response under ``mean`` is 1 + 1/9 times the RGB network's; if bands are
independent, its standard deviation grows by less than 2 %. Where the other bands
are at their mean, hence 0, features are those of the RGB network. If no band is
in common, as with RGB weights for radar, ``d = K / E``.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geo_mm.errors import ConfigError
from geo_mm.models.spectral import Band, BandLike, resolve_bands

MISSING_RULES = ('mean', 'nearest', 'zero', 'random', 'error')
LOST_RULES = ('spread', 'scale')
RGB = ('red', 'green', 'blue')

_THERMAL = 3.0
"""Micrometres: below, light is the sun's; above, the ground's own."""


@dataclass(frozen=True)
class StemRow:
    """Where the filters of one of our bands come from: ``ours <- theirs, how``."""

    ours: str
    theirs: str
    how: str


@dataclass(frozen=True)
class StemTable:
    """What :func:`adapt_stem` did.

    Attributes:
        rows: One per band of ours, in our order.
        lost: Bands of theirs whose filters are not used.
        scale: All filters that are theirs were multiplied by it.
        same: For each band of ours the position of theirs that is the same, by name
            or wavelength, or None.
        other: Bands of ours that add nothing to the published features.
    """

    rows: tuple[StemRow, ...]
    lost: tuple[str, ...] = ()
    scale: float = 1.0
    same: tuple[int | None, ...] = ()
    other: tuple[str, ...] = ()

    def __str__(self) -> str:
        widths = [max(len(getattr(row, part)) for row in self.rows) for part in ('ours', 'theirs')]
        lines = [
            f'{row.ours:<{widths[0]}} <- {row.theirs:<{widths[1]}}  {row.how}' for row in self.rows
        ]
        if self.lost:
            lines.append(f'not used: {", ".join(self.lost)}')
        if self.scale != 1:
            lines.append(f'all x {self.scale:.3g}, for the response that is lost with them')
        return '\n'.join(lines)


def adapt_stem(
    weight: Tensor,
    from_bands: Sequence[BandLike],
    to_bands: Sequence[BandLike],
    missing: str = 'mean',
    lost: str = 'spread',
    seed: int = 0,
) -> tuple[Tensor, StemTable]:
    """A stem for our bands out of one for theirs; see the module for the formulas.

    Args:
        weight: Convolution weights ``(features, len(from_bands), ...)``, of two or
            three dimensions.
        from_bands: Bands that the weights were trained on, in the weights' order.
        to_bands: Our bands, in the order that the model gets them.
        missing: Rule for bands of ours that have no filter, of :data:`MISSING_RULES`.
        lost: Rule for bands of theirs that we lack, of :data:`LOST_RULES`.
        seed: For ``'random'``; with it each band's name makes its filter.

    Returns:
        Convolution weights ``(features, len(to_bands), ...)``, and what was done.
        Bands in another order give the same filters in that order.

    Raises:
        ConfigError: If the number of bands is not that of the weights, a rule is
            unknown, bands have no filter under ``'error'``, or no band has one.
    """
    check_rules(missing, lost)
    theirs, ours = resolve_bands(from_bands), resolve_bands(to_bands)
    if weight.shape[1] != len(theirs):
        raise ConfigError(
            f'a stem {tuple(weight.shape)} for {len(theirs)} bands: {_names(theirs)}',
            f'names of its {weight.shape[1]} bands',
        )
    match = _Match(theirs, ours)
    match.find(spread=lost == 'spread')
    columns = torch.tensor(match.shares, dtype=torch.float64)
    columns /= columns.sum(dim=0).clamp(min=1)  # several of ours that are one of theirs
    magnitude = weight.abs().flatten(2).mean(dim=(0, 2)).double()
    kept = (columns.sum(dim=0) * magnitude).sum()
    scale = float(magnitude.sum() / kept) if kept > 0 else 1.0
    adapted = _mixed(weight, columns) * scale
    others = [i for i, row in enumerate(match.shares) if not any(row)]
    _check_others(others, theirs, ours, missing)
    factor = (1 / 3 if kept > 0 else len(theirs)) / max(len(others), 1)
    for i in others:
        adapted[:, i] = factor * _filled(weight, match.rule(i, missing), ours[i].name, seed)
    unused = [b.name for b, c in zip(theirs, columns.sum(dim=0), strict=True) if not c]
    table = StemTable(
        tuple(match.row(i, label(to_bands[i]), missing, factor) for i in range(len(ours))),
        tuple(unused) if kept > 0 else (),
        scale,
        tuple(match.same),
        tuple(label(to_bands[i]) for i in others),
    )
    return adapted.to(weight.dtype), table


def _mixed(weight: Tensor, shares: Tensor) -> Tensor:
    """``(features, ours, ...)`` out of ``(features, theirs, ...)`` and ``(ours, theirs)``."""
    return torch.einsum('ik,fk...->fi...', shares.to(weight), weight)


def check_rules(missing: str, lost: str) -> None:
    """Makes sure that there are such rules.

    Raises:
        ConfigError: If not.
    """
    if missing not in MISSING_RULES or lost not in LOST_RULES:
        raise ConfigError(
            f'pretrained weights with missing={missing!r}, lost={lost!r}',
            f'missing one of {", ".join(MISSING_RULES)}; lost one of {", ".join(LOST_RULES)}',
        )


def label(given: BandLike) -> str:
    """A band as the config calls it."""
    if isinstance(given, Mapping):
        return given['name']
    return given.name if isinstance(given, Band) else given


def _names(bands: Sequence[Band]) -> str:
    return ', '.join(each.name for each in bands)


def _check_others(
    others: Sequence[int], theirs: Sequence[Band], ours: Sequence[Band], missing: str
) -> None:
    """Bands without a filter are an error, if that was said, or if nobody knows any of them."""
    if not others:
        return
    names = _names([ours[i] for i in others])
    if missing == 'error':
        raise ConfigError(
            f'no pretrained filter for {names}: the weights have {_names(theirs)}',
            'a band of this name or wavelength',
            "take missing='mean' or another rule",
        )
    nothing = len(others) == len(ours)
    if nothing and (missing == 'zero' or not any(band.known for band in ours)):
        raise ConfigError(
            f'bands {names}, and none of them is one of the weights: {_names(theirs)}',
            'names of bands, such as red, B04, s2:B4, or their wavelengths',
            'name the bands of the images by what they show, or say with from_bands which of '
            'them take the filters, as from_bands=("nir", "red", "green") for a false-colour image',
        )


def _filled(weight: Tensor, rule: Mapping[int, float] | str, name: str, seed: int) -> Tensor:
    """Filters ``(features, ...)`` of one other band, before damping."""
    if isinstance(rule, Mapping):
        return sum((weight[:, k] * share for k, share in rule.items()), torch.zeros(()))
    if rule == 'mean':
        return weight.mean(dim=1)
    if rule == 'zero':
        return torch.zeros_like(weight[:, 0])
    # By name, so that the filter does not depend on where the band stands.
    generator = torch.Generator().manual_seed(zlib.crc32(f'{seed} {name}'.encode()))
    return torch.randn(weight[:, 0].shape, generator=generator) * weight.std()


class _Match:
    """Which bands of ours stand for which of theirs.

    Attributes:
        shares: ``A`` of the module, ``[ours][theirs]``.
        how: Words for each of ours, in the order found.
        same: For each of ours which of theirs it is, or None.
    """

    def __init__(self, theirs: Sequence[Band], ours: Sequence[Band]) -> None:
        self.theirs, self.ours = theirs, ours
        self.shares = [[0.0] * len(theirs) for _ in ours]
        self.how: list[list[str]] = [[] for _ in ours]
        self.same: list[int | None] = [None for _ in ours]

    def find(self, spread: bool) -> None:
        open_theirs = []
        for k, band in enumerate(self.theirs):
            same = [i for i, own in enumerate(self.ours) if own.name == band.name]
            self._give(dict.fromkeys(same, 1 / max(len(same), 1)), k, 'same name')
            if not same:
                open_theirs.append(k)
        free = [i for i, row in enumerate(self.shares) if not any(row)]
        for k in list(open_theirs):
            if near := _nearest(self.theirs[k], self.ours, free):
                self._give(near, k, 'nearest wavelength')
                open_theirs.remove(k)
        self.same = [next((k for k, s in enumerate(row) if s), None) for row in self.shares]
        for k in list(open_theirs) if spread else ():
            everyone = range(len(self.ours))
            near = _nearest(self.theirs[k], self.ours, everyone)
            if found := near or _between(self.theirs[k], self.ours, beyond=True):
                self._give(found, k, 'stands in for others')
                open_theirs.remove(k)
        for i, own in enumerate(self.ours):
            found = {} if any(self.shares[i]) else _between(own, self.theirs)
            if any(k in open_theirs for k in found):
                for k, share in found.items():
                    self._give({i: share}, k, 'interpolated')

    def _give(self, shares: Mapping[int, float], k: int, how: str) -> None:
        for i, share in shares.items():
            self.shares[i][k] += share
            if how not in self.how[i]:
                self.how[i].append(how)

    def rule(self, i: int, missing: str) -> Mapping[int, float] | str:
        """How the filter of a band is made for which there is none: shares, or a rule."""
        own = self.ours[i]
        if missing in ('zero', 'random'):
            return missing
        found = _between(own, self.theirs)
        if not found and missing == 'nearest':
            found = _closest({k: abs(gap) for k, gap in _gaps(own, self.theirs).items()})
        return found or 'mean'

    def row(self, i: int, label: str, missing: str, factor: float) -> StemRow:
        if any(self.shares[i]):
            how = ', '.join(self.how[i])
            return StemRow(label, self._sum(dict(enumerate(self.shares[i]))), how)
        rule = self.rule(i, missing)
        if isinstance(rule, Mapping):
            between = _between(self.ours[i], self.theirs)
            how = 'interpolated' if between else 'nearest wavelength'
            return StemRow(label, self._sum(rule), f'{how}, x {factor:.2g}')
        if rule == 'zero':
            return StemRow(label, 'zeros', 'none of theirs')
        what = 'mean of all' if rule == 'mean' else 'random'
        return StemRow(label, what, f'none of theirs, x {factor:.2g}')

    def _sum(self, shares: Mapping[int, float]) -> str:
        """The largest share first."""
        terms = sorted(((s, self.theirs[k].name) for k, s in shares.items() if s), reverse=True)
        return ' + '.join(name if s == 1 else f'{s:.2f} {name}' for s, name in terms)


def _gaps(band: Band, others: Sequence[Band]) -> dict[int, float]:
    """How far the others are towards longer wavelengths, of those that have one."""
    if band.wavelength is None:
        return {}
    return {
        i: other.wavelength - band.wavelength
        for i, other in enumerate(others)
        if other.wavelength is not None
    }


def _nearest(band: Band, others: Sequence[Band], free: Collection[int]) -> dict[int, float]:
    """Of the others, the nearest that holds the band's centre, or whose centre it holds."""
    return _closest(
        {
            i: abs(gap)
            for i, gap in _gaps(band, others).items()
            if i in free and abs(gap) <= max(band.bandwidth or 0, others[i].bandwidth or 0) / 2
        }
    )


def _closest(distances: Mapping[int, float]) -> dict[int, float]:
    """Shares of the least distant, equal ones if there are several."""
    least = min(distances.values(), default=0.0)
    found = [i for i, distance in distances.items() if distance - least < 1e-6]
    return dict.fromkeys(found, 1 / max(len(found), 1))


def _between(band: Band, others: Sequence[Band], beyond: bool = False) -> dict[int, float]:
    """Shares of the neighbours on both sides, by distance.

    If there is none on one side: the nearest with ``beyond``, else none.
    """
    gaps = {i: gap for i, gap in _gaps(band, others).items() if _are_alike(band, others[i])}
    below = _closest({i: -gap for i, gap in gaps.items() if gap <= 0})
    above = _closest({i: gap for i, gap in gaps.items() if gap > 0})
    if not below or not above:
        return below or above if beyond else {}
    down, up = -gaps[next(iter(below))], gaps[next(iter(above))]
    shares = {i: share * up / (down + up) for i, share in below.items()}
    return shares | {i: share * down / (down + up) for i, share in above.items()}


def _are_alike(*bands: Band) -> bool:
    """Whether they show the ground by one kind of light, so that one tells of another.

    Cirrus clouds hide the ground, and a panchromatic band has no place among the others.
    """
    kinds = {band.wavelength is not None and band.wavelength < _THERMAL for band in bands}
    return len(kinds) == 1 and not {band.name for band in bands} & {'cirrus', 'pan'}
