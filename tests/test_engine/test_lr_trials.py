"""Which learning rates are tried, and which has the lowest loss."""

import contextlib
import itertools

import numpy as np
import pytest

from geo_mm.engine.lr_trials import compare_rates
from geo_mm.errors import ConfigError


class Bowl:
    """Gradient descent on a quadratic loss of two curvatures; it diverges above 2 / the largest.

    Stands where steps of a model's training do, with the same four names.
    """

    def __init__(self, rate: float, curvatures: tuple[float, float] = (400.0, 0.1)) -> None:
        self.rate = rate
        self.curvatures = np.array(curvatures)
        self.weights = np.ones(2)
        self.tried: list[list[float]] = []

    @contextlib.contextmanager
    def kept(self):
        self.tried.append([])
        yield
        self.weights = np.ones(2)

    def steps(self):
        return itertools.repeat([])

    def step(self, batches, rate):
        self.tried[-1].append(rate)
        loss = float(self.curvatures @ self.weights**2) / 2
        self.weights = self.weights * (1 - rate * self.curvatures)
        # A network that has diverged does not come back, either.
        self.weights[np.abs(self.weights) > 1e3] = np.inf
        return {'loss': loss}

    class runner:  # noqa: N801
        rank = 0


# 0.003 is the largest of the rates that are tried with which it does not diverge.
@pytest.mark.parametrize('rate', [1e-4, 2e-3, 0.003, 0.004, 0.1, 3.0])
def test_the_best_rate_is_found_from_below_and_from_above(rate):
    losses = compare_rates(Bowl(rate), 200)
    assert min(losses, key=losses.__getitem__) == 0.003
    assert {0.001, 0.003, 0.01} <= losses.keys()
    assert list(losses) == sorted(losses)


def test_no_rate_is_tried_twice_nor_one_far_from_the_best():
    bowl = Bowl(1e-3)
    assert list(compare_rates(bowl, 200)) == [0.0003, 0.001, 0.003, 0.01]
    assert len(bowl.tried) == 4


def test_a_trial_warms_up_and_falls_to_nothing():
    bowl = Bowl(0.003)
    compare_rates(bowl, 200)
    rates = np.array(bowl.tried[0])
    assert rates[0] == pytest.approx(0.05 * 0.003)
    assert rates.argmax() == 19
    assert rates.max() == pytest.approx(0.003, rel=0.03)
    assert 0 < rates[-1] < 1e-6


class TwoStages(Bowl):
    """The loss of all stages says the opposite of that of the proposals, up to a rate."""

    finite_up_to = 1.0

    def step(self, batches, rate):
        proposals = super().step(batches, rate)['loss']
        both = 1e3 - proposals if rate <= self.finite_up_to else np.nan
        return {
            'loss': both,
            'loss_rpn_cls': proposals / 2,
            'loss_rpn_bbox': proposals / 2,
        }


def test_of_a_two_stage_detector_the_losses_of_proposals_are_compared():
    one, two = compare_rates(Bowl(2e-3), 200), compare_rates(TwoStages(2e-3), 200)
    assert two == pytest.approx(one)


def test_a_rate_at_which_the_second_stage_diverges_is_not_suggested():
    two = TwoStages(2e-3)
    two.finite_up_to = 2e-3
    losses = compare_rates(two, 200)
    assert min(losses, key=losses.__getitem__) == 0.001
    assert losses[0.003] == np.inf


@pytest.mark.parametrize('rate', [1e-9, 1e3])
def test_a_config_with_a_rate_beyond_all_limits_begins_at_them(rate):
    losses = compare_rates(Bowl(rate), 50)
    assert all(1e-7 <= rate <= 10 for rate in losses)
    assert min(losses, key=losses.__getitem__) == 0.003


def test_a_loss_that_always_diverges_is_an_error():
    with pytest.raises(ConfigError, match=r'diverges at all learning rates from 0\.003 down'):
        compare_rates(Bowl(1e-3, (1e12, 1.0)), 100)
