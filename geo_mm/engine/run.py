"""Training and testing as commands do them: from a config or a checkpoint to its end."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from geo_mm.engine import launch
from geo_mm.engine.embedded_config import built_from_embedded, config_of, for_testing
from geo_mm.models.checkpoints import check_weights, existing_checkpoint, read_checkpoint


@dataclass(frozen=True)
class TrainOptions:
    """How a config is trained.

    Attributes:
        work_dir: Folder for logs and checkpoints; None takes the config's own,
            or else ``work_dirs/<config name>``.
        resume: Checkpoint to continue from, or ``'auto'`` for the newest in the work dir.
        amp: Train in mixed precision.
        auto_scale_lr: Scale the learning rate to the batch size over all processes.
        launcher: What started several processes: ``'none'``, ``'pytorch'``, ``'slurm'``, ``'mpi'``.
    """

    work_dir: str | os.PathLike | None = None
    resume: str | None = None
    amp: bool = False
    auto_scale_lr: bool = False
    launcher: str = 'none'


@dataclass(frozen=True)
class TestOptions:
    """How a checkpoint is tested.

    Attributes:
        work_dir: Folder for the log and the scores; None takes ``test/`` beside the checkpoint.
        launcher: As for :class:`TrainOptions`.
        trust_checkpoint: Let the config in the checkpoint import and run anything.
    """

    __test__ = False  # no test class of pytest's

    work_dir: str | os.PathLike | None = None
    launcher: str = 'none'
    trust_checkpoint: bool = False


def train(
    config: str | os.PathLike | Config,
    options: TrainOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    verbose: bool = False,
) -> Runner:
    """Train a model.

    Args:
        config: A config, or its file.
        options: How.
        overrides: Settings of the config to change, by dotted key.
        verbose: Print all of the log, which its file holds in any case.

    Returns:
        The Runner that has trained.

    Raises:
        ConfigError: If the config cannot be trained as it is asked for.
        OutputError: If the work dir cannot be written to.
    """
    options = options or TrainOptions()
    config = launch.load_config(config, overrides)
    launch.set_work_dir(config, options.work_dir)
    if options.amp:
        launch.use_amp(config)
    if options.auto_scale_lr:
        launch.use_scaled_lr(config)
    launch.use_resume(config, options.resume)
    with launch.explained_config_errors():
        runner = launch.build_runner(config, options.launcher, verbose=verbose)
        if options.resume not in (None, 'auto'):
            check_weights(runner.model, options.resume)
        runner.train()
    return runner


def test(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    options: TestOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    verbose: bool = False,
) -> Runner:
    """Score a checkpoint on the test split of a config, with the metrics of the library.

    Args:
        checkpoint: Its file.
        config: A config, or its file; None takes the one in the checkpoint.
        options: How.
        overrides: Settings of the config to change, by dotted key.
        verbose: Print all of the log, which its file holds in any case.

    Returns:
        The Runner that has tested; its ``cfg`` is the config in use.

    Raises:
        ConfigError: If the checkpoint does not fit the config.
        OutputError: If the work dir cannot be written to.
    """
    options = options or TestOptions()
    trust = options.trust_checkpoint
    used = config_for(checkpoint, config, overrides, trust=trust, testing=True)
    work_dir = options.work_dir
    if work_dir is None:
        remote = '://' in str(checkpoint)
        work_dir = Path('work_dirs', 'test') if remote else Path(checkpoint).parent / 'test'
    launch.set_work_dir(used, work_dir)
    used.load_from = str(checkpoint)
    used.resume = False
    with launch.explained_config_errors():
        with contextlib.nullcontext() if trust or config else built_from_embedded(checkpoint):
            runner = launch.build_runner(used, options.launcher, verbose=verbose)
        check_weights(runner.model, checkpoint)
        runner.test()
    return runner


vars(test)['__test__'] = False  # no test of pytest's


def config_for(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    testing: bool = False,
) -> Config:
    """The given config, or else the one in a checkpoint, with overrides applied.

    Args:
        checkpoint: Its file.
        config: A config, or its file.
        overrides: Settings of the config to change, by dotted key.
        trust: Let the config in the checkpoint import and run anything.
        testing: Whether a Runner will be built of it, not just the model.

    Raises:
        ConfigError: If there is none, or an override does not fit.
    """
    if config is None:
        existing_checkpoint(os.fspath(checkpoint))
        config = config_of(read_checkpoint(checkpoint), checkpoint, trust)
        if testing and not trust:
            config = for_testing(config, checkpoint)
    return launch.load_config(config, overrides, name=str(checkpoint))
