"""Short trainings at single learning rates, of which the losses are compared.

The loss while the rate grows says where a model begins to learn and where it diverges,
but not which rate is best for a whole training. Judging rates by the loss after a short
training with each is what AutoLRS does anew at each stage of a training (Jin et al. 2021,
arXiv:2105.10762); here it is done once, before.
"""

import math

from geo_mm.engine.mock_training import MockTraining
from geo_mm.engine.notebook import track
from geo_mm.errors import ConfigError

# Steps of a trial. SSD, which in 100 only learns to see background, needs 200.
TRIAL, SHORTEST = 200, 20
_TELLING = 100  # shorter ones often prefer rates that are too high for a training
_SHARE = 0.25  # the last part of a trial, of which the losses count
_LEAST, _MOST = 1e-7, 10.0  # learning rates


def trials_for(iters: int) -> int:
    """Steps of a trial for a training of so many iterations: at most a quarter of it.

    0, which means no trials, if that is too short to tell which rate is best.
    """
    length = min(TRIAL, iters // 4)
    return length if length >= _TELLING else 0


def compare_rates(training: MockTraining, length: int) -> dict[float, float]:
    """The losses of trials at some learning rates, up to one that has its lowest between others.

    Rates are 1 and 3 times powers of ten, from 1e-7 to 10. It begins with the one nearest to
    the config's and those beside it, and goes on to where the loss is lower.

    Args:
        training: Steps of the model.
        length: Of a trial, steps.

    Returns:
        Mean loss of the last quarter of a trial, infinite where it diverged, by its rate,
        ascending. Of a two-stage detector only the losses of the region proposal network:
        those of the second stage are over the proposals and rise as these get better.

    Raises:
        ConfigError: If all of them diverge.
    """
    losses: dict[int, float] = {}

    def loss(rung: int) -> float:
        if not _LEAST <= _rate(rung) <= _MOST:
            return math.inf
        if rung not in losses:
            losses[rung] = _trial(training, _rate(rung), length)
        return losses[rung]

    best = None
    nearest = round(2 * math.log10(min(max(training.rate, _LEAST), _MOST)))
    while best != nearest:
        best = nearest
        nearest = min((best, best - 1, best + 1), key=loss)
        if math.isinf(loss(nearest)):
            nearest = best - 2  # all of them diverge
            if _rate(nearest) < _LEAST:
                raise ConfigError(
                    f'a loss that diverges at all learning rates from {_rate(max(losses)):g} down',
                    'a loss that is finite at small learning rates',
                    'compare mean and std with what geo-mm statistics prints',
                )
    return {_rate(rung): losses[rung] for rung in sorted(losses)}


def _rate(rung: int) -> float:
    """..., 0.001, 0.003, 0.01, ... for ..., -6, -5, -4, ..."""
    return float(f'{3 if rung % 2 else 1}e{rung // 2}')


def _trial(training: MockTraining, rate: float, length: int) -> float:
    """Trains with a warm-up and a rate that falls to 0, as a whole training would."""
    losses = []
    with training.kept():
        steps = training.steps()
        disable = training.runner.rank > 0
        for done in track(range(length), f'iterations at a rate of {rate:g}', disable=disable):
            warm_up = min(1.0, 0.05 + done / (0.1 * length))
            annealing = (1 + math.cos(math.pi * done / length)) / 2
            found = training.step(next(steps), rate * warm_up * annealing)
            proposals = [value for name, value in found.items() if 'rpn' in name]
            losses.append(sum(proposals) if proposals else found['loss'])
            if not math.isfinite(found['loss']):
                return math.inf
    last = losses[-max(round(_SHARE * length), 1) :]
    return sum(last) / len(last)
