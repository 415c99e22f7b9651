"""Resuming goes on with the same run; it does not make another one of it."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner

from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS


@HOOKS.register_module()
class SameRunHook(Hook):
    """Refuses to resume into a config with another learning rate schedule.

    MMEngine restores the schedule of the checkpoint without a word. A short
    run that is resumed with a larger ``max_iters`` would train on with the
    rate that it ended with, which is next to nothing.

    Raises:
        ConfigError: If a scheduler of the checkpoint begins or ends elsewhere.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume or 'param_schedulers' not in checkpoint:
            return
        then = list(_spans(checkpoint['param_schedulers']))
        now = list(_spans(_states(runner.param_schedulers)))
        if then != now:
            raise ConfigError(
                f'--resume: the learning rate schedule of the checkpoint runs {_text(then)}, '
                f'that of the config {_text(now)}',
                'the settings with which the run was started',
                'a finished run cannot be made longer: start another from its weights, '
                'with load_from=... and another --work-dir',
            )


def _states(schedulers: list | dict | None) -> list | dict:
    if isinstance(schedulers, dict):
        return {name: _states(part) for name, part in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers or ()]


def _spans(states: list | dict) -> Iterator[tuple[int, int]]:
    """First and last step of each scheduler."""
    for part in states.values() if isinstance(states, dict) else [states]:
        yield from ((state['begin'], state['end']) for state in part)


def _text(spans: list[tuple[int, int]]) -> str:
    return ', '.join(f'from {begin} to {end}' for begin, end in spans) or 'nowhere'
