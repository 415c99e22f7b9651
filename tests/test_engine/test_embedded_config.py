"""Configs that come inside a model file can run no program."""

import ast
import functools
import inspect
import math
import re
import sys

import pytest
import torch
from mmengine.config import Config

from geo_mm.engine import embedded_config
from geo_mm.engine.embedded_config import check, config_of
from geo_mm.engine.launch import load_config
from geo_mm.engine.run import config_for
from geo_mm.errors import ConfigError
from geo_mm.inference import TrainedModel
from tests.data.chips import CONFIGS
from tests.data.models import pixel_files, spec_of

SPEC = spec_of('pixels', ['low', 'high'], ['Red'])


@pytest.fixture
def files(tmp_path):
    return pixel_files(tmp_path / 'model', SPEC, [[0.0], [1.0]])


def with_config(files, change):
    """Changes the config in a checkpoint."""
    data = torch.load(files[1], weights_only=True)
    config = Config.fromfile(files[0])
    change(config)
    data['meta']['cfg'] = config.pretty_text
    torch.save(data, files[1])
    return files[1]


def set_to(*path, **values):
    """Sets keys of the mapping at a path in a config."""

    def change(config):
        for key in path:
            config = config[key]
        config.update(values)

    return change


PIPELINE = ('test_dataloader', 'dataset', 'pipeline')
HEAD = ('model', 'decode_head')
RUN = dict(type='subprocess.Popen', args='touch ran', shell=True)

ATTACKS = {
    'a loss': set_to(*HEAD, loss_decode=RUN),
    'the model': lambda config: config.update(model=RUN),
    'a step of the pipeline': lambda config: config.test_dataloader.dataset.pipeline.append(RUN),
    'a nested step': lambda config: config.test_dataloader.dataset.pipeline.append(
        dict(type='RandomApply', transforms=[RUN])
    ),
    'something in a list': set_to(*HEAD, loss_decode=[dict(type='CrossEntropyLoss'), RUN]),
    'a name in full of a library': set_to(
        *HEAD, loss_decode=dict(type='mmengine.fileio.load', file='a.pkl')
    ),
    'a prefix': set_to(*HEAD, loss_decode=dict(type='evil.CrossEntropyLoss')),
    'a scope': set_to(*HEAD, loss_decode=dict(type='CrossEntropyLoss', _scope_='evil')),
    'the default scope': lambda config: config.update(default_scope='evil'),
    'an operator that is evaluated': set_to(
        'model', test_cfg=dict(nms=dict(type="__import__('os').mkdir('ran')"))
    ),
    'a registered part that evaluates': set_to(
        'model', tracker=dict(type='mmdet.CameraMotionCompensation', warp_mode='1')
    ),
    'an augmentation of another library': lambda config: (
        config.test_dataloader.dataset.pipeline.append(
            dict(type='Albu', transforms=[dict(type='load', filepath='x')])
        )
    ),
    'a pickle to read': set_to(
        *HEAD, loss_decode=dict(type='CrossEntropyLoss', class_weight='https://x.org/a.pkl')
    ),
    'a pickle beside the scene': set_to(
        *HEAD, loss_decode=dict(type='CrossEntropyLoss', class_weight='a.pkl')
    ),
    'a config to run': set_to(
        'model', teacher=dict(type='mmdet.KnowledgeDistillationSingleStageDetector'), config='a.py'
    ),
    'a sampler in place of a loss': set_to(*HEAD, loss_decode=dict(type='geo_mm.LoadChip')),
    'a module to import': lambda config: config.update(
        custom_imports=dict(imports=['evil_module'])
    ),
    'a module to import, alone': lambda config: config.update(
        custom_imports=dict(imports='evil_module')
    ),
}


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder on the path whose modules leave a trace."""
    for name in ('evil_module.py', 'evil/__init__.py', 'evil/registry.py'):
        path = tmp_path / 'path' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("open('ran', 'w')\n")
    monkeypatch.syspath_prepend(tmp_path / 'path')
    monkeypatch.chdir(tmp_path)
    yield tmp_path / 'ran'
    for name in ('evil', 'evil.registry', 'evil_module'):
        sys.modules.pop(name, None)


@pytest.mark.parametrize('attack', ATTACKS.values(), ids=ATTACKS)
def test_what_could_run_is_refused_before_anything_is_built(files, evil, attack):
    checkpoint = with_config(files, attack)
    with pytest.raises(ConfigError, match=r'(?s)model\.pth: the config in it .*--trust-checkpoint'):
        TrainedModel(checkpoint, device='cpu')
    assert not evil.exists()


def test_the_message_says_where(files):
    checkpoint = with_config(files, ATTACKS['a loss'])
    with pytest.raises(ConfigError, match=r"model\.decode_head\.loss_decode\.type is 'subprocess"):
        TrainedModel(checkpoint, device='cpu')


def test_a_type_under_another_key_is_not_imported(files, evil):
    layer = dict(type='ConvModule', in_channels=1, out_channels=1, kernel_size=1, padding=1)
    change = set_to('model', backbone=layer | dict(padding_mode='evil_module'))
    checkpoint = with_config(files, change)
    with pytest.raises(ConfigError, match='cannot be built'):
        TrainedModel(checkpoint, device='cpu')
    assert not evil.exists()


def test_trust_imports_and_builds_anything(files, evil):
    checkpoint = with_config(files, ATTACKS['a module to import'])
    TrainedModel(checkpoint, device='cpu', trust_checkpoint=True)
    assert evil.exists()


def test_modules_that_are_imported_already_do_no_harm(files):
    assert 'tests.data.models' in sys.modules  # which the config of these models names
    assert TrainedModel(files[1], device='cpu').spec == SPEC


@pytest.mark.parametrize('name', ['resnet18', 'resnet18.a1_in1k'])
def test_names_of_timm_may_have_a_tag(name):
    check(Config({'model': {'type': 'geo_mm.TimmBackbone', 'name': name}}), 'a.pth')


@pytest.mark.parametrize(
    'model',
    [
        {'type': 'geo_mm.TimmBackbone', 'name': 'hf-hub:stranger/resnet18.a1_in1k'},
        {'type': 'geo_mm.TimmBackbone', 'name': '../resnet18.a1_in1k'},
        {'type': 'geo_mm.TimmBackbone', 'checkpoint_path': 'resnet18.a1_in1k'},
        {'type': 'mmdet.ResNet', 'name': 'resnet18.a1_in1k'},
    ],
)
def test_other_texts_with_dots_are_refused(model):
    with pytest.raises(ConfigError, match='a1_in1k'):
        check(Config({'model': model}), 'a.pth')


def test_weights_to_start_from_are_left_out(files):
    start = dict(type='Pretrained', checkpoint='https://example.org/a.pth')
    checkpoint = with_config(files, set_to(*HEAD, init_cfg=start))
    assert TrainedModel(checkpoint, device='cpu').config.model.decode_head.init_cfg is None


OURS = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


@functools.cache
def text_of(path):
    """A config as a checkpoint holds it; MMEngine takes seconds to write some of ours."""
    return Config.fromfile(path).pretty_text


TEST_ATTACKS = {
    'a hook': lambda config: config.update(custom_hooks=[RUN]),
    'a visualizer': lambda config: config.update(visualizer=RUN),
    'a loop': lambda config: config.update(test_cfg=RUN),
}
REFUSED_IN_TESTS = {
    'a metric': lambda config: config.update(test_evaluator=RUN),
    'a metric that writes': lambda config: config.update(
        test_evaluator=dict(type='CocoMetric', outfile_prefix='../ran')
    ),
    'a sampler': set_to('test_dataloader', sampler=RUN),
    'a function for workers': set_to('test_dataloader', worker_init_fn=RUN),
    'a function for batches': set_to('test_dataloader', collate_fn=RUN),
    'a data set': set_to('test_dataloader', 'dataset', type='subprocess.Popen'),
    'a data set that reads pickles': set_to('test_dataloader', 'dataset', type='CocoDataset'),
    'another scope': set_to('test_dataloader', 'dataset', _scope_='evil'),
    'a wrapped data set': lambda config: config.test_dataloader.update(
        dataset=dict(type='ConcatDataset', datasets=[dict(type='geo_mm.GeoSegDataset'), RUN])
    ),
}


def test_a_test_run_of_a_checkpoint_alone_can_be_built(files):
    used = config_for(files[1], testing=True)
    assert used.model.type == 'EncoderDecoder'


@pytest.mark.parametrize('attack', TEST_ATTACKS.values(), ids=TEST_ATTACKS)
def test_what_runs_around_a_model_is_not_taken_from_the_checkpoint(files, attack):
    used = config_for(with_config(files, attack), testing=True)
    assert 'Popen' not in used.pretty_text


@pytest.mark.parametrize('attack', REFUSED_IN_TESTS.values(), ids=REFUSED_IN_TESTS)
def test_data_and_metrics_of_a_checkpoint_are_checked_too(files, attack):
    checkpoint = with_config(files, attack)
    with pytest.raises(ConfigError, match='--trust-checkpoint'):
        config_for(checkpoint, testing=True)


@pytest.mark.parametrize('path', OURS, ids=lambda path: path.stem)
def test_our_own_configs_can_be_tested_from_a_checkpoint(path):
    config = config_of({'meta': {'cfg': text_of(path)}}, 'a.pth')
    assert embedded_config.for_testing(config, 'a.pth').test_evaluator


@pytest.mark.parametrize('text', ['x', 'model = [1]', 'model = dict()', 'a = ' + '[' * 500])
def test_a_config_of_no_model(files, text):
    data = torch.load(files[1], weights_only=True)
    data['meta']['cfg'] = text
    torch.save(data, files[1])
    with pytest.raises(ConfigError, match=r'model\.pth: the (config|model) in it'):
        TrainedModel(files[1], device='cpu')


@pytest.mark.parametrize('path', OURS, ids=lambda path: path.stem)
def test_our_own_configs_name_only_what_is_registered(path):
    assert config_of({'meta': {'cfg': text_of(path)}}, 'a.pth').model.type


DANGEROUS = r'\b(eval|exec|__import__|import_module|getattr\(albumentations)\(|from_pretrained\('
DANGEROUS += r'|create_model\(|instantiate_from_config|nltk\.|subprocess|os\.system|pickle\.load'


def test_no_registered_part_that_runs_its_arguments_is_allowed(monkeypatch):
    # inspect parses the whole module again for every class in it.
    monkeypatch.setattr(ast, 'parse', functools.cache(ast.parse))
    parts = [(node, embedded_config._MODEL_PARTS) for node in embedded_config._MODEL_PARTS]
    parts.append((embedded_config.TRANSFORMS, (embedded_config.TRANSFORMS,)))
    looked_at, found = 0, []
    for root, position in parts:
        for scope in ('mmengine', 'mmdet', 'mmseg', 'geo_mm'):
            for name, item in embedded_config._registered(root, scope).items():
                if not embedded_config._is_known(f'{scope}.{name}', scope, position):
                    continue
                try:
                    source = inspect.getsource(item)
                except (OSError, TypeError):
                    continue
                looked_at += 1
                if re.search(DANGEROUS, source.replace('.eval(', '').replace('_eval(', '')):
                    found.append(f'{scope}.{name}')
    assert looked_at > 600
    assert found == []


PLAIN = sorted(
    path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts and path.name[0] != '_'
)


@pytest.mark.parametrize('path', PLAIN, ids=lambda path: path.stem)
def test_our_configs_come_back_from_their_text(path):
    assert Config(embedded_config.parse(text_of(path))).to_dict() == load_config(path).to_dict()


def test_what_plain_data_looks_like():
    text = """
a = dict(x=-1.5, y=[1, (2, 'b')], z=None)
b = dict({'k-1': True, 2: {3, 4}})
c = [inf, -inf]
"""
    assert embedded_config.parse(text) == {
        'a': {'x': -1.5, 'y': [1, (2, 'b')], 'z': None},
        'b': {'k-1': True, 2: {3, 4}},
        'c': [math.inf, -math.inf],
    }


@pytest.mark.parametrize(
    'line',
    [
        'import os',
        "a = __import__('os').system('true')",
        "a = open('x', 'w')",
        "a = dict(b=print('x'))",
        'a = dict(**b)',
        "a = {**b, 'c': 1}",
        'a = [x for x in (1, 2)]',
        'a.b = 1',
        'a, b = 1, 2',
        'a = other',
        "a = f'{1}'",
        "print('x')",
        # MMEngine would write these keys back as code.
        """a = {"b': print('x'), 'c": 1}""",
        r"""a = dict(b=[{"c\\": 1}])""",
        r"""a = {"b\n": 1}""",
    ],
)
def test_whatever_would_run_is_refused(line):
    with pytest.raises(ValueError, match='line 2'):
        embedded_config.parse(f'x = 1\n{line}\n')
