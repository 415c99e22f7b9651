"""Learning rate schedules that follow the length of the run and keep proportions.

MMEngine ends a scheduler without ``end`` with the run, so ``train_cfg`` alone
says how long a run is. Its steps and its one-cycle need more than that.
"""

from collections.abc import Sequence

from mmengine.optim.scheduler import MultiStepLR as MMEngineMultiStepLR
from mmengine.optim.scheduler import OneCycleLR as MMEngineOneCycleLR

from geo_mm.errors import ConfigError
from geo_mm.registry import PARAM_SCHEDULERS


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
