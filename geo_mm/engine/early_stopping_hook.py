"""Ends training when a score no longer improves, whatever the score's scale."""

import math
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner

from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS

_BETTER = ('greater', 'less')


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Stops when the best score has not risen by a share of itself for long.

    MMEngine's ``EarlyStoppingHook`` asks for an absolute rise, by default 0.1:
    right for an mIoU of 0 to 100, but an AP of 0 to 1 hardly ever rises that
    much, so that runs of detectors end after ``patience`` validations. Here
    the rise is relative: 1 % of an mIoU of 60 is 0.6, of an AP of 0.3 is 0.003.

    Best score and patience are kept in checkpoints. A checkpoint is written
    before the validation of the same iteration, so that one does not count
    after resuming from it.

    Args:
        monitor: Name of the score, as validation prints it: ``'mIoU'``,
            ``'coco/bbox_mAP_50'``.
        least_gain: A score counts as better if it exceeds the best so far by
            this share of it. While the best is 0, any rise counts.
        patience: Validations in a row without a better score, after which to stop.
        rule: ``'greater'`` or ``'less'`` is better.

    Raises:
        ConfigError: If ``rule``, ``patience`` or ``least_gain`` make no sense,
            or validation gives no such score.
    """

    priority = 'LOWEST'

    def __init__(
        self, monitor: str, least_gain: float = 0.005, patience: int = 5, rule: str = 'greater'
    ) -> None:
        if rule not in _BETTER or least_gain < 0 or patience < 1:
            raise ConfigError(
                f'EarlyStoppingHook with rule={rule!r}, least_gain={least_gain}, '
                f'patience={patience}',
                "rule 'greater' or 'less', least_gain not negative, patience at least 1",
            )
        self.monitor = monitor
        self.least_gain = least_gain
        self.patience = patience
        self.sign = 1 if rule == 'greater' else -1
        self.best: float | None = None
        self.waited = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['early_stopping'] = {'best': self.best, 'waited': self.waited}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume and 'early_stopping' in checkpoint:
            self.best = checkpoint['early_stopping']['best']
            self.waited = checkpoint['early_stopping']['waited']

    def after_val_epoch(self, runner: Runner, metrics: Mapping | None = None) -> None:
        if self.monitor not in (metrics or {}):
            raise ConfigError(
                f'EarlyStoppingHook with monitor={self.monitor!r}, which validation does not give',
                f'one of {", ".join(map(repr, metrics or {})) or "its scores, of which are none"}',
            )
        score = float(metrics[self.monitor])
        if self._is_better(score):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(
                f'Stopped early: in {self.waited} validations {self.monitor} has not passed its '
                f'best, {self.best}, by {self.least_gain:.1%}'
            )

    def _is_better(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if self.best is None:
            return True
        return self.sign * (score - self.best) > self.least_gain * abs(self.best)
