"""Backbones that start from published weights, whatever bands those were trained on."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import update_init_info
from torch import Tensor, nn

from geo_mm.errors import ConfigError, listed
from geo_mm.models.adaptation import RGB, StemTable, adapt_stem, check_rules
from geo_mm.models.checkpoints import load_weights, local_copy
from geo_mm.models.dofa import as_plain_vit, has_wavelength_embedding
from geo_mm.models.pretrained import PretrainedSet, fetch_weights, pretrained_set
from geo_mm.models.spectral import BandLike, resolve_bands
from geo_mm.models.stems import PIXELS
from geo_mm.paths import file_sha256
from geo_mm.registry import WEIGHT_INITIALIZERS

logger = logging.getLogger(__name__)

_WRAPPERS = frozenset(('module', 'backbone', 'encoder', 'model', 'teacher', 'state_dict'))
"""What training frameworks put before a backbone's own names."""

_HEADS = ('fc.', 'head.', 'heads.', 'classifier.')
_SUFFIXES = frozenset(('.pth', '.pt', '.ckpt', '.bin', '.safetensors', '.tar'))
_STEMS = frozenset(
    f'{name}.weight'
    for name in (
        'conv1',  # ResNet
        'stem.0',  # ResNetV1c, ConvNeXt
        'stem_0',  # ConvNeXt under timm's features_only
        'conv_stem',  # EfficientNet
        'patch_embed.proj',  # ViT and Swin
        'patch_embed.projection',  # those of mm
        'features.0',  # VGG
    )
)


@WEIGHT_INITIALIZERS.register_module()
@dataclass
class AdaptedPretrained:
    """Starts a backbone from published weights, whatever bands it takes.

    The stem is made for our bands, see :mod:`geo_mm.models.adaptation`; all
    else must be the backbone's::

        backbone = dict(
            type='ResNet',
            depth=50,
            in_channels=4,
            init_cfg=dict(
                type='geo_mm.AdaptedPretrained',
                checkpoint='torchvision://resnet50',
                bands=('red', 'green', 'blue', 'nir'),
            ),
        )

    It belongs on the backbone, or anything else whose first layer takes the bands.
    Weights of the model that are not in the checkpoint keep their other
    initialisation: give a list, as ``[dict(type='Kaiming', layer='Conv2d'),
    dict(type='geo_mm...')]``.

    Names of the weights may begin with those of a wrapper (``module.``,
    ``backbone.``, ``encoder.``, ``model.``); heads are left out. A backbone with
    other names than the published ones translates them: its method
    ``own_names(weights)`` gives them under its own.

    Args:
        checkpoint: A name of the registry (``geo-mm weights``), or as for
            :func:`geo_mm.models.checkpoints.load_weights`.
        bands: Our bands, in the order that the model gets them: names, or mappings
            with ``name``, ``wavelength`` and ``bandwidth`` in micrometres.
        from_bands: Those that the weights were trained on, in their order. Default
            are those of the registry, else red, green and blue.
        missing: Rule for our bands that they lack: ``'mean'``, ``'nearest'``,
            ``'zero'``, ``'random'`` or ``'error'``.
        lost: Rule for their bands that we lack: ``'spread'`` or ``'scale'``.
        channel_order: Of weights for RGB: ``'rgb'``, or ``'bgr'`` for those of Caffe.
        prefix: Takes only weights whose name begins with it, ``'backbone.'`` of a
            detector's.
        seed: For ``'random'``.
        least: Share of the backbone's parameters that must be in the checkpoint.

    Raises:
        ConfigError: If the checkpoint cannot be read or does not fit, or if
            filters that have learnt nothing would stay frozen.
    """

    checkpoint: str
    bands: Sequence[BandLike]
    from_bands: Sequence[BandLike] | None = None
    missing: str = 'mean'
    lost: str = 'spread'
    channel_order: str = 'rgb'
    prefix: str = ''
    seed: int = 0
    least: float = 0.95

    def __post_init__(self) -> None:
        check_rules(self.missing, self.lost)
        if self.channel_order not in ('rgb', 'bgr'):
            raise ConfigError(
                f'AdaptedPretrained with channel_order={self.channel_order!r}', "'rgb' or 'bgr'"
            )
        resolve_bands(self.bands)

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights; ``module.pretrained_record`` says what was done, as plain data."""
        known = registered(self.checkpoint)
        theirs = self._from_bands(known)
        path = fetch_weights(known) if known else local_copy(self.checkpoint)
        own = module.state_dict()
        weights = load_weights(path, self.prefix)
        table = StemTable(())
        if made := has_wavelength_embedding(weights):
            weights, table = as_plain_vit(weights, self.bands)
        published = _unwrapped(module, own, weights)
        given = {key: _flat(value, own[key]) for key, value in published.items() if key in own}
        share = _Share(own, given, {k: v for k, v in published.items() if k not in own})
        share.check(self.checkpoint, module, self.least)
        for stem in [] if made else self._find_stems(own, given, published, len(theirs)):
            given[stem], table = self._adapted(given[stem], theirs)
            self._check_frozen(module, stem, table)
        self._check_shapes(own, given)
        module.load_state_dict(given, strict=False)
        _keep(module, given)
        record: Any = {
            **(known.provenance(path) if known else {'sha256': file_sha256(path)}),
            'checkpoint': self.checkpoint,
            'matched': str(share),
            'stem': str(table),
            'bands': [row.ours for row in table.rows],
            'statistics': _statistics(known, table),
            'scale': known.scale if known else None,
        }
        module.pretrained_record = record
        logger.info('%s: %s\n%s', self.checkpoint, share, table)
        if hasattr(module, '_params_init_info'):
            names = ', '.join(row.ours for row in table.rows)
            about = f'{type(self).__name__}: {self.checkpoint}, stem for {names}'
            update_init_info(module, about)

    def _from_bands(self, known: PretrainedSet | None) -> Sequence[BandLike]:
        bands = self.from_bands or (known.bands if known else RGB)
        return bands[::-1] if self.channel_order == 'bgr' else bands

    def _find_stems(
        self,
        own: Mapping[str, Tensor],
        given: Mapping[str, Tensor],
        published: Mapping[str, Tensor],
        theirs: int,
    ) -> list[str]:
        """Names of the convolutions that take their bands there and ours here, in our order.

        More than one where a backbone has several paths from the image. With as many
        bands as theirs further layers may have this shape: then the first is taken.
        """
        ours = len(self.bands)
        fitting = [
            key
            for key in own
            if key in given
            and given[key].ndim > 3
            and any(
                (given[key].shape[1], own[key].shape[1]) == (theirs * pixels, ours * pixels)
                for pixels in PIXELS
            )
        ]
        if not fitting:
            raise self._no_stem(own, published, theirs)
        if theirs != ours or theirs == len(RGB):
            return fitting
        return [key for key in fitting if key.removeprefix('model.') in _STEMS] or fitting[:1]

    def _no_stem(
        self, own: Mapping[str, Tensor], published: Mapping[str, Tensor], theirs: int
    ) -> ConfigError:
        there = _first(published, theirs) or _first(
            {k: published[k] for k in own if k in published}
        )
        here = there if there in own else _first(own, len(self.bands)) or _first(own)
        return ConfigError(
            f'{self.checkpoint}: no first convolution from {theirs} bands to {len(self.bands)}'
            + (f'; {there} is {tuple(published[there].shape)}' if there else '')
            + (f', in the model {here} is {tuple(own[here].shape)}' if here else ''),
            f'{theirs} channels there (from_bands), and {len(self.bands)} in the model (bands)',
            'check in_channels and type of the model, bands and from_bands: weights of ResNet are '
            'not those of ResNetV1c, whose stem has three convolutions',
        )

    def _adapted(self, stem: Tensor, theirs: Sequence[BandLike]) -> tuple[Tensor, StemTable]:
        parts = [
            adapt_stem(part, theirs, self.bands, self.missing, self.lost, self.seed + number)
            for number, part in enumerate(stem.split(len(theirs), dim=1))
        ]
        return torch.cat([part for part, _ in parts], dim=1), parts[0][1]

    def _check_shapes(self, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
        differing = [
            f'{key} is {tuple(value.shape)}, in the model {tuple(own[key].shape)}'
            for key, value in given.items()
            if value.shape != own[key].shape
        ]
        if differing:
            raise ConfigError(
                f'{self.checkpoint}: {len(differing)} layers of other shapes: '
                f'{listed(differing, 5)}',
                'weights of this architecture, for other bands at most',
                'check depth and width of the model',
            )

    def _check_frozen(self, module: nn.Module, stem: str, table: StemTable) -> None:
        """Filters that start at random or at zero must not be frozen."""
        if self.missing not in ('random', 'zero') or not table.other:
            return
        fixed = not module.get_parameter(stem).requires_grad
        if fixed or getattr(module, 'frozen_stages', -1) > 0:
            raise ConfigError(
                f'{type(module).__name__} freezes its stem {stem}, whose filters for '
                f'{", ".join(table.other)} start from missing={self.missing!r} and would never '
                'be trained',
                'frozen_stages=-1',
                "or take missing='mean'",
            )


def registered(checkpoint: str) -> PretrainedSet | None:
    """The set of this name in the registry; None for files and addresses."""
    path = Path(checkpoint)
    if '://' in checkpoint or len(path.parts) != 1 or path.suffix in _SUFFIXES or path.is_file():
        return None
    return pretrained_set(checkpoint)


def _unwrapped(
    module: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights under the backbone's names: without the wrapper that most of them are in."""
    translate = getattr(module, 'own_names', dict)
    found = [
        translate({k.removeprefix(p): v for k, v in weights.items() if k.startswith(p)})
        for p in _wrappers(weights)
    ]
    return max(found, key=lambda named: sum(key in own for key in named))


def _wrappers(names: Iterable[str]) -> list[str]:
    """Beginnings such as ``module.backbone.``, the shortest first."""
    found = {''}
    for name in names:
        prefix = ''
        for part in name.split('.'):
            if part not in _WRAPPERS:
                break
            prefix += f'{part}.'
            found.add(prefix)
    return sorted(found, key=len)


def _first(weights: Mapping[str, Tensor], channels: int | None = None) -> str:
    """The first convolution, of so many channels; '' if there is none."""
    found = (
        key
        for key, value in weights.items()
        if value.ndim > 3 and channels in (None, *(value.shape[1] / pixels for pixels in PIXELS))
    )
    return next(found, '')


def _flat(value: Tensor, own: Tensor) -> Tensor:
    """Filters for a single image out of those for a series of one (Prithvi's)."""
    if value.ndim == 5 and own.ndim == 4 and value.shape[2] == 1:
        return value.squeeze(2)
    return value


class _Share:
    """How much of a backbone is in a checkpoint.

    Args:
        own: The backbone's weights.
        given: Those of the checkpoint that have the same names.
        left_over: The others in it.
    """

    def __init__(
        self,
        own: Mapping[str, Tensor],
        given: Mapping[str, Tensor],
        left_over: Mapping[str, Tensor],
    ) -> None:
        sizes = {k: v.numel() for k, v in own.items() if v.is_floating_point()}
        self.missing = [key for key in sizes if key not in given]
        self.left_over = [key for key in left_over if not key.startswith(_HEADS)]
        self.tensors = len(sizes) - len(self.missing), len(sizes)
        self.parameters = sum(n for k, n in sizes.items() if k in given), sum(sizes.values())
        self.unused = sum(left_over[key].numel() for key in self.left_over)

    def __str__(self) -> str:
        found = (
            f'{self.tensors[0]} of {self.tensors[1]} tensors and {self.parameters[0]:,} of '
            f'{self.parameters[1]:,} parameters of the backbone'
        )
        if self.missing:
            found += f'; missing: {listed(self.missing, 5)}'
        return found + (f'; left over: {listed(self.left_over, 5)}' if self.left_over else '')

    def check(self, checkpoint: str, module: nn.Module, least: float) -> None:
        """Refuses less than a share of the parameters.

        Warns of anything that is missing, or of as much in the checkpoint that is left over.
        """
        if self.parameters[0] < least * self.parameters[1]:
            raise ConfigError(
                f'{checkpoint} for {type(module).__name__}: {self}',
                f'at least {least:.0%} of the parameters',
                'check type and depth of the backbone, and prefix; for a backbone with layers '
                'of its own, which keep their other initialisation, set least',
            )
        if self.missing or self.unused > (1 - least) * self.parameters[1]:
            logger.warning('%s for %s: %s', checkpoint, type(module).__name__, self)


def _statistics(known: PretrainedSet | None, table: StemTable) -> list[list[float] | None]:
    """Mean and deviation of each of our bands as in their training, None for others."""
    if known is None or not known.mean or not known.std:
        return []
    return [None if k is None else [known.mean[k], known.std[k]] for k in table.same]


def _keep(module: nn.Module, loaded: Mapping[str, Tensor]) -> None:
    """Marks parts as initialised whose weights were all loaded.

    MMEngine lets the parts of a module initialise themselves after the module
    has; it knows by name that its own ``Pretrained`` has to come last.
    """
    for name, part in module.named_modules():
        weights = [f'{name}.{key}' for key, _ in part.named_parameters()]
        if name and weights and all(weight in loaded for weight in weights):
            part.is_init = True
