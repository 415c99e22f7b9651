"""Each schedule of configs/_base_/schedules over a run, with two groups of parameters."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from geo_mm.errors import ConfigError
from tests.data.chips import CONFIGS


def rates(schedulers, iterations: int) -> tuple[list[float], list[float]]:
    """Learning rates of two groups, 1 and 0.1 of the optimiser's, as the Runner makes them."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [dict(params=[weights[0]], lr=1.0), dict(params=[weights[1]], lr=0.1)]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=1.0))
    built = [
        # What the Runner adds: the end of the run, where a scheduler has none.
        PARAM_SCHEDULERS.build(
            {'end': iterations, **cfg}, default_args=dict(optimizer=wrapper, epoch_length=10)
        )
        for cfg in schedulers
    ]
    found = []
    for _ in range(iterations):
        found.append([group['lr'] for group in wrapper.optimizer.param_groups])
        weights[0].grad = weights[1].grad = torch.zeros(1)
        wrapper.step()
        for scheduler in built:
            scheduler.step()
    return tuple(zip(*found, strict=True))


def schedule(name: str) -> list[dict]:
    return Config.fromfile(CONFIGS / '_base_' / 'schedules' / f'{name}.py').param_scheduler


@pytest.mark.parametrize('name', ['adamw_2k', 'adamw-onecycle_2k', 'sgd_2k', 'sgd-poly_2k'])
@pytest.mark.parametrize('iterations', [7, 500, 2000])
def test_schedules_follow_the_length_of_the_run_and_keep_proportions(name, iterations):
    head, stage = rates(schedule(name), iterations)
    assert stage == pytest.approx([rate / 10 for rate in head])
    assert max(head) <= 1.0 + 1e-9
    if iterations > 100:
        assert max(head) > 0.6
        assert head[-1] < 0.02


def test_cosine_with_warm_up():
    head, _ = rates(schedule('adamw_2k'), 500)
    assert head[0] == pytest.approx(0.05)
    assert head[250] == pytest.approx(0.5, rel=1e-3)
    assert head[375] == pytest.approx((1 + math.cos(math.pi * 0.75)) / 2, rel=1e-2)


def test_one_cycle_peaks_at_the_own_rate_of_each_group():
    head, stage = rates(schedule('adamw-onecycle_2k'), 100)
    assert head[0] == pytest.approx(1 / 25)
    assert (max(head), max(stage)) == pytest.approx((1.0, 0.1))
    assert head.index(max(head)) == 29
    assert head[-1] < 1e-5


def test_steps_are_shares_of_the_run():
    head, _ = rates(schedule('sgd_2k')[1:], 50)
    assert head == pytest.approx([1.0] * 35 + [0.1] * 10 + [0.01] * 5)


def test_steps_between_begin_and_end():
    cfg = dict(type='geo_mm.MultiStepLR', milestones=[0.5], begin=4, end=8, by_epoch=False)
    assert rates([cfg], 8)[0] == pytest.approx([1.0] * 6 + [0.1] * 2)


def test_steps_of_epochs_made_iterations():
    cfg = dict(type='geo_mm.MultiStepLR', milestones=[0.5], convert_to_iter_based=True, end=2)
    assert rates([cfg], 20)[0] == pytest.approx([1.0] * 10 + [0.1] * 10)


def test_milestones_in_iterations_are_refused():
    with pytest.raises(ConfigError, match=r'(?s)milestones=\[1400\].*between 0 and 1'):
        rates([dict(type='geo_mm.MultiStepLR', milestones=[1400], by_epoch=False)], 5)


def test_a_polynomial_reaches_zero():
    head, _ = rates(schedule('sgd-poly_2k'), 100)
    assert head[50] == pytest.approx((1 - 50 / 99) ** 0.9, rel=1e-2)


@pytest.mark.parametrize(
    ('iterations', 'full_from'), [(2000, 49), (500, 49), (100, 9), (40, 3), (10, 1), (2, 1)]
)
def test_a_short_run_has_a_short_warm_up(iterations, full_from):
    head, _ = rates(schedule('adamw_2k')[:1], iterations)
    assert head[0] == pytest.approx(0.05)
    assert list(head) == sorted(head)
    assert next(n for n, rate in enumerate(head) if rate > 1 - 1e-9) == full_from


@pytest.mark.parametrize('wrong', [dict(iters=0), dict(iters=5, most=1.5)])
def test_a_warm_up_of_nothing_or_of_more_than_the_run_is_refused(wrong):
    with pytest.raises(ConfigError, match='WarmUpLR with iters='):
        rates([dict(type='geo_mm.WarmUpLR', **wrong)], 5)
