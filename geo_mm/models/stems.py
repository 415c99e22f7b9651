"""Stems: the first convolutions of a backbone, which take the bands.

Many backbones of MMDetection and MMSegmentation are made for three colours:
``CSPNeXt``, ``CSPDarknet``, ``EfficientNet`` and others have no argument for
bands. Here any of them gets other first convolutions after it is built; all
else, names of weights included, stays as it is.
"""

import inspect
from collections.abc import Mapping

from mmengine.config import ConfigDict
from mmengine.model import BaseModule, initialize
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS

COLOURS = 3
PIXELS = (1, 4)
"""Pixels that a stem takes as channels: 4 where 2 x 2 of them are stacked before (Focus)."""


@MODELS.register_module()
def AnyBands(backbone: Mapping, in_channels: int) -> nn.Module:  # noqa: N802
    """Builds a backbone, and makes its stem take any number of bands.

    In a config it stands around the backbone's own::

        backbone = dict(
            type='geo_mm.AnyBands', in_channels=4, backbone=dict(type='CSPNeXt', ...)
        )

    which :func:`fit_bands` does for configs that have means of 4 bands, so
    that it need not be written.

    A ``geo_mm.AdaptedPretrained`` in ``init_cfg`` is obeyed also by backbones
    that initialise themselves and support no other kind of weights but
    ``Pretrained``, such as the Swin transformer.

    Args:
        backbone: Its config.
        in_channels: Number of bands.

    Raises:
        ConfigError: If no convolution on the image is found among some.
    """
    built = ROOT_MODELS.build(dict(backbone))
    if 'in_channels' not in backbone:
        replace_stem(built, in_channels)
    if _initialises_itself(type(built)):
        _obey_init_cfg(built)
    return built


def replace_stem(backbone: nn.Module, bands: int) -> None:
    """Changes the convolutions on the image, in place; their weights start at random.

    A backbone that has no convolution, or whose first takes these bands
    already, stays as it is.

    Raises:
        ConfigError: If the first convolution takes neither three colours nor these bands.
    """
    stems = find_stems(backbone)
    if not stems:
        first = next((m for m in backbone.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None or first.in_channels in [bands * pixels for pixels in PIXELS]:
            return
        raise ConfigError(
            f'no convolution on the image found in the backbone {type(backbone).__name__}, '
            f'and the imagery has {bands} bands',
            f'a Conv2d that takes {COLOURS} channels',
            'take a backbone with in_channels, or write one, see docs/en/extending.md',
        )
    for stem, pixels in stems.values():
        stem.in_channels = bands * pixels
        stem.weight = nn.Parameter(
            stem.weight.new_empty(stem.out_channels, stem.in_channels, *stem.kernel_size)
        )
        stem.reset_parameters()


def find_stems(backbone: nn.Module) -> dict[str, tuple[nn.Conv2d, int]]:
    """Convolutions on an image of three colours, and the pixels that each takes as channels.

    More than one where a backbone has several paths from the image, as BiSeNet.
    """
    convolutions = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    }
    on_colours = {
        name: (module, 1) for name, module in convolutions.items() if module.in_channels == COLOURS
    }
    first = next(iter(convolutions), None)
    if on_colours or first is None:
        return on_colours
    pixels, rest = divmod(convolutions[first].in_channels, COLOURS)
    return {first: (convolutions[first], pixels)} if pixels in PIXELS and not rest else {}


def fit_bands(model: ConfigDict) -> None:
    """Gives the backbone in a model's config as many bands as there are means.

    Sets ``in_channels`` where it is missing, and wraps backbones that know no
    such argument in :func:`AnyBands`.

    Args:
        model: Config of a model; changed in place. In the default scope.

    Raises:
        ConfigError: If ``in_channels`` is there and another number.
    """
    backbone = model.get('backbone') or {}
    mean = (model.get('data_preprocessor') or {}).get('mean')
    bands = backbone.get('in_channels', len(mean) if mean else COLOURS)
    if mean and isinstance(bands, int) and bands != len(mean):
        raise ConfigError(
            f'model.backbone.in_channels is {bands}, and model.data_preprocessor has '
            f'{len(mean)} means',
            'one mean, one standard deviation and one input channel per band',
            f'set in_channels={len(mean)} in the backbone, which its base config may set to 3',
        )
    kind = backbone.get('type')
    with ROOT_MODELS.switch_scope_and_registry(None) as models:
        made = models.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(made):
        return
    if _has_argument(made):
        backbone.setdefault('in_channels', bands)
        if not (_initialises_itself(made) and 'AdaptedPretrained' in str(backbone.get('init_cfg'))):
            return
    else:
        backbone.pop('in_channels', None)
        if bands == COLOURS:
            return
    model.backbone = ConfigDict(type='geo_mm.AnyBands', in_channels=bands, backbone=backbone)


def _has_argument(backbone: type) -> bool:
    """Whether a class, or one that it passes arguments on to, takes ``in_channels``."""
    return any(
        'in_channels' in inspect.signature(vars(owner)['__init__']).parameters
        for owner in backbone.__mro__
        if '__init__' in vars(owner)
    )


def _initialises_itself(backbone: type) -> bool:
    own = getattr(backbone, 'init_weights', None)
    return own is not None and own is not BaseModule.init_weights


def _obey_init_cfg(backbone: BaseModule) -> None:
    """Lets ``init_weights`` do its own, and then what ``init_cfg`` says of adapted weights."""
    given = backbone.init_cfg
    every = [given] if isinstance(given, Mapping) else list(given or ())
    adapted = [cfg for cfg in every if 'AdaptedPretrained' in str(cfg['type'])]
    if not adapted:
        return
    rest = [cfg for cfg in every if cfg not in adapted]
    own = backbone.init_weights

    def init_weights() -> None:
        backbone.init_cfg = (rest[0] if len(rest) == 1 else rest) or None
        own()
        backbone.init_cfg = given
        initialize(backbone, adapted)

    backbone.init_weights = init_weights
