import importlib.util

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS
from mmengine.visualization import TensorboardVisBackend

from geo_mm.engine import launch
from geo_mm.errors import ConfigError, Interrupt, OutputError
from tests.data.chips import CONFIGS, build_dataset, scope

TOWN = CONFIGS / 'unet' / 'unet-s5-d16-c16_adamw-2k_town-256x256.py'


def test_overrides_reach_into_lists_and_dicts():
    options = {'train_dataloader.batch_size': 3, 'param_scheduler.1.end': 7}
    config = launch.load_config(TOWN, options)
    assert config.train_dataloader.batch_size == 3
    assert config.param_scheduler[1].end == 7


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = (', 'broken.py: .*Error'),
        ('a = 1 / 0', 'broken.py: ZeroDivisionError'),
        ("_base_ = './nowhere.py'", 'broken.py: FileNotFoundError.*nowhere.py'),
        ('a = undefined', "broken.py: NameError: name 'undefined'"),
    ],
)
def test_a_broken_config_is_named(tmp_path, text, message):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        launch.load_config(path)


def test_an_override_of_what_is_not_there():
    with pytest.raises(ConfigError, match=r'(?s)--cfg-options.*print-config'):
        launch.load_config(TOWN, {'param_scheduler.7.total_steps': 1})


def test_an_override_of_a_variable_that_has_been_used():
    with pytest.raises(ConfigError, match=r'(?s)max_iters: a variable.*train_cfg\.max_iters'):
        launch.load_config(TOWN, {'max_iters': 5})
    assert 'max_iters' not in launch.settings_of(launch.load_config(TOWN))


def test_the_work_dir_is_named_after_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / 'tiny.py'
    source.touch()
    for own, option, expected in (
        (None, None, 'work_dirs/tiny'),
        ('own', None, 'own'),
        ('own', 'given', 'given'),
    ):
        config = Config(dict(work_dir=own), filename=source)
        launch.set_work_dir(config, option)
        assert config.work_dir == expected
        assert (tmp_path / expected).is_dir()


def test_a_work_dir_that_cannot_be(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match=r'(?s)file/work: cannot be written.*--work-dir'):
        launch.set_work_dir(Config({}), tmp_path / 'file' / 'work')


def test_an_endless_sampler_in_an_epoch_is_refused():
    config = launch.load_config(TOWN)
    config.train_cfg = dict(by_epoch=True, max_epochs=2)
    with pytest.raises(ConfigError, match=r'(?s)RandomChipSampler are endless.*infinite=False'):
        launch.build_runner(config)


def test_weights_to_start_from_must_exist():
    config = launch.load_config(TOWN, {'load_from': 'nowhere.pth'})
    with pytest.raises(ConfigError, match=r'nowhere.pth: no such checkpoint'):
        launch.build_runner(config)


@pytest.mark.skipif(torch.cuda.is_available(), reason='only without a GPU')
def test_launcher_for_gpus():
    with pytest.raises(ConfigError, match=r'(?s)without GPUs.*dist_train.sh'):
        launch.build_runner(launch.load_config(TOWN), 'mpi')


def test_processes_that_srun_has_not_started(monkeypatch):
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    with pytest.raises(ConfigError, match=r'(?s)srun has not started.*slurm_train.sh'):
        launch.build_runner(launch.load_config(TOWN), 'slurm')


def test_resuming(tmp_path):
    config = Config(dict(load_from='weights.pth', work_dir=str(tmp_path)))
    launch.use_resume(config, None)
    assert (config.get('resume'), config.load_from) == (None, 'weights.pth')
    # Nothing to go on from: the run starts, with the weights it was to start from.
    launch.use_resume(config, 'auto')
    assert (config.get('resume'), config.load_from) == (None, 'weights.pth')
    (tmp_path / 'last_checkpoint').write_text('iter_2.pth')
    launch.use_resume(config, 'auto')
    assert (config.resume, config.load_from) == (True, None)
    with pytest.raises(ConfigError, match=r'no such checkpoint'):
        launch.use_resume(config, 'nowhere.pth')


def test_scaling_the_rate_needs_a_base():
    config = launch.load_config(TOWN)
    launch.use_scaled_lr(config)
    assert config.auto_scale_lr.enable
    with pytest.raises(ConfigError, match=r'base_batch_size'):
        launch.use_scaled_lr(Config({}))


def test_a_mistyped_type_suggests_ours():
    with (
        pytest.raises(
            ConfigError,
            match=r'(?s)geo_mm.InputSpekHook is not in the .*did you mean geo_mm.InputSpecHook',
        ),
        launch.explained_config_errors(),
    ):
        HOOKS.build(dict(type='geo_mm.InputSpekHook'))


def test_a_mistyped_argument_names_its_owner():
    with (
        scope('seg'),
        pytest.raises(ConfigError, match=r"LoggerHook.*unexpected keyword argument 'speed'"),
        launch.explained_config_errors(),
    ):
        HOOKS.build(dict(type='LoggerHook', speed=1))


def test_an_argument_where_there_are_none():
    with (
        pytest.raises(ConfigError, match=r'ChannelsLastHook\(\) takes no arguments'),
        launch.explained_config_errors(),
    ):
        HOOKS.build(dict(type='geo_mm.ChannelsLastHook', speed=1))


@pytest.mark.parametrize(
    ('build', 'package'),
    [
        (lambda: MODELS.build(dict(type='mmpretrain.ConvNeXt')), 'mmpretrain'),
        (lambda: TensorboardVisBackend('.').experiment, 'tensorboard'),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, build, package):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f'{package} is installed')
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ConfigError, match=rf"(?s){package}.*pip install 'geo_mm\[{package}\]'"),
        launch.explained_config_errors(),
    ):
        build()


def test_a_missing_package_in_custom_imports(tmp_path):
    if importlib.util.find_spec('mmpretrain') is not None:
        pytest.skip('mmpretrain is installed')
    path = tmp_path / 'convnext.py'
    path.write_text("custom_imports = dict(imports=['mmpretrain.models'])")
    with pytest.raises(ConfigError, match=r"pip install 'geo_mm\[mmpretrain\]'"):
        launch.load_config(path)


def test_other_errors_stay_as_they_are():
    for error in (TypeError('x'), KeyError('y'), ValueError('z')):
        with pytest.raises(type(error)), launch.explained_config_errors():
            raise error


def test_our_own_errors_pass_through():
    with pytest.raises(ConfigError, match=r'no argument'), launch.explained_config_errors():
        build_dataset('seg', [], chip_siez=3)


def test_ctrl_c_while_the_config_is_formatted_is_no_syntax_error(monkeypatch):
    """MMEngine turns all exceptions of the formatter into one."""

    def interrupted(*args, **kwargs):
        raise Interrupt(2, 'nothing is lost')

    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', interrupted)
    with pytest.raises(Interrupt, match='nothing is lost'), launch.explained_config_errors():
        Config(dict(a=1)).pretty_text  # noqa: B018
