"""Finding a learning rate: what is suggested, and that nothing changes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from geo_mm.cli import main
from geo_mm.engine import LrCurve, LrFindOptions, TrainOptions, lr_find, train, trials_for
from geo_mm.engine.lr_finder import LrFindHook, find_lr
from geo_mm.errors import ConfigError
from geo_mm.visualization.training_plots import _loss_limits
from tests.data.chips import fresh_mmengine, write_scene, write_seg_config


def made_up_curve() -> LrCurve:
    """Rises a little up to 1e-4, falls up to 1e-1, diverges; 12 iterations per decade."""
    rates = np.geomspace(1e-7, 10, 97)
    exponents = np.log10(rates)
    losses = np.interp(exponents, [-7, -4, -1, 1], [2.0, 2.1, 0.5, 8.0])
    return LrCurve(rates, losses, np.ones(97))


def test_suggestions_lie_in_the_descent_of_the_loss():
    curve = made_up_curve()
    lowest = curve.rates[curve.smoothed.argmin()]
    assert 1e-4 < curve.suggestion('valley') < lowest
    assert 1e-4 < curve.suggestion('steepest') < lowest
    assert curve.suggestion('minimum') == pytest.approx(lowest / 10)


def test_valley_is_the_middle_of_the_longest_falling_subsequence():
    """Smoothing with as many equal values in front changes no order here."""
    falling = np.linspace(1.0, 0.5, 60)
    rising = np.linspace(0.5, 3.0, 40)
    losses = np.concatenate([falling, rising])
    curve = LrCurve(np.geomspace(1e-6, 1.0, 100), losses, np.ones(100))
    last = int(curve.smoothed[10:95].argmin())
    assert curve.suggestion('valley') == curve.rates[10 + last // 2]


def test_valley_leaves_out_the_ups_and_downs_before_the_descent():
    """Where nothing is learnt yet, losses of single batches also fall here and there."""
    flat = 2 + np.random.default_rng(1).normal(0, 0.1, 60)
    losses = np.concatenate([flat, np.linspace(2.0, 0.5, 25), np.linspace(0.5, 9.0, 15)])
    curve = LrCurve(np.geomspace(1e-7, 10.0, 100), losses, np.ones(100))
    assert curve.rates[60] < curve.suggestion('valley') < curve.rates[85]


@pytest.mark.parametrize(('last', 'top'), [(3.0, 3.2), (1e5, 3.2), (1.5, 2.1)])
def test_a_diverging_loss_does_not_flatten_the_curve(last, top):
    low, high = _loss_limits(np.array([2.0, 1.5, 1.0, last]))
    assert (low, high) == pytest.approx((1.0 - (top - 1.0) / 11, top))


def test_the_smoothed_loss_is_a_mean_corrected_for_its_start():
    curve = LrCurve(np.array([1.0, 2, 3]), np.array([1.0, 2.0, 4.0]), np.full(3, 7.0))
    weights = np.array([0.98**2, 0.98, 1])
    assert curve.smoothed[0] == pytest.approx(1.0)
    assert curve.smoothed[2] == pytest.approx(weights @ curve.losses / weights.sum())


def test_the_noise_of_batches_does_not_hide_the_descent():
    """As of detectors, whose loss grows with the objects in a batch: here up to tenfold."""
    quiet = made_up_curve()
    noise = np.random.default_rng(3).uniform(1, 10, len(quiet.rates))
    noisy = LrCurve(quiet.rates, quiet.losses * noise, noise)
    assert (quiet.rule, noisy.rule) == ('valley', 'minimum')
    assert list(noisy.suggestions) == ['minimum', 'valley', 'steepest']
    assert noisy.suggestion() == pytest.approx(quiet.suggestion('minimum'), rel=0.5)
    assert noisy.smoothed[0] == pytest.approx(2 * noise.mean())
    assert noisy.suggestion('valley') > 3 * quiet.suggestion('valley')


@pytest.mark.parametrize('wrong', [dict(start=0.0), dict(start=1.0, end=0.1), dict(iterations=5)])
def test_senseless_options_are_refused(wrong):
    with pytest.raises(ConfigError, match='learning rates from'):
        LrFindOptions(**wrong)


@pytest.mark.parametrize('trials', [-1, 5, 19])
def test_trials_too_short_to_tell_anything_are_refused(trials):
    with pytest.raises(ConfigError, match='at least 20, or 0'):
        LrFindOptions(trials=trials)


def test_the_trial_with_the_lowest_loss_is_suggested_first():
    trials = {1e-3: 0.9, 3e-3: 0.7, 1e-2: 0.8, 3e-2: np.inf}
    curve = replace(made_up_curve(), trials=trials)
    assert (curve.rule, curve.suggestion()) == ('trials', 3e-3)
    assert list(curve.suggestions) == ['trials', 'valley', 'steepest', 'minimum']
    assert json.loads(json.dumps(curve.to_dict(), allow_nan=False))['trials'][-1]['loss'] is None
    assert 'suggested learning rate: 0.003 (trials)' in repr(curve)
    assert 'trials' not in made_up_curve().suggestions
    with pytest.raises(ConfigError, match='without trials'):
        made_up_curve().suggestion('trials')


def test_trials_take_at_most_a_quarter_of_a_short_training_each():
    lengths = [trials_for(iters) for iters in (20_000, 800, 600, 400, 399)]
    assert lengths == [200, 200, 150, 100, 0]


@pytest.fixture
def config(tmp_path):
    write_scene(tmp_path)
    return write_seg_config(tmp_path)


class Looking(Hook):
    """Finds the learning rate before training, until a Ctrl-C after some steps, and compares."""

    def __init__(self, interrupt: int = 0) -> None:
        self.interrupt = interrupt
        self.curve = None

    def before_train(self, runner) -> None:
        def state():
            tensors = [t.clone() for t in [*runner.model.parameters(), *runner.model.buffers()]]
            generators = torch.get_rng_state(), torch.tensor(np.random.get_state()[1])
            return [*tensors, *generators], runner.optim_wrapper.state_dict()

        before, optimiser = state()
        step, seen = runner.model.train_step, []

        def interrupted(*args, **kwargs):
            seen.append(1)
            if len(seen) == self.interrupt:
                raise KeyboardInterrupt
            return step(*args, **kwargs)

        if self.interrupt:
            runner.model.train_step = interrupted
        try:
            self.curve = find_lr(runner, LrFindOptions(iterations=20, end=1e-2, trials=20))
        except KeyboardInterrupt:
            runner.model.train_step = step
        after, optimiser_after = state()
        assert len(seen) == self.interrupt
        assert all(map(torch.equal, before, after))
        assert optimiser == optimiser_after
        assert all(p.grad is None for p in runner.model.parameters())


def losses_of(config, folder, *hooks) -> list[float]:
    class Losses(Hook):
        def __init__(self) -> None:
            self.found: list[float] = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.found.append(outputs['loss'].item())

    with fresh_mmengine():
        from geo_mm.engine import launch

        loaded = launch.load_config(config)
        launch.set_work_dir(loaded, folder)
        runner = launch.build_runner(loaded, verbose=False)
        for hook in [*hooks, recorder := Losses()]:
            runner.register_hook(hook)
        runner.train()
    return recorder.found


@pytest.mark.slow
def test_training_goes_on_as_if_nothing_had_been_tested(config, tmp_path):
    alone = losses_of(config, tmp_path / 'a')
    looking = Looking()
    assert losses_of(config, tmp_path / 'b', looking) == alone
    assert len(looking.curve.rates) == 20
    # The same batch and random numbers; then other weights.
    assert looking.curve.untrained[0] == looking.curve.losses[0]
    assert looking.curve.untrained[-1] != looking.curve.losses[-1]
    assert len(looking.curve.trials) >= 3
    assert losses_of(config, tmp_path / 'c', Looking(interrupt=5)) == alone
    assert losses_of(config, tmp_path / 'd', Looking(interrupt=25)) == alone


def test_a_rate_for_some_layers_keeps_its_ratio(config, tmp_path):
    """The stem's groups are those whose rate is a tenth of the others'."""
    with config.open('a') as file:
        file.write("optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': "
                   "dict(lr_mult=0.1)}))\n")  # fmt: skip
    ratios = set()

    class Rates(Hook):
        def before_train(self, runner) -> None:
            step = runner.model.train_step

            def noted(*args, **kwargs):
                rates = {group['lr'] for group in runner.optim_wrapper.param_groups}
                ratios.add(round(max(rates) / min(rates), 6))
                return step(*args, **kwargs)

            runner.model.train_step = noted
            find_lr(runner, LrFindOptions(iterations=20, end=1e-3, trials=20))
            runner.model.train_step = step

    losses_of(config, tmp_path / 'a', Rates())
    assert ratios == {10.0}


def test_the_hook_trains_with_what_it_finds(config, tmp_path):
    with config.open('a') as file:
        file.write("custom_hooks = [dict(type='geo_mm.LrFindHook', iterations=20, trials=20)]\n")
    with fresh_mmengine():
        runner = train(config, TrainOptions(work_dir=tmp_path / 'run'))
    found = json.loads((tmp_path / 'run' / 'lr_find.json').read_text())['suggestions']['trials']
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(found)
    assert runner.cfg.optim_wrapper.optimizer.lr == found


def test_a_rule_that_reads_the_curve_needs_no_trials():
    assert LrFindHook(rule='valley').options.trials == 0
    assert LrFindHook(rule='valley', iterations=20).options.iterations == 20
    assert LrFindHook(rule='trials', trials=40).options.trials == 40
    assert LrFindHook(only=True).options.trials == 200


def test_batches_that_fill_no_step_of_the_real_training_do_not_matter(config, tmp_path):
    """The last batches of a training that do not fill a step have a step of their own."""
    with config.open('a') as file:
        file.write('optim_wrapper = dict(accumulative_counts=4)\n')
        file.write('train_cfg = dict(max_iters=6)\n')
    losses_of(config, tmp_path / 'a', looking := Looking())
    assert len(looking.curve.trials) >= 3


def test_a_loss_that_is_never_finite_is_an_error(config, tmp_path):
    with config.open('a') as file:
        file.write('model["data_preprocessor"]["mean"] = [float("nan")] * 3\n')
    with fresh_mmengine(), pytest.raises(ConfigError, match='diverged after 0 iterations'):
        lr_find(config, LrFindOptions(iterations=20, trials=0), work_dir=tmp_path / 'find')


@pytest.mark.parametrize(
    ('trials', 'rule', 'width'), [('0', 'valley', 660), ('20', 'trials', 1320)]
)
def test_the_command_writes_and_draws_losses_and_keeps_no_checkpoint(
    trials, rule, width, config, tmp_path, capsys
):
    out = tmp_path / 'find'
    short = ['--iterations', '20', '--trials', trials]
    with fresh_mmengine():
        assert main(['lr-find', str(config), *short, '-o', str(out)]) == 0
    text = capsys.readouterr().out
    found = json.loads((out / 'lr_find.json').read_text())
    assert f'optim_wrapper.optimizer.lr={found["suggestions"][rule]:.2g}' in text
    with Image.open(out / 'lr_find.png') as picture:
        assert picture.width == width
    assert not list(out.glob('**/*.pth'))


def test_the_hook_is_registered():
    assert HOOKS.get('geo_mm.LrFindHook') is LrFindHook
