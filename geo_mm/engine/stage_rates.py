"""An optimiser whose learning rate grows from the backbone's first stage to the head."""

from collections.abc import Mapping

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from geo_mm.engine.stages import HEAD, backbone_stages, stage_rates
from geo_mm.errors import ConfigError
from geo_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


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
