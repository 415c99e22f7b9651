"""Stages of real backbones, small ones."""

import itertools
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch.nn.modules.batchnorm import _BatchNorm

from geo_mm.engine import launch
from geo_mm.engine.launch import build_model, load_config
from geo_mm.engine.transfer import backbone_stages, stage_rates
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import CONFIGS, fresh_mmengine, run_tool, scope, write_scene, write_seg_config

SEGFORMER = CONFIGS / 'segformer' / 'segformer_mit-b0_adamw-2k_town-256x256.py'
RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
LAYERS = ['layer1', 'layer2', 'layer3', 'layer4']
HRNET = ['transition1', 'stage2', 'transition2', 'stage3', 'transition3', 'stage4']
BACKBONES = {
    'ResNet of mmdet': ('det', dict(type='ResNet', depth=18), ['stem', *LAYERS]),
    'ResNet of mmseg': ('seg', RESNET, ['stem', *LAYERS]),
    'ResNet with a deep stem': ('seg', {**RESNET, 'type': 'ResNetV1c'}, ['stem', *LAYERS]),
    'ResNeXt': ('det', dict(type='ResNeXt', depth=50, groups=32), ['stem', *LAYERS]),
    'SSD-VGG': (
        'det',
        dict(type='geo_mm.SSDVGG', depth=16, base_channels=4),
        [f'stage.{i}' for i in range(1, 7)],
    ),
    'Darknet': (
        'det',
        dict(type='geo_mm.Darknet', depth=21, base_channels=4),
        ['stem', *(f'conv_res_block{i}' for i in range(1, 6))],
    ),
    'ResNet encoder of a U-Net': (
        'seg',
        {**RESNET, 'type': 'geo_mm.ResNetEncoder'},
        ['stem', *LAYERS],
    ),
    'VGG encoder of a U-Net': (
        'seg',
        dict(type='geo_mm.VGGEncoder', depth=16, base_channels=4),
        [f'stage.{i}' for i in range(1, 6)],
    ),
    'U-Net': (
        'seg',
        dict(type='UNet', base_channels=4),
        [f'encoder.{i}' for i in range(5)],
    ),
    'HRNet': (
        'seg',
        dict(
            type='HRNet',
            extra={
                f'stage{i}': dict(
                    num_modules=1,
                    num_branches=i,
                    block='BOTTLENECK' if i == 1 else 'BASIC',
                    num_blocks=(1,) * i,
                    num_channels=(8, 16, 32, 64)[:i],
                )
                for i in range(1, 5)
            },
        ),
        ['stem', 'layer1', *HRNET],
    ),
    'SegFormer': (
        'seg',
        dict(type='MixVisionTransformer', embed_dims=8),
        [f'layers.{i}' for i in range(4)],
    ),
    'SegNeXt': (
        'seg',
        dict(type='MSCAN', depths=[1] * 4, embed_dims=[8, 16, 32, 64], norm_cfg=dict(type='BN')),
        ['stem', 'block1', *(f'{part}{i}' for i in (2, 3, 4) for part in ('patch_embed', 'block'))],
    ),
    'Swin': (
        'det',
        dict(type='SwinTransformer', embed_dims=12, depths=[1] * 4, num_heads=[3] * 4),
        ['stem', *(f'stages.{i}' for i in range(4))],
    ),
    'Twins': (
        'seg',
        dict(type='PCPVT', embed_dims=[8, 16, 32, 64], depths=[1] * 4),
        ['stem', *(f'layers.{i}' for i in range(4))],
    ),
    'vision transformer': (
        'seg',
        dict(type='VisionTransformer', img_size=64, embed_dims=16, num_layers=3, num_heads=2),
        ['stem', *(f'layers.{i}' for i in range(3))],
    ),
    'RTMDet': (
        'det',
        dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.167),
        ['stem', *(f'stage{i}' for i in range(1, 5))],
    ),
    'YOLOX': (
        'det',
        dict(type='CSPDarknet', widen_factor=0.125, deepen_factor=0.33),
        ['stem', *(f'stage{i}' for i in range(1, 5))],
    ),
    'MobileNet': (
        'det',
        dict(type='MobileNetV2'),
        ['stem', *(f'layer{i}' for i in range(1, 8)), 'conv2'],
    ),
}


def model_with(task: str, backbone: dict) -> torch.nn.Module:
    model = torch.nn.Module()
    with scope(task):
        model.backbone = MODELS.build(backbone)
    return model


@pytest.mark.parametrize('name', BACKBONES)
def test_stages_go_from_the_image_to_the_deepest_features(name):
    task, config, expected = BACKBONES[name]
    model = model_with(task, config)
    stages = backbone_stages(model)
    assert list(stages) == expected
    inside = [p for parts in stages.values() for part in parts for p in part.parameters()]
    assert len(set(inside)) == len(inside)
    rest = {name for name, p in model.backbone.named_parameters() if p not in set(inside)}
    # A U-Net's decoder learns with the head.
    assert {name.partition('.')[0] for name in rest} == ({'decoder'} if name == 'U-Net' else set())
    first = next(m for m in model.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.weight in {p for part in next(iter(stages.values())) for p in part.parameters()}


def test_stages_of_vgg_begin_after_each_pooling():
    stages = backbone_stages(model_with('det', dict(type='geo_mm.SSDVGG', base_channels=4)))
    convolutions = [sum(isinstance(m, torch.nn.Conv2d) for m in parts) for parts in stages.values()]
    assert convolutions == [2, 2, 3, 3, 3, 2]


def test_a_model_wrapped_for_distributed_training():
    wrapped = torch.nn.Module()
    wrapped.module = model_with('seg', RESNET)
    assert list(backbone_stages(wrapped)) == ['stem', *LAYERS]


def test_unknown_backbones_and_none():
    model = torch.nn.Module()
    with pytest.raises(ConfigError, match='Module has no backbone'):
        backbone_stages(model)
    model.backbone = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match='backbone Linear has no stages'):
        backbone_stages(model)


class ConvNeXtLike(torch.nn.Module):
    """Lists of downsamplings and of blocks, as in mmpretrain; norms of the outputs."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.downsample_layers = nn.ModuleList(
            nn.Conv2d(3 if i == 0 else 8, 8, 2) for i in range(4)
        )
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 7)) for _ in range(4))
        self.norm3 = nn.LayerNorm(8)


class TimmLike(torch.nn.Module):
    """Embeddings as parameters of the model itself, blocks in a Sequential; in a wrapper."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        inner = self.timm_model = nn.Module()
        inner.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        inner.patch_embed = nn.Sequential(nn.Conv2d(3, 8, 4))
        inner.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8)) for _ in range(3)))
        inner.norm = nn.LayerNorm(8)


def test_lists_side_by_side_go_together():
    model = torch.nn.Module()
    model.backbone = ConvNeXtLike()
    stages = backbone_stages(model)
    assert list(stages) == ['stem', *(f'stages.{i}' for i in range(4))]
    assert stages['stages.1'] == [model.backbone.downsample_layers[1], model.backbone.stages[1]]
    assert stages['stages.3'][-1] is model.backbone.norm3


def test_embeddings_belong_to_the_stem():
    model = torch.nn.Module()
    model.backbone = TimmLike()
    stages = backbone_stages(model)
    assert list(stages) == ['stem', *(f'blocks.{i}' for i in range(3))]
    stem = {p for part in stages['stem'] for p in part.parameters()}
    assert model.backbone.timm_model.pos_embed in stem
    assert sum(len([*part.parameters()]) for parts in stages.values() for part in parts) == len(
        [*model.parameters()]
    )


def test_rates_are_geometric_up_to_the_head():
    rates = [*stage_rates(4, 0.1), 1.0]
    assert rates[0] == pytest.approx(0.1)
    factors = [later / earlier for earlier, later in itertools.pairwise(rates)]
    assert factors == pytest.approx([10**0.25] * 4)
    assert stage_rates(3, 1.0) == [1.0] * 3


ADAMW = dict(type='AdamW', lr=0.01, weight_decay=0.2)


@pytest.fixture
def model():
    model = torch.nn.Module()
    with scope('seg'):
        model.backbone = MODELS.build(
            dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
        )
    model.decode_head = torch.nn.Conv2d(32, 2, 1)
    return model


def wrapper_of(model, optimizer=ADAMW, **paramwise):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='geo_mm.StageRateConstructor',
            optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=optimizer),
            paramwise_cfg=paramwise or None,
        )
    )
    return constructor(model)


def test_rates_from_a_tenth_to_the_head(model):
    groups = wrapper_of(model).optimizer.param_groups
    rates = {group['stage']: group['lr'] for group in groups}
    assert list(rates) == ['head', 'layer4', 'layer3', 'layer2', 'layer1', 'stem']
    assert list(rates.values()) == pytest.approx([0.01 * 10 ** (-i / 5) for i in range(6)])


def test_every_parameter_once_and_what_has_one_dimension_without_decay(model):
    optimizer = wrapper_of(model, first=0.5).optimizer
    members = [p for group in optimizer.param_groups for p in group['params']]
    assert set(members) == set(model.parameters())
    assert len(members) == len(list(model.parameters()))
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group['params']} == {group['weight_decay'] == 0.2}
        assert group['weight_decay'] in (0.0, 0.2)


def test_what_the_config_holds_fixed_is_left_out(model):
    model.backbone.conv1.weight.requires_grad = False
    optimizer = wrapper_of(model).optimizer
    members = [p for group in optimizer.param_groups for p in group['params']]
    assert set(model.parameters()) - set(members) == {model.backbone.conv1.weight}


def test_an_optimiser_without_decay(model):
    groups = wrapper_of(model, dict(type='SGD', lr=0.1)).optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {0}


@pytest.mark.parametrize('paramwise', [dict(first=0), dict(first=2), dict(lr_mult=1)])
def test_settings_that_make_no_sense(model, paramwise):
    with pytest.raises(ConfigError, match=r'(?s)StageRateConstructor with.*first'):
        wrapper_of(model, **paramwise)


def test_an_optimiser_without_a_rate(model):
    with pytest.raises(ConfigError, match='has no lr'):
        wrapper_of(model, dict(type='AdamW'))


def test_the_shipped_segformer_has_stage_rates():
    """A config of ours and a recipe of ours: they once did not go together."""
    model = build_model(load_config(SEGFORMER))
    rates = {group['stage']: group['lr'] for group in wrapper_of(model).optimizer.param_groups}
    assert list(rates) == ['head', *(f'layers.{i}' for i in (3, 2, 1, 0))]
    assert list(rates.values()) == pytest.approx([0.01 * 10 ** (-i / 4) for i in range(5)])


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


ADAPTED = """
model['backbone']['init_cfg'] = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='geo_mm.AdaptedPretrained', prefix='backbone.', checkpoint={checkpoint!r},
         bands=('red', 'green', 'blue', 'nir'), missing={missing!r})]
model['backbone']['in_channels'] = 4
model['data_preprocessor'] = dict(mean=[100.0] * 4, std=[50.0] * 4)
for loader in (train_dataloader, test_dataloader):
    loader['dataset'] = dict(
        loader['dataset'], fill=[100.0] * 4, bands=('B1', 'B2', 'B3', 'B1'))
train_cfg = dict(max_iters=1)
"""


@pytest.mark.slow
def test_a_stem_filled_at_random_learns_and_one_filled_by_the_mean_need_not(folder):
    first = str(folder / 'first' / 'iter_2.pth')
    for missing, expected in (('random', {'head', 'encoder.0'}), ('mean', {'head'})):
        more = ADAPTED.format(checkpoint=first, missing=missing)
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
