"""Learning rate schedules that follow the length of a run, and early stopping.

MMEngine ends a scheduler without ``end`` with the run, so ``train_cfg`` alone
says how long a run is. Its steps, its warm-up and its one-cycle need more than that.
"""

import math
from collections.abc import Mapping, Sequence

from mmengine.hooks import Hook
from mmengine.optim.scheduler import LinearLR
from mmengine.optim.scheduler import MultiStepLR as MMEngineMultiStepLR
from mmengine.optim.scheduler import OneCycleLR as MMEngineOneCycleLR
from mmengine.runner import Runner

from geo_mm.errors import ConfigError
from geo_mm.registry import HOOKS, PARAM_SCHEDULERS

_BETTER = ('greater', 'less')


@PARAM_SCHEDULERS.register_module()
class MultiStepLR(MMEngineMultiStepLR):
    """``MultiStepLR`` with milestones as shares of the time from begin to end.

    Args:
        optimizer: Wrapped optimiser.
        milestones: Each between 0 and 1, as ``(0.7, 0.9)``.
        begin: First step.
        end: Last step; by default that of the run.
        **kwargs: Of ``mmengine.MultiStepLR``: ``gamma``, ``by_epoch``.

    Raises:
        ConfigError: If a milestone is not between 0 and 1.
    """

    def __init__(
        self, optimizer, milestones: Sequence[float], begin: int = 0, *, end: int, **kwargs
    ) -> None:
        if not all(0 < share < 1 for share in milestones):
            raise ConfigError(
                f'geo_mm.MultiStepLR with milestones={list(milestones)}',
                'shares of the run, between 0 and 1',
                "mmengine's MultiStepLR, without geo_mm., takes numbers of steps",
            )
        steps = [round(share * (end - begin)) for share in milestones]
        super().__init__(optimizer, milestones=steps, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, *, begin: int = 0, end: int, epoch_length: int, by_epoch: bool = True, **kwargs
    ) -> 'MultiStepLR':
        """For ``convert_to_iter_based=True``; shares need no conversion."""
        begin, end = begin * epoch_length, end * epoch_length
        return cls(begin=begin, end=end, by_epoch=False, **kwargs)


@PARAM_SCHEDULERS.register_module()
class WarmUpLR(LinearLR):
    """Linear warm-up that leaves a short run time at its full learning rate.

    A fixed number of iterations, right for a long run, may be all of a short one.

    Args:
        optimizer: Wrapped optimiser.
        iters: Iterations of the warm-up.
        most: It takes at most this share of the run.
        end: Iterations of the run, which the Runner gives.
        by_epoch: False: it is counted in iterations.
        **kwargs: Of ``mmengine.LinearLR``: ``start_factor`` and others.

    Raises:
        ConfigError: If ``iters`` or ``most`` make no sense, or it is to count epochs.
    """

    def __init__(
        self,
        optimizer,
        iters: int,
        most: float = 0.1,
        *,
        end: int,
        by_epoch: bool = False,
        **kwargs,
    ) -> None:
        if iters < 1 or not 0 < most <= 1 or by_epoch:
            raise ConfigError(
                f'geo_mm.WarmUpLR with iters={iters}, most={most}, by_epoch={by_epoch}',
                'a positive number of iterations, a share of the run up to 1, by_epoch=False',
            )
        # MMEngine's reaches the full rate with the last of at least two.
        length = max(min(iters, round(most * end)), 2)
        super().__init__(optimizer, end=length, by_epoch=False, **kwargs)


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(MMEngineOneCycleLR):
    """``OneCycleLR`` that peaks at the learning rate of the optimiser.

    MMEngine's has to be told the peak again, and takes it for all groups of
    parameters; here each group peaks at its own rate, so the discriminative
    rates of :class:`geo_mm.engine.StageRateConstructor` last.

    Args:
        optimizer: Wrapped optimiser.
        **kwargs: Of ``mmengine.OneCycleLR`` but for ``eta_max``: ``pct_start``,
            ``div_factor``, ``final_div_factor``, ``by_epoch`` and others.
    """

    def __init__(self, optimizer, **kwargs) -> None:
        peaks = [group['lr'] for group in optimizer.param_groups]
        super().__init__(optimizer, eta_max=peaks, **kwargs)


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
        metrics = metrics or {}
        if self.monitor not in metrics:
            raise ConfigError(
                f'EarlyStoppingHook with monitor={self.monitor!r}, which validation does not give',
                f'one of {", ".join(map(repr, metrics)) or "its scores, of which are none"}',
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
