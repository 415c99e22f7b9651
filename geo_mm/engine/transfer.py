"""Transfer learning by the stages of a backbone: their learning rates, and freezing them.

Transfer learning treats a network by stages: early ones see edges and colours
and are kept, late ones see objects and are trained again.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS

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
    alike = len({type(item) for item in child}) == 1
    return isinstance(child, nn.ModuleList) or alike or name == 'stages'


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

    Examples:
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


@dataclass(frozen=True)
class Unfreezing:
    """When to unfreeze how many stages of a backbone.

    Args:
        begin: Iterations (or epochs) trained before; a float below 1 is a
            share of the whole run.
        last: How many stages learn from then on, counted from the last; None
            for all.
    """

    begin: int | float
    last: int | None = None


@HOOKS.register_module()
class TransferHook(Hook):
    """Freezes the backbone, and unfreezes its last stages in the course of training.

    Head, neck and decoder always learn. Frozen stages get no gradients and no
    weight decay, and run as in prediction: dropout off, batch norm with the
    statistics it has. All parameters are in the optimiser from the start, and
    what is frozen depends on the iteration alone, so a resumed run continues as
    if it had not been interrupted.

    At the start and at each unfreezing the log says what learns, at which rate.

    Example::

        custom_hooks = [dict(type='geo_mm.TransferHook', unfreeze=[dict(begin=0.25, last=2)])]

    Args:
        unfreeze: Arguments of :class:`Unfreezing`, in order of time. None of
            them: the backbone stays frozen.
        by_epoch: Whether ``begin`` counts epochs.
        norm_eval: Keeps the statistics of the backbone's batch norm also where
            it learns; scale and shift learn in any case. Few chips per batch
            and a short training spoil statistics more than they correct them.

    Raises:
        ConfigError: If the backbone's stages are not known, there are not as
            many, an unfreezing never happens, a backbone is frozen that has
            learnt nothing, or it freezes itself by ``frozen_stages``.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self, unfreeze: Sequence[Mapping] = (), by_epoch: bool = False, norm_eval: bool = True
    ) -> None:
        self.unfreeze = [Unfreezing(**step) for step in unfreeze]
        self.by_epoch = by_epoch
        self.norm_eval = norm_eval
        self._loaded = False
        self._learning = -1  # not yet known

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._loaded = True

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        self._stages = backbone_stages(model)
        # What the config itself holds fixed stays so.
        self._learnable = {
            name: [p for part in parts for p in part.parameters() if p.requires_grad]
            for name, parts in self._stages.items()
        }
        inside = {id(p) for part in self._learnable.values() for p in part}
        self._head = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
        self._stem = _random_stem(model.backbone)
        self._steps = self._resolved(runner.max_epochs if self.by_epoch else runner.max_iters)
        self._check(model)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        now = runner.epoch if self.by_epoch else runner.iter
        learning = self._learning_at(now)
        if learning != self._learning:
            self._learning = learning
            self._apply()
            runner.logger.info(self._description(now, runner.optim_wrapper.param_groups))
        # The loop has just set the whole model to training.
        for module in self._held:
            module.eval()

    def _resolved(self, end: int) -> list[tuple[int, int]]:
        """``(begin, number of trained stages)`` of each unfreezing."""
        unit, steps = 'epochs' if self.by_epoch else 'iterations', []
        for step in self.unfreeze:
            share = isinstance(step.begin, float) and 0 < step.begin < 1
            begin = round(step.begin * end) if share else step.begin
            last = len(self._stages) if step.last is None else step.last
            if not 0 <= begin < end or begin != int(begin):
                raise ConfigError(
                    f'TransferHook: unfreezing at begin={step.begin}, of {end} {unit}',
                    f'a number of {unit} before the end, or a share below 1.0',
                )
            if not 0 < last <= len(self._stages):
                raise ConfigError(
                    f'TransferHook: unfreezing the last {last} stages',
                    f'1 to {len(self._stages)}, the stages being {", ".join(self._stages)}',
                )
            steps.append((int(begin), last))
        if any(a >= c or b >= d for (a, b), (c, d) in itertools.pairwise(steps)):
            raise ConfigError(
                f'TransferHook: unfreezings at {steps} ({unit}, stages)', 'ever later and more'
            )
        return steps

    def _check(self, model: nn.Module) -> None:
        backbone: Any = model.backbone
        if getattr(backbone, 'frozen_stages', -1) >= 0:
            raise ConfigError(
                f'TransferHook, and {type(backbone).__name__} with '
                f'frozen_stages={backbone.frozen_stages}: both would freeze',
                'one of them',
                'set model.backbone.frozen_stages=-1',
            )
        pretrained = self._loaded or any(map(_is_pretrained, _init_cfgs(model, backbone)))
        if self._learning_at(0) < len(self._stages) and not pretrained:
            raise ConfigError(
                f'TransferHook freezes stages of {type(backbone).__name__}, which is not '
                'pretrained: its weights are randomly initialised',
                'pretrained weights',
                'set load_from, or init_cfg of the backbone, or train from scratch',
            )

    def _learning_at(self, now: int) -> int:
        """How many stages are trained, counted from the last."""
        return max((last for begin, last in self._steps if begin <= now), default=0)

    def _apply(self) -> None:
        """Unfreezes the last stages only, and notes what stays in eval mode."""
        first = len(self._stages) - self._learning
        self._held: list[nn.Module] = []
        for number, (name, parts) in enumerate(self._stages.items()):
            for parameter in self._learnable[name]:
                parameter.requires_grad = number >= first or parameter is self._stem
            if number < first:
                self._held += parts
            elif self.norm_eval:
                self._held += [
                    m for part in parts for m in part.modules() if isinstance(m, _BatchNorm)
                ]

    def _description(self, now: int, groups: Iterable[Mapping]) -> str:
        rates = {id(p): group['lr'] for group in groups for p in group['params']}
        lines = [
            f'Transfer: from {"epoch" if self.by_epoch else "iteration"} {now} on, '
            f'{self._learning} of {len(self._stages)} stages of the backbone are trained'
            + (', batch norm keeps its statistics' if self.norm_eval else '')
        ]
        parts = {HEAD: self._head, **dict(reversed(self._learnable.items()))}
        for name, parameters in parts.items():
            learning = [p for p in parameters if p.requires_grad]
            frozen = _count(parameters) - _count(learning)
            found = sorted({rates[id(p)] for p in learning if id(p) in rates})
            shares = []
            if learning:
                rate = ' and '.join(f'{rate:.2e}' for rate in found)
                shares.append(f'{_count(learning):>12,} weights at lr {rate}')
            if frozen:
                shares.append(f'{frozen:>12,} frozen')
            lines.append(f'  {name:<16}{"".join(shares)}')
        return '\n'.join(lines)


def _count(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters)


def _init_cfgs(*modules: nn.Module) -> list[Mapping]:
    """What the config says of how modules are initialised."""
    found = [getattr(module, 'init_cfg', None) or [] for module in modules]
    return [cfg for cfgs in found for cfg in ([cfgs] if isinstance(cfgs, Mapping) else cfgs)]


def _is_pretrained(init_cfg: Mapping) -> bool:
    return 'Pretrained' in str(init_cfg['type'])  # a name, or the class itself


def _random_stem(backbone: nn.Module) -> nn.Parameter | None:
    """The first convolution, if bands of ours may have filters that are not pretrained."""
    if any(cfg.get('missing') in ('random', 'zero') for cfg in _init_cfgs(backbone)):
        return next(p for p in backbone.parameters() if p.ndim == 4)
    return None
