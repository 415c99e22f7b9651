"""Pretrained weights: all of them match, or the run does not start."""

from collections.abc import Iterable, Mapping, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from geo_mm.errors import ConfigError
from geo_mm.models.weights import Shape, mismatches
from geo_mm.registry import HOOKS


@HOOKS.register_module()
class StartWeightsHook(Hook):
    """Loads the checkpoint of ``load_from`` without the layers to drop.

    MMEngine loads what fits and merely logs the rest, so a network may start
    at random unnoticed. Here names and shapes must agree. Where they are not
    meant to, because the classes are others, say which parts::

        load_from = 'work_dirs/town/iter_2000.pth'
        default_hooks = dict(
            start_weights=dict(drop=['decode_head.conv_seg', 'auxiliary_head.conv_seg'])
        )

    Those keep their random weights. Resuming and testing are not concerned.

    Args:
        drop: Names of modules, as in ``state_dict()``.

    Raises:
        ConfigError: If weights differ, or nothing has such a name.
    """

    # Before mmengine's EMAHook, which copies what is left.
    priority = 'VERY_HIGH'

    def __init__(self, drop: Sequence[str] = ()) -> None:
        self.drop = tuple(drop)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # A test run would lose the very head that it is to test.
        training = isinstance(runner._train_loop, BaseLoop)
        if runner._resume or not training:
            return
        weights = checkpoint.get('state_dict', checkpoint)
        model = getattr(runner.model, 'module', runner.model)
        self._check_drop([*model.state_dict(), *(key.removeprefix('module.') for key in weights)])
        differing = {
            key: shapes
            for key, shapes in mismatches(model, weights).items()
            if not self._is_dropped(key) and not key.endswith('num_batches_tracked')
        }
        if differing:
            raise _mismatch(runner._load_from, differing)
        for key in list(weights):
            if self._is_dropped(key.removeprefix('module.')):
                del weights[key]
        if self.drop:
            runner.logger.info(
                f'Randomly initialised, not loaded from {runner._load_from}: {", ".join(self.drop)}'
            )

    def _is_dropped(self, key: str) -> bool:
        return any(f'{key}.'.startswith(f'{name}.') for name in self.drop)

    def _check_drop(self, keys: Iterable[str]) -> None:
        for name in self.drop:
            if not any(f'{key}.'.startswith(f'{name}.') for key in keys):
                raise ConfigError(
                    f'StartWeightsHook: drop names {name!r}, and neither the model nor the '
                    'checkpoint has such weights',
                    'the beginning of a name as in state_dict(), such as decode_head.conv_seg',
                )


def _mismatch(checkpoint: str, differing: Mapping[str, tuple[Shape, Shape]]) -> ConfigError:
    """Names the layers, and how to leave them out."""
    layers = list(dict.fromkeys(key.rpartition('.')[0] for key in differing))
    shown = [
        f'{key} is {"missing" if given is None else given}, '
        f'in the model {"absent" if own is None else own}'
        for key, (own, given) in list(differing.items())[:5]
    ]
    more = f' and {len(differing) - 5} more' if len(differing) > 5 else ''
    return ConfigError(
        f'{checkpoint}: {len(differing)} weights do not fit the model: {"; ".join(shown)}{more}',
        'load_from with weights of the same model, except for dropped layers',
        'to initialise these layers randomly, set '
        f'default_hooks=dict(start_weights=dict(drop={layers[:8]})); for a backbone alone, or '
        'other bands, use geo_mm.InflatedPretrained as its init_cfg',
    )
