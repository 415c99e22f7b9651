import math

import pytest

from geo_mm.engine import EarlyStoppingHook
from geo_mm.errors import ConfigError


class Loop:
    stop_training = False


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)


class Runner:
    """All that the hook touches."""

    def __init__(self, resume: bool = False) -> None:
        self.train_loop, self.logger, self._resume = Loop(), Logger(), resume


def validations(hook: EarlyStoppingHook, scores) -> int | None:
    """After how many validations it stops."""
    runner = Runner()
    for number, score in enumerate(scores, 1):
        hook.after_val_epoch(runner, {'score': score})
        if runner.train_loop.stop_training:
            assert 'score has not passed its best' in runner.logger.lines[0]
            return number
    return None


RISING = [0.10, 0.13, 0.155, 0.17, 0.18, 0.187, 0.191, 0.193, 0.195]


@pytest.mark.parametrize('scale', [0.01, 1, 100])
def test_the_scale_of_the_score_does_not_matter(scale):
    scores = [scale * score for score in RISING]
    assert validations(EarlyStoppingHook('score', patience=3), scores) is None
    plateau = [*scores, *(scale * 0.1955 for _ in range(4))]
    assert validations(EarlyStoppingHook('score', patience=3), plateau) == len(scores) + 3


def test_an_ap_that_rises_slowly_goes_on_where_mmengine_stops():
    from mmengine.hooks import EarlyStoppingHook as Upstream

    assert validations(EarlyStoppingHook('score', patience=5), RISING) is None
    upstream, runner = Upstream('score', rule='greater', patience=5), Runner()
    for score in RISING:
        upstream.after_val_epoch(runner, {'score': score})
    assert runner.train_loop.stop_training


def test_gains_below_the_least_do_not_count():
    creeping = [0.5 * 1.004**number for number in range(10)]
    assert validations(EarlyStoppingHook('score', patience=3), creeping) is None
    slower = [0.5 + 1e-4 * number for number in range(10)]
    assert validations(EarlyStoppingHook('score', patience=3), slower) == 4


def test_zero_and_undefined_scores_wait():
    hook = EarlyStoppingHook('score', patience=4)
    assert validations(hook, [0.0, 0.0, math.nan, 0.0, 0.001, 0.0]) is None
    assert (hook.best, hook.waited) == (0.001, 1)
    assert validations(EarlyStoppingHook('score', patience=4), [0.0] * 9) == 5


def test_less_is_better():
    hook = EarlyStoppingHook('score', patience=2, rule='less')
    assert validations(hook, [1.0, 0.8, 0.7, 0.75, 0.7]) == 5


def test_patience_survives_a_checkpoint():
    hook, saved = EarlyStoppingHook('score', patience=3), {}
    assert validations(hook, [0.5, 0.4, 0.4]) is None
    hook.before_save_checkpoint(Runner(), saved)
    resumed = EarlyStoppingHook('score', patience=3)
    resumed.after_load_checkpoint(Runner(resume=True), saved)
    assert validations(resumed, [0.4]) == 1
    # Weights to start another run from bring no patience.
    started = EarlyStoppingHook('score', patience=3)
    started.after_load_checkpoint(Runner(), saved)
    assert started.best is None


def test_a_score_that_is_not_there():
    with pytest.raises(ConfigError, match=r"(?s)monitor='mIou'.*one of 'mIoU', 'aAcc'"):
        EarlyStoppingHook('mIou').after_val_epoch(Runner(), {'mIoU': 1.0, 'aAcc': 2.0})


@pytest.mark.parametrize('wrong', [dict(rule='max'), dict(patience=0), dict(least_gain=-0.1)])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match='EarlyStoppingHook with'):
        EarlyStoppingHook('mIoU', **wrong)
