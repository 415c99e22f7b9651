"""Saving of checkpoints, and resuming the run that wrote them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.runner import Runner

from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """``mmengine.CheckpointHook`` that also saves early, and when training is stopped.

    Stopping by Ctrl-C or SIGTERM needs :class:`geo_mm.engine.runner.Runner`,
    which the tools use.

    Args:
        first: Iterations after which the first checkpoint is written, so that
            a mistake in the set-up shows soon; 0 for none.
        **kwargs: Of ``mmengine.CheckpointHook``.
    """

    def __init__(self, *args, first: int = 50, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.first = first

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Saves, and stops the run if that was asked for."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        done = runner.iter + 1
        if getattr(runner, 'stop_signal', None) is not None:
            self._save_and_stop(runner, done)
        elif done == self.first and not self.by_epoch and done % self.interval:
            self._save_checkpoint(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Stops the run between two batches of validation, too."""
        if getattr(runner, 'stop_signal', None) is not None and hasattr(self, 'file_backend'):
            self._save_and_stop(runner, runner.iter)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        missing = [name for name in self.save_best or () if name not in {*metrics, 'auto'}]
        if missing:
            runner.logger.warning(
                f'no best checkpoint: CheckpointHook has save_best={missing[0]!r}, and validation '
                f'gives {", ".join(metrics)}'
            )
            return
        # The best score goes into the checkpoint, which holds plain data only.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in metrics.items()
        }
        super()._save_best_checkpoint(runner, plain)

    def _save_and_stop(self, runner: Runner, done: int) -> None:
        if runner.rank > 0:
            return  # until rank 0 has left
        meta = dict(epoch=runner.epoch, iter=done)
        if self.by_epoch:
            # An epoch begins anew when it is resumed.
            meta['iter'] = runner.epoch * len(runner.train_dataloader)
            name = f'stopped_in_epoch_{runner.epoch + 1}.pth'
            runner.save_checkpoint(self.out_dir, name, meta=meta, by_epoch=False)
            self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
            Path(runner.work_dir, 'last_checkpoint').write_text(self.last_ckpt)
        else:
            self._save_checkpoint_with_step(runner, done, meta)
        number = runner.stop_signal
        runner.logger.info(
            f'stopped by {number.name} after {done} of {runner.max_iters} iterations; saved '
            f'{self.last_ckpt}. To resume, start it again with --resume'
        )
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


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
        done = checkpoint.get('meta', {}).get('iter', 0)
        if done >= runner.max_iters:
            runner.logger.info(f'the run is complete: all {done} iterations are done')
        then = list(_spans(checkpoint['param_schedulers']))
        now = list(_spans(_states(runner.param_schedulers)))
        if then != now:
            raise ConfigError(
                f'--resume: the learning rate schedule of the checkpoint runs {_text(then)}, '
                f'that of the config {_text(now)}',
                'the settings with which the run was started',
                'a finished run cannot be extended: start another from its weights, '
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
