"""Real Runners train a tiny U-Net by the recipes of configs/_base_/transfer."""

import re

import pytest
import torch
from mmengine.hooks import Hook
from torch.nn.modules.batchnorm import _BatchNorm

from geo_mm.engine import launch
from geo_mm.engine.checkpoints import read_checkpoint
from geo_mm.errors import ConfigError
from tests.data.chips import fresh_mmengine, run_tool, write_scene, write_seg_config

# Deterministic: no dropout, and no flips, which the global generator draws.
EXACT = """
train_dataloader['dataset'] = dict(chips, pipeline=[
    dict(type='geo_mm.LoadChip'), dict(type='geo_mm.LoadChipClasses'),
    dict(type='PackSegInputs')])
model['decode_head']['dropout_ratio'] = model['auxiliary_head']['dropout_ratio'] = 0.0
val_cfg = val_dataloader = val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
train_cfg = dict(max_iters=8)
"""
TWO_STEPS = """
custom_hooks = [dict(
    type='geo_mm.TransferHook', unfreeze=[dict(begin=3, last=2), dict(begin=0.75)])]
"""


class Watch(Hook):
    """Notes the losses, and what learns in each iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.learning: list[set[str]] = []
        self.moved: list[set[str]] = []
        self.training_norms: list[set[str]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        model = runner.model
        self.before = {k: v.clone() for k, v in model.state_dict().items()}
        self.learning.append({part(k) for k, p in model.named_parameters() if p.requires_grad})
        self.training_norms.append(
            {part(k) for k, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training}
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())
        after = runner.model.state_dict()
        self.moved.append({part(k) for k in after if not torch.equal(after[k], self.before[k])})


def part(name: str) -> str:
    """``encoder.3`` of ``backbone.encoder.3.1.convs...``, else head."""
    match = re.match(r'backbone\.(encoder\.\d)', name)
    return match[1] if match else 'head'


def write_config(folder, recipe: str, more: str = ''):
    path = write_seg_config(folder, EXACT + more)
    text = path.read_text().replace('schedules/adamw_2k.py', f'transfer/{recipe}.py')
    path.write_text(re.sub(r'^param_scheduler.*\n', '', text, flags=re.MULTILINE))
    return path


def train(folder, recipe: str, more: str = '', work: str = 'work', **options) -> Watch:
    with fresh_mmengine():
        options = {'load_from': str(folder / 'first' / 'iter_2.pth'), **options}
        config = launch.load_config(write_config(folder, recipe, more), options)
        config.work_dir = str(folder / work)
        runner = launch.build_runner(config)
        watch = Watch()
        runner.register_hook(watch)
        runner.train()
    return watch


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('transfer')
    write_scene(folder)
    run_tool('train.py', write_seg_config(folder), '--work-dir', folder / 'first')
    return folder


@pytest.fixture(scope='module')
def whole(folder):
    return train(folder, 'fine_tuning', TWO_STEPS, 'whole')


STAGES = {f'encoder.{i}' for i in range(5)}
LAST = {'encoder.3', 'encoder.4'}


def test_feature_extraction_changes_nothing_of_the_backbone(folder):
    watch = train(folder, 'feature_extraction', 'train_cfg = dict(max_iters=2)')
    assert watch.learning == watch.moved == watch.training_norms == [{'head'}] * 2


def test_fine_tuning_unfreezes_from_the_end(whole):
    expected = [{'head'}] * 3 + [{'head'} | LAST] * 3 + [{'head'} | STAGES] * 2
    assert whole.learning == whole.moved == expected
    # Statistics of batch norm stay what they were, in all stages.
    assert whole.training_norms == [{'head'}] * 8


def test_statistics_are_touched_when_asked(folder):
    more = TWO_STEPS.replace('unfreeze=', 'norm_eval=False, unfreeze=')
    watch = train(folder, 'fine_tuning', more)
    assert watch.training_norms == watch.learning


def test_statistics_and_frozen_weights_are_those_of_the_checkpoint(folder, whole):
    start = read_checkpoint(folder / 'first' / 'iter_2.pth')['state_dict']
    end = read_checkpoint(folder / 'whole' / 'iter_8.pth')['state_dict']
    frozen = read_checkpoint(folder / 'whole' / 'iter_6.pth')['state_dict']
    for key, value in start.items():
        if 'running' in key and 'encoder' in key:
            assert torch.equal(end[key], value)
        if 'encoder.2' in key:
            assert torch.equal(frozen[key], value)


@pytest.mark.parametrize('done', [2, 3, 5, 6, 7])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(folder, whole, done):
    checkpoint = str(folder / 'whole' / f'iter_{done}.pth')
    rest = train(folder, 'fine_tuning', TWO_STEPS, f'rest{done}', load_from=checkpoint, resume=True)
    assert rest.losses == whole.losses[done:]
    assert rest.learning == whole.learning[done:]


def test_from_scratch_everything_learns(folder):
    watch = train(folder, 'from_scratch', 'train_cfg = dict(max_iters=1)', load_from=None)
    assert watch.learning == watch.moved == watch.training_norms == [{'head'} | STAGES]


def test_the_log_says_what_learns_at_which_rate(folder, whole):
    (log,) = (folder / 'whole').glob('*/*.log')
    found = re.findall(r'Transfer: .*\n(?:  .*\n)+', log.read_text())
    assert [re.search(r'iteration (\d) on, (\d) of 5', text).groups() for text in found] == [
        ('0', '0'),
        ('3', '2'),
        ('6', '5'),
    ]
    lines = found[1].splitlines()[1:]
    assert [line.split()[0] for line in lines] == ['head', *sorted(STAGES, reverse=True)]
    rates = [float(re.search(r'lr (\S+)', line)[1].rstrip(',')) for line in lines[:3]]
    assert [rate / rates[0] for rate in rates] == pytest.approx([1, 10**-0.2, 10**-0.4], rel=0.01)
    assert [bool(re.search(r'\d frozen', line)) for line in lines] == [False] * 3 + [True] * 3


def test_a_backbone_that_learnt_nothing_is_not_frozen(folder):
    with pytest.raises(ConfigError, match=r'(?s)UNet, which is not pretrained.*load_from'):
        train(folder, 'feature_extraction', load_from=None)


INFLATED = """
model['backbone']['init_cfg'] = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='geo_mm.InflatedPretrained', prefix='backbone.', checkpoint={checkpoint!r},
         bands=('red', 'green', 'blue', 'nir'), extra={extra!r})]
model['backbone']['in_channels'] = 4
model['data_preprocessor'] = dict(mean=[100.0] * 4, std=[50.0] * 4)
for loader in (train_dataloader, test_dataloader):
    loader['dataset'] = dict(
        loader['dataset'], fill=[100.0] * 4, bands=('B1', 'B2', 'B3', 'B1'))
train_cfg = dict(max_iters=1)
"""


def test_a_stem_filled_at_random_learns_and_one_filled_by_the_mean_need_not(folder):
    first = str(folder / 'first' / 'iter_2.pth')
    for extra, expected in (('random', {'head', 'encoder.0'}), ('mean', {'head'})):
        more = INFLATED.format(checkpoint=first, extra=extra)
        watch = train(folder, 'feature_extraction', more, load_from=None)
        assert watch.moved == [expected]
        assert watch.training_norms == [{'head'}]


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        ('dict(begin=8)', 'begin=8, of 8 iterations'),
        ('dict(begin=1, last=6)', r'(?s)last 6 stages.*encoder.0, encoder.1'),
        ('dict(begin=5, last=1), dict(begin=3, last=2)', 'ever later and more'),
        ('dict(begin=3, last=2), dict(begin=5, last=1)', 'ever later and more'),
    ],
)
def test_unfreezings_that_make_no_sense(folder, steps, message):
    hook = f"custom_hooks = [dict(type='geo_mm.TransferHook', unfreeze=[{steps}])]"
    with pytest.raises(ConfigError, match=message):
        train(folder, 'fine_tuning', hook)


def test_epochs_are_counted_too(folder):
    more = """
train_dataloader['sampler'] = dict(type='geo_mm.RandomChipSampler', infinite=False, num_chips=4)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=9)
custom_hooks = [
    dict(type='geo_mm.TransferHook', by_epoch=True, unfreeze=[dict(begin=1, last=2)])]
"""
    watch = train(folder, 'fine_tuning', more)
    assert watch.learning == [{'head'}] * 2 + [{'head'} | LAST] * 4
