"""Finding a learning rate: the range test, and trials at single rates.

Range test (Smith 2015, arXiv:1506.01186): a model trains for some iterations while
the learning rate grows from one to the next; below the useful range the loss does not
move, above it it diverges.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from geo_mm.engine import launch
from geo_mm.engine.lr_trials import SHORTEST, TRIAL, compare_rates, trials_for
from geo_mm.engine.mock_training import MockTraining
from geo_mm.engine.notebook import track
from geo_mm.errors import ConfigError
from geo_mm.paths import make_folder, write_text
from geo_mm.registry import HOOKS

Suggestion = Literal['trials', 'valley', 'steepest', 'minimum']

_DIVERGED = 4.0  # times the lowest smoothed loss, after which the test ends; fastai's
_SMOOTHING = 0.98  # of the exponential moving average of the loss; fastai's
_ALIKE = (
    0.03  # standard deviation over mean; 0.002 to 0.004 of segmenters, 0.07 to 0.34 of detectors
)
_FEWEST = 10  # iterations before divergence, from which something can be read


@dataclass(frozen=True)
class LrFindOptions:
    """How a learning rate is found.

    Attributes:
        start: Learning rate of the first iteration of the range test.
        end: Learning rate of the last. The test ends earlier where the loss diverges.
        iterations: Steps of the optimiser in the range test.
        trials: Steps of each of the trials, three to five as a rule, that follow; 0: none.
    """

    start: float = 1e-7
    end: float = 10.0
    iterations: int = 100
    trials: int = TRIAL

    def __post_init__(self) -> None:
        if not 0 < self.start < self.end or self.iterations < 2 * _FEWEST:
            raise ConfigError(
                f'learning rates from {self.start:g} to {self.end:g} in {self.iterations} '
                'iterations',
                f'a start above 0 and below the end, and at least {2 * _FEWEST} iterations',
            )
        if 0 != self.trials < SHORTEST:
            raise ConfigError(
                f'trials of {self.trials} iterations',
                f'at least {SHORTEST}, or 0 for the range test alone',
            )


@dataclass(frozen=True, repr=False)
class LrCurve:
    """The loss while the learning rate grows, and of trials at single rates.

    Attributes:
        rates: Learning rate of each iteration, ascending, ``(n,)`` float64. Of the
            config's ``optimizer.lr``: parameters with a rate of their own keep
            their ratio to it.
        losses: Loss of each iteration's batch before the step, ``(n,)`` float64,
            the mean over all processes; finite.
        untrained: Loss of the same batches with the weights of the start, ``(n,)`` float64.
        trials: Loss at the end of a short training, infinite where it diverged, by its
            learning rate (:func:`geo_mm.engine.lr_trials.compare_rates`); empty without trials.
    """

    rates: np.ndarray
    losses: np.ndarray
    untrained: np.ndarray
    trials: Mapping[float, float] = field(default_factory=dict)

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The loss without the noise of the batches, ``(n,)``.

        Exponential moving average of :attr:`losses`, corrected for its start, over that of
        the same batches' :attr:`untrained`, times the mean of these: batches with many
        objects, or hard ones, have high losses whatever the learning rate. fastai has the
        average alone.
        """
        return _smoothed(self.losses) / _smoothed(self.untrained) * self.untrained.mean()

    @property
    def rule(self) -> Suggestion:
        """The rule to suggest by.

        ``'trials'`` if there are any. Else ``'valley'``, which looks at the order of losses
        alone; or ``'minimum'``, if these say more about the batches than about the rate, as
        those of detectors do.
        """
        if self.trials:
            return 'trials'
        return 'valley' if self.untrained.std() < _ALIKE * self.untrained.mean() else 'minimum'

    def suggestion(self, rule: Suggestion | None = None) -> float:
        """A learning rate to train with.

        The first tenth and the last five iterations of the curve are left out, as in fastai.

        Args:
            rule: ``'trials'``: that of the trial with the lowest loss. ``'valley'``: in the
                middle of the longest descent of the moving average of the loss (the default of
                fastai 2). ``'steepest'``: where :attr:`smoothed` falls fastest per decade.
                ``'minimum'``: a tenth of where it is lowest.
                None takes :attr:`rule`.

        Raises:
            ConfigError: If trials are asked for and there are none.
        """
        rule = rule or self.rule
        if rule == 'trials':
            if not self.trials:
                raise ConfigError("the suggestion 'trials' without trials", 'a run with trials')
            return min(self.trials, key=self.trials.__getitem__)
        used = slice(len(self.rates) // 10, max(len(self.rates) - 5, 1))
        rates, losses = self.rates[used], self.smoothed[used]
        if rule == 'valley':
            first, last = _longest_descent(_smoothed(self.losses)[used])
            return float(rates[first + (last - first) // 2])
        if rule == 'steepest':
            return float(rates[np.gradient(losses, np.log10(rates)).argmin()])
        return float(rates[losses.argmin()]) / 10

    @property
    def suggestions(self) -> dict[str, float]:
        """What each rule suggests, the one that is used by default first."""
        rules: list[Suggestion] = sorted(get_args(Suggestion), key=lambda rule: rule != self.rule)
        return {rule: self.suggestion(rule) for rule in rules if rule != 'trials' or self.trials}

    def __repr__(self) -> str:
        (rule, rate), *others = self.suggestions.items()
        listed = ', '.join(f'{name} {value:.2g}' for name, value in others)
        return (
            f'suggested learning rate: {rate:.2g} ({rule}); others: {listed}; '
            f'{len(self.rates)} iterations'
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with all suggestions."""
        return {
            'suggestions': self.suggestions,
            'rates': self.rates.tolist(),
            'losses': self.losses.tolist(),
            'untrained': self.untrained.tolist(),
            # JSON has no infinity.
            'trials': [
                {'rate': rate, 'loss': loss if np.isfinite(loss) else None}
                for rate, loss in self.trials.items()
            ],
        }


def find_lr(runner: Runner, options: LrFindOptions | None = None) -> LrCurve:
    """Runs the range test, then trials, with the model of a Runner that is about to train.

    Weights, buffers, the optimiser and all random number generators are as before
    when it ends, also by Ctrl-C; its chips come from a loader of its own.

    Args:
        runner: Built, with weights: inside ``before_train`` of a hook.
        options: How.

    Raises:
        ConfigError: If the loss diverges from the start, or there are several optimisers.
    """
    options = options or LrFindOptions()
    with contextlib.closing(MockTraining(runner)) as training:
        curve = _range_test(training, options)
        if options.trials:
            curve = replace(curve, trials=compare_rates(training, options.trials))
    return curve


def _range_test(training: MockTraining, options: LrFindOptions) -> LrCurve:
    """The loss of each step while the rate grows."""
    rates = np.geomspace(options.start, options.end, options.iterations)
    losses: list[float] = []
    untrained: list[float] = []
    curve = None
    with training.kept() as start:
        shown = track(rates.tolist(), 'learning rates', disable=training.runner.rank > 0)
        for rate, batches in zip(shown, training.steps(), strict=False):
            found = training.loss_of(start, batches), training.step(batches, rate)['loss']
            if not np.isfinite(found).all():
                break
            untrained.append(found[0])
            losses.append(found[1])
            curve = LrCurve(rates[: len(losses)], np.array(losses), np.array(untrained))
            diverged = curve.smoothed[-1] > _DIVERGED * curve.smoothed.min()
            if len(losses) > _FEWEST and diverged:
                break
    if curve is None or len(losses) < _FEWEST:
        raise ConfigError(
            f'the loss diverged after {len(losses)} iterations, at a learning rate of '
            f'{rates[len(losses)]:.1g}',
            'a loss that is finite at small learning rates',
            'compare mean and std with what geo-mm statistics prints; start lower with --start',
        )
    return curve


@HOOKS.register_module()
class LrFindHook(Hook):
    """Finds the learning rate before training, and trains with it.

    What is found is written to ``lr_find.json`` in the work dir, and the rate into the
    config that checkpoints hold. A run that is resumed goes on as it was.

    Args:
        rule: As for :meth:`LrCurve.suggestion`; with one that reads the curve there are no
            trials.
        only: Find the rate, and end before the first iteration.
        **options: Fields of :class:`LrFindOptions`. Without ``trials`` they have at most a
            quarter of the iterations of the training each.
    """

    priority = 'LOWEST'  # after those that freeze layers

    def __init__(self, rule: Suggestion | None = None, only: bool = False, **options: Any) -> None:
        self.rule, self.only = rule, only
        self._length_given = only or 'trials' in options or rule not in (None, 'trials')
        if rule not in (None, 'trials'):
            options['trials'] = 0
        self.options = LrFindOptions(**options)
        self.curve: LrCurve | None = None

    def before_train(self, runner: Runner) -> None:
        if runner.iter:
            return
        if not self._length_given:
            self.options = replace(self.options, trials=trials_for(runner.max_iters))
        self.curve = find_lr(runner, self.options)
        if runner.rank == 0:
            write_text(Path(runner.work_dir, 'lr_find.json'), json.dumps(self.curve.to_dict()))
        if self.only:
            runner.train_loop.stop_training = True
            return
        rate = self.curve.suggestion(self.rule)
        runner.logger.info(f'training with a learning rate of {rate:.3g}, found by lr_find')
        runner.cfg.optim_wrapper.optimizer.lr = rate
        runner.optim_wrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)
        runner.optim_wrapper.initialize_count_status(runner.model, 0, runner.max_iters)
        if runner.cfg.get('param_scheduler'):
            runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)


def lr_find(
    config: str | os.PathLike | Config,
    options: LrFindOptions | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    work_dir: str | os.PathLike | None = None,
    launcher: str = 'none',
) -> LrCurve:
    """Finds a learning rate for a config: :func:`find_lr`.

    Args:
        config: A config, or its file.
        options: How.
        overrides: Settings of the config to change, by dotted key.
        work_dir: Folder for the log and ``lr_find.json``; None takes ``lr_find/`` in
            the folder that training would take.
        launcher: What started several processes.

    Raises:
        ConfigError: If the config cannot be trained, or as for :func:`find_lr`.
        OutputError: If the work dir cannot be written to.
    """
    config = launch.load_config(config, overrides)
    if work_dir is None:
        launch.set_work_dir(config, None)
        work_dir = Path(config.work_dir, 'lr_find')
    launch.set_work_dir(config, make_folder(work_dir))
    config.setdefault('default_hooks', {})['checkpoint'] = None  # else MMEngine adds its own
    hook = LrFindHook(only=True, **vars(options or LrFindOptions()))
    with launch.explained_config_errors():
        runner = launch.build_runner(config, launcher, verbose=False)
        runner.announcement = (
            f'finding a learning rate: range test of {hook.options.iterations} iterations'
            + f', trials of {hook.options.trials} iterations' * (hook.options.trials > 0)
        )
        runner.register_hook(hook)
        runner.train()
    assert hook.curve is not None  # else find_lr has raised
    return hook.curve


def with_lr(config: Config, rate: float) -> Config:
    """A copy of a config with another learning rate."""
    config = Config(config.to_dict(), filename=config.filename)
    config.optim_wrapper.optimizer.lr = rate
    return config


def _smoothed(losses: Sequence[float] | np.ndarray) -> np.ndarray:
    means, mean = [], 0.0
    for number, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        means.append(mean / (1 - _SMOOTHING**number))
    return np.array(means)


def _longest_descent(losses: np.ndarray) -> tuple[int, int]:
    """Where the longest falling subsequence would begin if it had no gaps, and where it ends.

    Its true beginning may be far before, among the ups and downs of rates that are too
    low to learn anything.
    """
    length = np.ones(len(losses), int)
    for now in range(1, len(losses)):
        higher = np.flatnonzero(losses[:now] > losses[now])
        if len(higher):
            length[now] = length[higher].max() + 1
    last = int(length.argmax())
    return max(last - int(length[last]), 0), last
