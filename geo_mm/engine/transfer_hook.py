"""Freezes a pretrained backbone, and unfreezes it from its last stage."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geo_mm.engine.stages import HEAD, backbone_stages
from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS


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
    """The first convolution, if inflation gave it filters that are not pretrained."""
    if any(cfg.get('extra') in ('random', 'zero') for cfg in _init_cfgs(backbone)):
        return next(p for p in backbone.parameters() if p.ndim == 4)
    return None
