"""From a config file to a Runner: what the training and testing tools share."""

import atexit
import contextlib
import copy
import difflib
import gc
import importlib.util
import inspect
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, RUNNERS, DefaultScope
from mmengine.runner import Runner as MMEngineRunner

import geo_mm
from geo_mm.engine.runner import QuietRunner, Runner
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import existing_checkpoint, use_safe_loading
from geo_mm.models.stems import fit_bands
from geo_mm.models.timm_backbone import fit_neck
from geo_mm.paths import reported

# What is read from a config besides the arguments of the Runner.
_OTHERS = (
    'default_scope',
    'env_cfg',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
)
_KNOWN = {*inspect.signature(MMEngineRunner.__init__).parameters, *_OTHERS} - {'self', 'cfg'}
_READ = {*_KNOWN, 'custom_imports', 'tta_model', 'tta_pipeline'}
_ALIKE = 0.85  # share of equal letters; train_cfg and test_cfg have less in common


def load_config(
    config: str | os.PathLike | Config, overrides: Mapping | None = None, name: str = ''
) -> Config:
    """Reads a config file and applies overrides.

    Args:
        config: A config file, ``.py``, ``.json`` or ``.yml``; one that comes with
            the package may be named ``geo_mm::unet/NAME.py``. A config that is
            there already is copied.
        overrides: ``--cfg-options``: dotted key to value.
        name: Where the config comes from, for messages; its file if empty.

    Raises:
        ConfigError: If the file is missing or not a config.
    """
    if isinstance(config, Config):
        name, config = name or config.filename or 'config', copy.deepcopy(config)
    else:
        path = packaged_config(os.fspath(config))
        name, config = str(path), _read(path)
    _check_names(config, overrides or {}, name)
    try:
        config.merge_from_dict(dict(overrides or {}))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(
            f'--cfg-options for {name}: {error}', 'keys of the config, as geo-mm print-config shows'
        ) from error
    return config


def packaged_config(path: str) -> str:
    """The file that ``geo_mm::NAME`` stands for; other paths as they are."""
    name = path.removeprefix('geo_mm::')
    return path if name == path else str(config_folder() / name)


def config_folder() -> Path:
    """The folder of the configs that come with the package, installed or in a checkout."""
    package = Path(geo_mm.__file__).parent
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def _read(path: str) -> Config:
    if not Path(path).is_file():
        raise ConfigError(
            f'{path}: no such config file', 'a file as under configs/', 'check the path'
        )
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program of the user's: anything can happen in it
        raise ConfigError(
            f'{path}: {type(error).__name__}: {error}',
            'a valid config',
            _to_install(str(error)) or '',
        ) from error


def _check_names(config: Config, options: Mapping, path: str) -> None:
    """Finds settings that nothing would read.

    A config may hold variables of any name; one whose name is nearly that of
    a setting, and which holds settings, is a slip of the keyboard.

    Args:
        config: As the file has it.
        options: ``--cfg-options``: these may change, but not invent.
        path: The file, for the message.

    Raises:
        ConfigError: If there is such a name.
    """
    for name, value in config.items():
        close = _similar(name, _KNOWN) if isinstance(value, dict | list) else None
        if close and name not in _KNOWN:
            raise ConfigError(f'{path}: {name!r} is no setting', fix=f'did you mean {close}?')
    for key in options:
        name = key.partition('.')[0]
        if key in config and key not in _READ and not isinstance(config[key], dict):
            used = [path for path in _places(config, key) if path != key]
            raise ConfigError(
                f'--cfg-options {key}: a variable of {path}, which is used while the file is read: '
                'to change it afterwards has no effect',
                'a setting of the config, as geo-mm print-config shows',
                f'did you mean {" and ".join(used)}?' if used else 'change it in the file',
            )
        if name not in config and name not in _KNOWN:
            close = _similar(name, _KNOWN | set(config))
            raise ConfigError(
                f'--cfg-options {key}: {path} has no {name!r}',
                'a key of the config, as geo-mm print-config shows',
                f'did you mean {close}?' if close else 'check the spelling',
            )


def _places(config: Any, name: str, above: str = '') -> Iterator[str]:
    """Dotted keys of the settings of a name."""
    for key, value in config.items():
        if key == name:
            yield above + key
        if isinstance(value, Mapping):
            yield from _places(value, name, f'{above}{key}.')


def settings_of(config: Config) -> Config:
    """The config without the variables of its file.

    They have been used where they stand in the file. What they say need not be
    so any more: a setting may have been overridden.
    """
    return Config({name: value for name, value in config.items() if name in _READ})


def _similar(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)), None)


def set_work_dir(config: Config, work_dir: str | os.PathLike | None) -> None:
    """``--work-dir``, else the config's own, else ``work_dirs/<config name>``.

    Raises:
        OutputError: If there can be no such folder, or it cannot be written to.
    """
    if work_dir is not None:
        config.work_dir = os.fspath(work_dir)
    elif config.get('work_dir') is None:
        config.work_dir = os.path.join('work_dirs', Path(config.filename or 'model').stem)
    with reported(
        config.work_dir,
        expected='a folder for logs and checkpoints',
        fix='choose another with --work-dir',
    ):
        Path(config.work_dir).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=config.work_dir).close()


def use_amp(config: Config) -> None:
    """Switches automatic mixed precision on: float16 on a GPU, bfloat16 on a CPU.

    Raises:
        ConfigError: Without a GPU, for a model whose operators do not support bfloat16.
    """
    if torch.cuda.is_available():
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    if 'roi_head' in config.model:
        raise ConfigError(
            f'--amp for {config.model.type} on a CPU: non-maximum suppression and RoI align of '
            'mmcv, which its training needs, do not support bfloat16 there',
            'a GPU, a detector without roi_head, or a model for pixels',
            'omit --amp',
        )
    config.optim_wrapper.type = 'geo_mm.BFloat16OptimWrapper'


def use_scaled_lr(config: Config) -> None:
    """Scales the learning rate with the batch size over all ranks.

    Raises:
        ConfigError: If the config does not say for which batch its rate is.
    """
    if 'base_batch_size' not in config.get('auto_scale_lr', {}):
        raise ConfigError(
            '--auto-scale-lr, but the config has no auto_scale_lr',
            'auto_scale_lr=dict(base_batch_size=...)',
        )
    config.auto_scale_lr.enable = True


def use_resume(config: Config, resume: str | None) -> None:
    """``--resume`` alone takes the newest checkpoint, ``--resume FILE`` that one.

    Where there is none yet the run starts, from ``load_from`` if the config has it.
    """
    nothing_yet = resume == 'auto' and not Path(config.work_dir, 'last_checkpoint').is_file()
    if resume is None or nothing_yet:
        return
    config.resume = True
    config.load_from = None if resume == 'auto' else existing_checkpoint(resume)


def build_model(config: Config) -> torch.nn.Module:
    """The config's model with fresh weights, in the config's scope."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')), _quiet_building():
        fit_bands(config.model)
        fit_neck(config.model)
        return MODELS.build(config.model)


@contextlib.contextmanager
def _quiet_building() -> Iterator[None]:
    """Without warnings about what is meant as it is."""
    with warnings.catch_warnings():
        # Two classes with a channel each are what the configs here mean.
        warnings.filterwarnings('ignore', message='For binary segmentation, we suggest')
        # Said where another metric computes them all the same.
        warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
        yield


def build_runner(config: Config, launcher: str = 'none', *, verbose: bool = True) -> Runner:
    """A Runner for a config, on whatever device there is.

    Args:
        config: All that the Runner is made of.
        launcher: What started several processes.
        verbose: Print all of the log; else only what tells of progress and
            scores (:class:`geo_mm.engine.runner.QuietRunner`).

    Raises:
        ConfigError: If its weights to start from do not exist, it would train
            for an endless epoch, or the launcher needs GPUs.
    """
    if config.get('default_scope') == 'mmdet':
        with _quiet_building():
            import mmdet.evaluation  # noqa: F401 - it warns when it is imported
    use_safe_loading()
    config.launcher = launcher
    if launcher == 'slurm':
        set_slurm_ranks()
    if launcher != 'none' and not torch.cuda.is_available():
        _join_cpu_ranks(config, launcher)
    if config.get('load_from'):
        existing_checkpoint(config.load_from)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        fit_bands(config.model)
        fit_neck(config.model)
    _check_epochs(config)
    if torch.cuda.is_available():
        _pin_memory(config)
    with _quiet_building():
        if 'runner_type' in config:
            return RUNNERS.build(config)
        return (Runner if verbose else QuietRunner).from_cfg(config)


def _pin_memory(config: Config) -> None:
    """Lets chips be copied to the GPU while it computes, unless the config says otherwise."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if config.get(name):
            config[name].setdefault('pin_memory', True)


def _join_cpu_ranks(config: Config, launcher: str) -> None:
    """Connects the processes of a run without GPUs.

    MMEngine would do it later, but binds each rank and its model to a GPU in
    any case.
    """
    if launcher == 'mpi':
        raise ConfigError(
            f'--launcher {launcher} without GPUs',
            'GPUs, or --launcher pytorch or slurm',
            'bash tools/dist_train.sh CONFIG NUM_PROCESSES trains on CPUs',
        )
    join_gloo()
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    config.model_wrapper_cfg = {
        **wrapper,
        **(config.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }


def set_slurm_ranks() -> None:
    """Says in the environment who and where the processes that srun has started are.

    It does so in the variables that torchrun sets and PyTorch reads; an address
    and a port that the user has set stay.

    Raises:
        ConfigError: If this process was not started by srun.
    """
    own = os.environ
    if 'SLURM_PROCID' not in own or 'SLURM_STEP_NODELIST' not in own:
        raise ConfigError(
            '--launcher slurm, but srun has not started this process',
            'a process of a SLURM job',
            'bash tools/slurm_train.sh and the like start them',
        )
    own['RANK'], own['WORLD_SIZE'] = own['SLURM_PROCID'], own['SLURM_NTASKS']
    own['LOCAL_RANK'] = own['SLURM_LOCALID']
    if 'MASTER_ADDR' not in own:
        command = ['scontrol', 'show', 'hostnames', own['SLURM_STEP_NODELIST']]
        own['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]
    # Jobs may share a node, so their ports must differ. From 32768 on the system hands them out.
    job, step = int(own['SLURM_JOB_ID']), int(own['SLURM_STEP_ID'])
    own.setdefault('MASTER_PORT', str(15_000 + (17 * job + step) % 15_000))


def join_gloo(**kwargs: Any) -> None:
    """Connects the processes that torchrun or srun has started, until this one ends.

    Args:
        **kwargs: For :func:`torch.distributed.init_process_group`.
    """
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo', **kwargs)
        atexit.register(leave_gloo)


def leave_gloo() -> None:
    """Leaves the group of processes; for :mod:`atexit`."""
    # A thread of gloo's that still releases a tensor when Python ends aborts the
    # process. The group joins its threads with its last reference, and DDP, which
    # garbage holds after training, has one.
    gc.collect()
    torch.distributed.destroy_process_group()


def _check_epochs(config: Config) -> None:
    train, loader = config.get('train_cfg') or {}, config.get('train_dataloader') or {}
    by_epoch = train.get('by_epoch', train.get('type') == 'EpochBasedTrainLoop')
    sampler = loader.get('sampler') or {}
    if by_epoch and (sampler.get('infinite') or sampler.get('type') == 'InfiniteSampler'):
        raise ConfigError(
            f'train_cfg trains by epochs, and the epochs of {sampler.get("type")} are endless',
            'finite epochs',
            'set infinite=False and num_chips in train_dataloader.sampler, or train by '
            "iterations: train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)",
        )


_EXTRAS = {'mmpretrain': 'onedl-mmpretrain', 'tensorboard': 'tensorboard'}
"""Packages that a config may need and that are extras of ours, and what pip calls them."""


@contextlib.contextmanager
def explained_config_errors() -> Iterator[None]:
    """Turns what MMEngine says of a mistyped config into a :class:`ConfigError`.

    Its wording may change: then the message stays as it is, and loses but its advice.
    Ctrl-C while it formats the config, of which it makes a SyntaxError, stays what it is.
    """
    try:
        yield
    except SyntaxError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
    except (TypeError, KeyError, ImportError) as error:
        text = str(error).strip('"')
        if fix := _to_install(text):
            raise ConfigError(f'the config needs a package: {_first(text)}', fix=fix) from error
        if isinstance(error, ImportError) or not re.search(
            r'unexpected keyword argument|takes no arguments|is not in the .* registry', text
        ):
            raise
        name = re.search(r"^'?(\S+?)'? is not in the \S+::(.+) registry", text)
        raise ConfigError(
            _first(text),
            'types and arguments that exist; types of geo_mm are written geo_mm.Name',
            _similar_types(name[1], name[2]) if name else 'correct it in the config',
        ) from error


def _to_install(text: str) -> str | None:
    """What to do about a missing package that a message names."""
    for package, name in _EXTRAS.items():
        if package in text and importlib.util.find_spec(package) is None:
            return f"pip install 'geo_mm[{package}]' (or {name} alone)"
    return None


def _first(text: str) -> str:
    """The first sentence of what MMEngine says."""
    return text.partition('. ')[0].partition('\n')[0]


def _similar_types(name: str, kind: str) -> str:
    from geo_mm import registry

    nodes = [node for node in vars(registry).values() if getattr(node, 'name', None) == kind]
    known = [
        f'geo_mm.{key}' for node in nodes if node.scope == 'geo_mm' for key in node.module_dict
    ]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f'did you mean {" or ".join(close)}?' if close else 'check the spelling of `type`'
