"""The stages of a backbone, from the image to the coarsest features, and their learning rates.

Transfer learning treats a network by stages: early ones see edges and colours
and are kept, late ones see objects and are trained again.
"""

from collections.abc import Iterator, Mapping

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from geo_mm.errors import ConfigError
from geo_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

HEAD = 'head'
"""Name of everything that no stage holds: necks, decoders and heads."""

STEM = 'stem'
"""Name of the first stage, where it is more than an item of a list of stages."""

Stages = dict[str, list[nn.Module]]
"""Modules by name of their stage, the earliest first."""


def backbone_stages(model: nn.Module) -> Stages:
    """The stages of a detector's or segmentor's backbone, the earliest first.

    Read off the structure that backbones share. Layers on the image come
    first, then either one child per stage (``layer1`` of a ResNet) or a list of
    stages (``stages`` of a Swin transformer). Lists of one length go together,
    such as the downsamplings and the blocks of ConvNeXt. In a chain of single
    layers, as VGG is, a stage ends with each pooling. Norms belong to what is
    before them. A decoder inside the backbone, as in ``mmseg.UNet``, counts as
    head.

    Args:
        model: May be wrapped for distributed training.

    Returns:
        Modules by name of their stage. What they do not hold is the head.

    Raises:
        ConfigError: If there is no backbone, or it is a single layer.
    """
    model = getattr(model, 'module', model)
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        raise ConfigError(f'{type(model).__name__} has no backbone', 'a model with a backbone')
    stages: Stages = {}
    for name, modules in _parts(backbone):
        last = stages.get(next(reversed(stages), ''), [])
        norms = all(p.ndim == 1 for module in modules for p in module.parameters())
        more_stem = list(stages) == [STEM] and not any(map(_has_children, [*last, *modules]))
        if last and (norms or more_stem):
            last += modules
        else:
            stages[name if stages or '.' in name else STEM] = modules
    if len(stages) < 2:
        raise ConfigError(
            f'the backbone {type(backbone).__name__} has no stages',
            'several layers, or groups of layers, one after the other',
        )
    return stages


def _parts(module: nn.Module) -> Iterator[tuple[str, list[nn.Module]]]:
    """Names and contents of the parts that a backbone passes one after the other.

    Names of items of a list have a dot.
    """
    children = {
        name: child
        for name, child in module.named_children()
        if not name.startswith('decoder') and any(True for _ in child.parameters())
    }
    direct = list(module.parameters(recurse=False))  # such as embeddings of positions
    if len(children) == 1 and not direct:
        name, child = next(iter(children.items()))
        if isinstance(child, nn.Sequential) and not any(map(_has_children, child)):
            yield from _between_poolings(child)
            return
        if not isinstance(child, nn.ModuleList):
            yield from _parts(child)
            return
    lists: dict[str, nn.ModuleList | nn.Sequential] = {
        name: child
        for name, child in children.items()
        if isinstance(child, nn.ModuleList | nn.Sequential) and _is_list(name, child)
    }
    start = next(iter(children), None)
    if start is not None and isinstance(children[start], nn.Sequential):
        lists.pop(start, None)  # layers on the image
    if direct:
        first = [] if start in lists or start is None else [children.pop(start)]
        yield STEM, [nn.ParameterList(direct), *first]
    for name, child in children.items():
        if name not in lists:
            yield name, [child]
            continue
        together = [key for key, other in lists.items() if len(other) == len(lists[name])]
        if name == together[0]:
            yield from _side_by_side({key: lists[key] for key in together})


def _is_list(name: str, child: nn.ModuleList | nn.Sequential) -> bool:
    """Whether a child lists stages; those that bear a number are a stage themselves."""
    if name[-1].isdigit():
        return False
    return isinstance(child, nn.ModuleList) or len({type(item) for item in child}) == 1


def _side_by_side(
    lists: dict[str, nn.ModuleList | nn.Sequential],
) -> Iterator[tuple[str, list[nn.Module]]]:
    """Items of lists of equal length by index; the first of the first is the stem."""
    name = max(lists, key=lambda key: sum(p.numel() for p in lists[key].parameters()))
    for index, (first, *others) in enumerate(zip(*lists.values(), strict=True)):
        if index == 0 and others:
            yield STEM, [first]
            yield f'{name}.0', others
        else:
            yield f'{name}.{index}', [first, *others]


def _between_poolings(layers: nn.Sequential) -> Iterator[tuple[str, list[nn.Module]]]:
    """Layers of a chain up to each pooling."""
    stage: list[nn.Module] = []
    number = 1
    for layer in layers:
        stage.append(layer)
        if 'Pool' in type(layer).__name__:
            yield f'stage.{number}', stage
            stage, number = [], number + 1
    if stage:
        yield f'stage.{number}', stage


def _has_children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def stage_rates(count: int, first: float) -> list[float]:
    """Multipliers of the learning rate for ``count`` stages; that of the head is 1.

    A geometric series (Howard and Ruder 2018, arXiv:1801.06146, who found a
    factor of 2.6 from layer to layer).

    Args:
        count: Number of stages.
        first: Multiplier of the earliest stage, above 0.

    Example:
        >>> stage_rates(2, 0.01)
        [0.01, 0.1]
    """
    return [first ** (1 - number / count) for number in range(count)]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StageRateConstructor(DefaultOptimWrapperConstructor):
    """Gives each stage of the backbone a learning rate of its own.

    The head, which is everything that is no stage of the backbone, learns at
    the optimiser's ``lr``, the earliest stage at ``first`` times that, the
    others in a geometric series between. Biases and the weights of norms,
    which is all that has one dimension, do not decay.

    Each stage is a group of parameters, with its name in ``group['stage']``,
    the head first: the log shows its rate as ``lr``. Schedulers that multiply
    keep the proportions; instead of mmengine's ``OneCycleLR``, which sets one
    rate for all, take ``geo_mm.OneCycleLR``.

    Example::

        optim_wrapper = dict(
            constructor='geo_mm.StageRateConstructor', paramwise_cfg=dict(first=0.1)
        )

    Args:
        optim_wrapper_cfg: Of the optimiser's wrapper, with ``optimizer``.
        paramwise_cfg: ``first``, by default 0.1, above 0 and at most 1.

    Raises:
        ConfigError: If ``paramwise_cfg`` says anything else, the optimiser has
            no ``lr``, or the backbone's stages are not known.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Mapping | None = None) -> None:
        settings = {'first': 0.1, **(paramwise_cfg or {})}
        super().__init__(optim_wrapper_cfg, settings)
        if set(settings) != {'first'} or not 0 < settings['first'] <= 1:
            raise ConfigError(
                f'StageRateConstructor with paramwise_cfg={dict(paramwise_cfg or {})}',
                'paramwise_cfg=dict(first=...), above 0 and at most 1',
            )
        if self.base_lr is None:
            raise ConfigError('StageRateConstructor, but the optimizer has no lr', 'lr=...')

    def add_params(self, params: list[dict], module: nn.Module, **_) -> None:
        """Adds the parameter groups of a whole model to ``params``."""
        stages = backbone_stages(module)
        rates = dict(
            zip(stages, stage_rates(len(stages), self.paramwise_cfg['first']), strict=True)
        )
        rates[HEAD] = 1.0
        stage_of = {
            parameter: name
            for name, parts in stages.items()
            for part in parts
            for parameter in part.parameters()
        }
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {
            (name, decays): [] for name in reversed(rates) for decays in (True, False)
        }
        for parameter in module.parameters():
            if parameter.requires_grad:
                groups[stage_of.get(parameter, HEAD), parameter.ndim > 1].append(parameter)
        for (name, decays), members in groups.items():
            if not members:
                continue
            group = {'params': members, 'lr': self.base_lr * rates[name], 'stage': name}
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd if decays else 0.0
            params.append(group)
