"""Weights pretrained on RGB photographs, for imagery of other bands.

The first convolution of a pretrained network, its stem, holds one filter per
colour and feature. A stem for ``n`` bands keeps them where red, green and blue
stand and fills those of the ``K`` other bands by a rule:

===========  ==================================================================
``extra``    filter of each other band
===========  ==================================================================
``mean``     ``d * (w_red + w_green + w_blue) / 3``
``red``      ``d * w_red``, for bands that look like red
``zero``     ``0``: the other bands start unseen, and are learnt
``random``   ``d * N(0, s)``, with the standard deviation ``s`` of the RGB stem
===========  ==================================================================

with the damping ``d = (1/3 + M) / K``, where ``M`` is the number of colours
that the imagery lacks, mostly 0: the other bands together weigh as much as the
missing colours and a third of one more. If all bands, normalised, show the
same, the response under ``mean`` is 1 + 1/9 times the RGB network's; if they
are independent and ``M`` is 0, its standard deviation grows by less than 2 %.
The colours' filters are not scaled, so where the other bands are at their
mean, hence 0 after normalisation, the features are those of the RGB network.
"""

import logging
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import update_init_info
from torch import Tensor, nn

from geo_mm.errors import ConfigError, listed
from geo_mm.models.checkpoints import load_weights
from geo_mm.models.stems import PIXELS
from geo_mm.registry import WEIGHT_INITIALIZERS

logger = logging.getLogger(__name__)

EXTRA_RULES = ('mean', 'red', 'zero', 'random')


def inflate(
    stem: Tensor,
    bands: Sequence[str],
    rgb: Sequence[str | None] = ('red', 'green', 'blue'),
    extra: str = 'mean',
    generator: torch.Generator | None = None,
) -> Tensor:
    """A stem for any bands from one for red, green and blue.

    Args:
        stem: Convolution weights ``(features, 3, height, width)``, colours in
            the order red, green, blue.
        bands: Names of the bands, in the order that the model gets them.
        rgb: The bands that take the filters of red, green and blue; None for
            a colour that is not there. Names are compared without case.
        extra: Rule for the other bands, one of :data:`EXTRA_RULES`.
        generator: Source of randomness, for ``'random'`` only.

    Returns:
        Convolution weights ``(features, len(bands), height, width)``.

    Raises:
        ConfigError: If a band of ``rgb`` is not, or not only once, in
            ``bands``, or the rule is unknown.
    """
    places = _places(bands, rgb)
    others = [i for i in range(len(bands)) if i not in places]
    weights = stem.new_zeros((stem.shape[0], len(bands), *stem.shape[2:]))
    for colour, place in enumerate(places):
        if place is not None:
            weights[:, place] = stem[:, colour]
    if others:
        filters = _extra_filters(stem, len(others), extra, generator)
        weights[:, others] = filters * (1 / 3 + places.count(None)) / len(others)
    return weights


def _places(bands: Sequence[str], rgb: Sequence[str | None]) -> list[int | None]:
    """Where in ``bands`` red, green and blue stand."""
    names = [band.lower() for band in bands]
    wanted = [None if name is None else name.lower() for name in rgb]
    wrong = [name for name in rgb if name is not None and names.count(name.lower()) != 1]
    twice = len(set(wanted) - {None}) < len(wanted) - wanted.count(None)
    if wrong or twice or len(rgb) != 3:
        raise ConfigError(
            f'pretrained filters for rgb={tuple(rgb)}, and the bands are {tuple(bands)}',
            'each of the three once among the bands',
            'name the bands that take the red, green and blue filters with '
            "rgb=('B4', 'B3', 'B2'), None for a colour that is not there",
        )
    return [None if name is None else names.index(name) for name in wanted]


def _extra_filters(
    stem: Tensor, count: int, rule: str, generator: torch.Generator | None
) -> Tensor:
    """Filters ``(features, count, height, width)`` before damping."""
    shape = (stem.shape[0], count, *stem.shape[2:])
    if rule == 'mean':
        return stem.mean(dim=1, keepdim=True).expand(shape)
    if rule == 'red':
        return stem[:, :1].expand(shape)
    if rule == 'zero':
        return stem.new_zeros(shape)
    if rule == 'random':
        return torch.randn(shape, generator=generator, dtype=stem.dtype) * stem.std()
    raise ConfigError(f'inflation with extra={rule!r}', f'one of {", ".join(EXTRA_RULES)}')


@WEIGHT_INITIALIZERS.register_module()
class InflatedPretrained:
    """Starts a backbone from RGB weights, whatever bands it takes.

    Where ``Pretrained`` merely logs that the stem's shape differs and leaves
    it random, this inflates it, see :func:`inflate`, and accepts no other
    difference of shapes::

        backbone = dict(
            type='ResNet',
            depth=50,
            in_channels=4,
            init_cfg=dict(
                type='geo_mm.InflatedPretrained',
                checkpoint='torchvision://resnet50',
                bands=('red', 'green', 'blue', 'nir'),
            ),
        )

    It belongs on the backbone, or anything else with one stem. Weights of the
    model that are not in the checkpoint keep their other initialisation: give
    a list, as ``[dict(type='Kaiming', layer='Conv2d'), dict(type='geo_mm...')]``.

    Args:
        checkpoint: See :func:`geo_mm.models.checkpoints.load_weights`. It should
            have been trained on normalised images, as torchvision's are.
        bands: Names of the bands, in the order that the model gets them.
        extra: Rule for bands that are no colour: ``'mean'``, ``'red'``,
            ``'zero'`` or ``'random'``.
        rgb: The bands that take the filters of red, green and blue.
        channel_order: Of the images the checkpoint was trained on: ``'rgb'``,
            or ``'bgr'`` for those of Caffe.
        prefix: Of the weights to take, ``'backbone.'`` from a detector's.
        seed: For ``'random'``.

    Raises:
        ConfigError: If the checkpoint cannot be read or does not fit, or if
            filters that have learnt nothing would stay frozen.
    """

    def __init__(
        self,
        checkpoint: str,
        bands: Sequence[str],
        extra: str = 'mean',
        rgb: Sequence[str | None] = ('red', 'green', 'blue'),
        channel_order: str = 'rgb',
        prefix: str = '',
        seed: int = 0,
    ) -> None:
        if extra not in EXTRA_RULES or channel_order not in ('rgb', 'bgr'):
            raise ConfigError(
                f'InflatedPretrained with extra={extra!r}, channel_order={channel_order!r}',
                f"extra one of {', '.join(EXTRA_RULES)}; channel_order 'rgb' or 'bgr'",
            )
        _places(bands, rgb)
        self.checkpoint = checkpoint
        self.bands = tuple(bands)
        self.extra = extra
        self.rgb = tuple(rgb)
        self.channel_order = channel_order
        self.prefix = prefix
        self.seed = seed

    def __call__(self, module: nn.Module) -> None:
        own = module.state_dict()
        given = {
            key: value
            for key, value in load_weights(self.checkpoint, self.prefix).items()
            if key in own
        }
        stems = self._find_stems(own, given)
        self._check_frozen(module, stems)
        for stem in stems:
            given[stem] = self._inflated(given[stem])
        self._check_shapes(own, given)
        module.load_state_dict(given, strict=False)
        missing = [k for k in own if k not in given and not k.endswith('num_batches_tracked')]
        if missing:
            logger.warning(
                '%s does not hold %d weights of %s, which keep their other initialisation: %s',
                self.checkpoint,
                len(missing),
                type(module).__name__,
                listed(missing, 5),
            )
        _keep(module, given)
        if hasattr(module, '_params_init_info'):
            update_init_info(
                module,
                f'{type(self).__name__}: {self.checkpoint}, stem for {", ".join(self.bands)}',
            )

    def _find_stems(self, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
        """Names of the convolutions that take colours there and bands here."""
        stems = [
            key
            for key, value in given.items()
            if value.ndim == 4
            and any(
                value.shape[1] == 3 * pixels and own[key].shape[1] == len(self.bands) * pixels
                for pixels in PIXELS
            )
        ]
        if stems:
            return stems
        inputs = [key for key, value in given.items() if value.ndim == 4 and value.shape[1] == 3]
        raise ConfigError(
            f'{self.checkpoint}: {len(given)} weights of the names the model has, '
            + (f'taking 3 channels: {listed(inputs, 5)}' if inputs else 'none taking 3 channels')
            + ''.join(f'; in the model {key} is {tuple(own[key].shape)}' for key in inputs[:1]),
            f'one first convolution, with {len(self.bands)} input channels in the model for '
            f'the bands {", ".join(self.bands)}',
            'check in_channels of the model, bands and prefix; weights for the same bands '
            "are loaded with type='Pretrained'",
        )

    def _inflated(self, stem: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        pixels = stem.split(3, dim=1)
        if self.channel_order == 'bgr':
            pixels = [colours.flip(1) for colours in pixels]
        return torch.cat(
            [inflate(part, self.bands, self.rgb, self.extra, generator) for part in pixels], dim=1
        )

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
                'weights of this architecture, for another number of bands at most',
                'check depth and width of the model',
            )

    def _check_frozen(self, module: nn.Module, stems: Sequence[str]) -> None:
        """Filters that start at random or at zero must not be frozen."""
        if self.extra not in ('random', 'zero'):
            return
        fixed = [stem for stem in stems if not module.get_parameter(stem).requires_grad]
        if fixed or getattr(module, 'frozen_stages', -1) > 0:
            raise ConfigError(
                f'{type(module).__name__} freezes its stem {stems[0]}, whose extra bands start '
                f'from extra={self.extra!r} and would never be trained',
                'frozen_stages=-1',
                "or take extra='mean'",
            )


def _keep(module: nn.Module, loaded: Mapping[str, Tensor]) -> None:
    """Marks parts as initialised whose weights were all loaded.

    MMEngine lets the parts of a module initialise themselves after the module
    has; it knows by name that its own ``Pretrained`` has to come last.
    """
    for name, part in module.named_modules():
        weights = [f'{name}.{key}' for key, _ in part.named_parameters()]
        if name and weights and all(weight in loaded for weight in weights):
            part.is_init = True
