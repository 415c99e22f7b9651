"""The input specification of a model: plain data that is kept with its weights."""

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

import geo_mm
from geo_mm.classes import ClassSet
from geo_mm.errors import ConfigError, SpecError
from geo_mm.raster import Scene
from geo_mm.raster.sources import NoData

logger = logging.getLogger(__name__)

_WHOLE = 'one that training has written'

GSD_TOLERANCE = 0.02
"""Relative difference up to which a scene's own GSD is taken as the trained one."""

COARSER, FINER = 4.0, 16.0
"""How much coarser or finer than the trained GSD a scene may be. Details of a finer one
are averaged away; a coarser one lacks what the model looks for."""


OF_PIXELS = {'pixels': True, 'objects': False}
"""Whether a model for this task gives classes of pixels."""


@dataclass(frozen=True)
class InputSpec:
    """The contract between a trained model and the scenes it is given.

    Attributes:
        task: ``'objects'`` or ``'pixels'``.
        classes: Names and colours of the classes, in the order of their indices,
            and for ``'pixels'`` the class of pixels without a feature.
        bands: Names of the bands, in the order the model takes them.
        gsd: Metres per pixel the model was trained at; None if its scenes had
            no georeference.
        dtype: NumPy type of the training scenes' pixels.
        nodata: Value of pixels without data, ``'auto'`` for what a file
            declares, None for none.
        mean: Subtracted from each band.
        std: Each band is divided by it afterwards.
        chip_size: ``(height, width)`` of training chips in pixels.
        roles: What the files of a scene are, such as ``('before', 'after')``;
            bands are then called ``before:red``. Empty where scenes are single
            files, or files known by their order. Never their names, which are
            others in each place.
        wavelengths: Centre of each band in micrometres, None where unknown.
        receptive_radius: How far around a pixel a model for pixels looks, in pixels,
            see :func:`geo_mm.models.segmentors.receptive_radius`; None if it was
            not measured.
        version: geo_mm that wrote this.
    """

    task: str
    classes: ClassSet
    bands: tuple[str, ...]
    gsd: float | None
    dtype: str
    nodata: NoData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    chip_size: tuple[int, int]
    roles: tuple[str, ...] = ()
    wavelengths: tuple[float | None, ...] | None = None
    receptive_radius: int | None = field(default=None, compare=False)
    version: str = geo_mm.__version__

    def to_dict(self) -> dict:
        """Plain data for JSON, the entries of the classes among the others."""
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        return {'task': data.pop('task'), **data.pop('classes').to_dict(), **data}

    @property
    def of_pixels(self) -> bool:
        """Whether the model gives classes of pixels, and not objects."""
        return OF_PIXELS[self.task]

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping) -> 'InputSpec':
        """Rebuilds a spec, lists becoming tuples again.

        Raises:
            SpecError: If a field is missing, unknown or of another type.
        """
        if not isinstance(data, Mapping):
            raise SpecError(f'an input spec that is a {type(data).__name__}', 'a mapping')
        known = {each.name for each in fields(cls)} | {*ClassSet(()).to_dict()}
        optional = {'palette', 'background', 'ignore', 'roles', 'wavelengths', 'version'}
        required = known - optional - {'receptive_radius'}
        if missing := (required - set(data)) | (set(data) - known):
            raise SpecError(
                f'input spec of geo_mm {data.get("version", "(unknown)")} with missing or unknown '
                f'fields: {", ".join(sorted(missing))}',
                f'the fields of geo_mm {geo_mm.__version__}: {", ".join(sorted(known))}',
                'predict with the geo_mm that it was trained with, or train again',
            )
        own: dict[str, Any] = {
            key: _frozen(data[key]) for each in fields(cls) if (key := each.name) in data
        }
        try:
            spec = cls(**own | {'classes': ClassSet.from_dict(data)})
            wrong = [name for name, right in spec._checks().items() if not right]
        except (TypeError, ValueError, OverflowError, AttributeError, ConfigError) as error:
            raise SpecError(f'an input spec with wrong values: {error}', _WHOLE) from error
        if wrong:
            raise SpecError(f'an input spec with wrong values of {", ".join(wrong)}', _WHOLE)
        return spec

    def _checks(self) -> dict[str, bool]:
        """Whether each field, out of a file, holds what it should."""
        count = len(self.bands)
        sizes = self.chip_size
        return {
            'task': self.task in OF_PIXELS,
            'bands': bool(self.bands) and all(map(is_name, self.bands)),
            'gsd': self.gsd is None or (is_number(self.gsd) and self.gsd > 0),
            'dtype': np.dtype(self.dtype).kind in 'iufb',
            'nodata': self.nodata in (None, 'auto') or isinstance(self.nodata, int | float),
            'mean': len(self.mean) == count and all(map(is_number, self.mean)),
            'std': len(self.std) == count and all(is_number(v) and v > 0 for v in self.std),
            'chip_size': len(sizes) == 2 and all(isinstance(v, int) and v > 0 for v in sizes),
            'receptive_radius': self.receptive_radius is None
            or (isinstance(self.receptive_radius, int) and self.receptive_radius >= 0),
            'version': is_name(self.version),
        }

    def fit(self, scene: Scene, *, gsd: float | None = None, force: bool = False) -> Scene:
        """The scene as the model expects it: its bands, at its GSD.

        Bands are found by name, those of files with roles by role and name. Where
        neither the scene nor the training scenes name their bands, their number
        must agree.

        Args:
            scene: The scene.
            gsd: Metres per pixel of a scene that does not say; else not looked at.
            force: Take it with a warning where its GSD is more than 4 times
                coarser or 16 times finer than the trained one, or its data
                type is another, so that its values are likely on another scale.

        Raises:
            SpecError: If a band is missing, the model is bound to a GSD and
                the scene has none, or without ``force``.
        """
        scene = self._with_bands(scene)
        self._check_dtype(scene, force)
        return self._at_gsd(scene, gsd, force)

    def misfits(self, scene: Scene, *, gsd: float | None = None) -> list[SpecError]:
        """All that :meth:`fit` would refuse a scene for, not only the first."""
        found = []
        checks = (
            lambda: self._with_bands(scene),
            lambda: self._check_dtype(scene, force=False),
            lambda: self._at_gsd(scene, gsd, force=False),
        )
        for check in checks:
            try:
                check()
            except SpecError as error:
                found.append(error)
        return found

    def _at_gsd(self, scene: Scene, gsd: float | None, force: bool) -> Scene:
        """The scene at the trained GSD, that of a scene without georeference being given."""
        if self.gsd is None:
            return scene
        own = scene.gsd or (None if gsd is None else (gsd, gsd))
        if own is None:
            raise SpecError(
                f'{scene.sources[0]} has no georeference, so its metres per pixel are unknown',
                f'{self.gsd:.3g} m, as the model was trained',
                'georeference the scene (gdal_translate -a_srs ... -a_ullr ...), or give its '
                'metres per pixel with --gsd',
            )
        if all(abs(side / self.gsd - 1) <= GSD_TOLERANCE for side in own):
            return scene
        if max(own) > COARSER * self.gsd or self.gsd > FINER * min(own):
            _refuse(
                force,
                f'{scene.sources[0]} has {own[0]:.3g} m per pixel',
                f'no more than {COARSER:g} times coarser or {FINER:g} times finer than '
                f'{self.gsd:.3g} m, as the model was trained',
                'train with scenes of this GSD, or add --force to resample all the same',
            )
        logger.info('%s: read at %.3g m instead of %.3g m', scene.name, self.gsd, own[0])
        return scene.at_gsd(self.gsd) if scene.gsd else scene.resized(own[0] / self.gsd)

    def _check_dtype(self, scene: Scene, force: bool) -> None:
        """Refuses a type of another size or kind: its values are mostly on another scale."""
        trained, own = np.dtype(self.dtype), np.dtype(scene.dtype)
        if trained.kind == own.kind == 'f' or (
            'f' not in (trained.kind, own.kind) and trained.itemsize == own.itemsize
        ):
            return
        _refuse(
            force,
            f'{scene.sources[0]} has {own} pixels',
            f'{trained}, as the model was trained; other types mostly hold values on another scale',
            'convert it to the scale of the training scenes (gdal_translate -ot ... -scale ...), '
            'or add --force if its values are on that scale already',
        )

    def _with_bands(self, scene: Scene) -> Scene:
        missing = scene.missing(self.bands)
        if not missing:
            return scene.select(self.bands)
        if lacking := [role for role in self.roles if role not in scene.roles]:
            raise SpecError(
                f'{scene.name} has {_roles(scene.roles)}: {", ".join(scene.sources)}',
                f'{_roles(self.roles)}, as the model was trained; missing: {", ".join(lacking)}',
                'say which file is what: '
                + ' '.join(f'--image {role}=FILE' for role in self.roles),
            )
        if scene.count == len(self.bands) and (unnamed(self.bands) or unnamed(scene.band_names)):
            logger.warning(
                '%s: bands %s taken as %s in this order, since bands have no names',
                scene.name,
                ', '.join(scene.band_names),
                ', '.join(self.bands),
            )
            return scene
        raise SpecError(
            f'{scene.sources[0]} has the bands {", ".join(scene.band_names)}',
            f'bands {", ".join(self.bands)}, as the model was trained; '
            f'missing: {", ".join(missing)}',
            self._how_to_name(scene),
        )

    def _how_to_name(self, scene: Scene) -> str:
        if scene.count < len(self.bands):
            return 'give a file that has all of them, or several files as one scene with --stack'
        return (
            'if it has them under other names, say which they are, by name or number: --bands '
            + ' '.join(scene.band_names[: len(self.bands)])
            + '; or name them in the file (rasterio: dataset.set_band_description)'
        )


def is_name(value: object) -> bool:
    """Text without control characters, which a terminal would obey."""
    return isinstance(value, str) and not re.search(r'[\x00-\x1f\x7f-\x9f]', value)


def is_number(value: object) -> bool:
    """A finite number that a float can hold."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max  # NaN is not


def _refuse(force: bool, found: str, expected: str, fix: str) -> None:
    if not force:
        raise SpecError(found, expected, fix)
    logger.warning('%s; expected: %s; accepted because of --force', found, expected)


def _roles(roles: Sequence[str]) -> str:
    return (
        f'files of the roles {", ".join(dict.fromkeys(roles))}' if roles else 'files without role'
    )


def unnamed(bands: tuple[str, ...]) -> bool:
    return all(name == f'B{number}' for number, name in enumerate(bands, 1))


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
