"""Hooks of training: input specification, initial weights, pictures of chips, checkpoints."""

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.structures import BaseDataElement
from mmseg.models import BaseSegmentor

from geo_mm.datasets import ChipDataset, GeoDetDataset, chip_datasets
from geo_mm.engine.pretrained_record import records_of, tell
from geo_mm.errors import ConfigError
from geo_mm.inputspec import InputSpec
from geo_mm.models.checkpoints import Shape, mismatches
from geo_mm.models.segmentors import receptive_radius
from geo_mm.registry import HOOKS


@HOOKS.register_module()
class InputSpecHook(Hook):
    """Saves an :class:`geo_mm.inputspec.InputSpec` in checkpoints and work_dir.

    The spec is read off the training dataset and the model's preprocessor, so
    nothing has to be written twice in the config. Pretrained weights that training
    starts from are recorded as well, with their licence; see
    :mod:`geo_mm.engine.pretrained_record`.

    Raises:
        ConfigError: If a head of the model has another number of classes than
            the dataset.
    """

    priority = 'NORMAL'
    _loaded: list[Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            before = checkpoint.get('pretrained')  # out of a file that may be anyone's
            own = [{'checkpoint': str(runner._load_from)}]
            self._loaded = own + (before if isinstance(before, list) else [])
        elif 'pretrained' in checkpoint:
            self._loaded = checkpoint['pretrained']

    def before_train(self, runner: Runner) -> None:
        made = records_of(runner.model)
        self._pretrained = made if self._loaded is None else self._loaded
        if self._loaded is None:
            tell(runner, made)
        self._spec = input_spec_of(runner.train_dataloader.dataset, runner.model)
        _check_heads(runner.model, self._spec.classes.names)
        if runner.rank == 0:
            _write(runner, self._spec)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        radius = _radius(runner.model, self._spec)
        spec = replace(self._spec, receptive_radius=radius)
        checkpoint['input_spec'] = spec.to_dict()
        checkpoint['pretrained'] = self._pretrained
        _write(runner, spec)  # the first process alone saves


def _write(runner: Runner, spec: InputSpec) -> None:
    Path(runner.work_dir, 'input_spec.json').write_text(spec.to_json() + '\n')


def input_spec_of(dataset: object, model: Any) -> InputSpec:
    """The spec of a model trained on ``dataset``.

    Args:
        dataset: A geo_mm dataset, or wrappers around some.
        model: Model with a geo_mm ``data_preprocessor``; may be wrapped for
            distributed training.
    """
    chips: ChipDataset = chip_datasets(dataset)[0][1]
    preprocessor = getattr(model, 'module', model).data_preprocessor
    if getattr(preprocessor, 'mean', None) is None:
        raise ConfigError(
            f'the data_preprocessor {type(preprocessor).__name__} has no mean and std',
            'geo_mm.GeoSegDataPreprocessor or geo_mm.GeoDetDataPreprocessor',
        )
    scenes = [item.scene for item in chips.labelled]
    task = 'objects' if isinstance(chips, GeoDetDataset) else 'pixels'
    return InputSpec(
        task=task,
        classes=chips.classes,
        bands=scenes[0].band_names,
        gsd=_trained_gsd(chips),
        dtype=str(np.result_type(*(scene.dtype for scene in scenes))),
        nodata=chips.scene_options.nodata,
        mean=tuple(preprocessor.mean.flatten().tolist()),
        std=tuple(preprocessor.std.flatten().tolist()),
        chip_size=chips.chip_size,
        roles=tuple(dict.fromkeys(scenes[0].roles)),
        wavelengths=scenes[0].wavelengths if any(scenes[0].wavelengths) else None,
    )


def _radius(model: torch.nn.Module, spec: InputSpec) -> int | None:
    """Measured on images of the size of a chip, in multiples of 64 pixels."""
    model = getattr(model, 'module', model)
    if not isinstance(model, BaseSegmentor):
        return None
    side = max(64, max(spec.chip_size) // 64 * 64)
    training = {module: module.training for module in model.modules()}
    try:
        return receptive_radius(model.eval(), len(spec.bands), side)
    finally:
        for module, mode in training.items():
            module.training = mode


def _check_heads(model: torch.nn.Module, classes: Sequence[str]) -> None:
    for name, module in getattr(model, 'module', model).named_modules():
        own = getattr(module, 'num_classes', None)
        # Region proposals tell objects from background, whatever their class.
        if own is None or not type(module).__name__.endswith('Head') or 'rpn' in name:
            continue
        if own != len(classes):
            raise ConfigError(
                f'{name} of the model has num_classes={own}, the dataset has {len(classes)} '
                f'classes: {", ".join(classes)}',
                'as many in both',
                f'set num_classes={len(classes)} in model.{name}, or correct metainfo.classes',
            )


def _trained_gsd(chips: ChipDataset) -> float | None:
    """The GSD that was asked for, else the median of the scenes' own."""
    if chips.scene_options.gsd is not None:
        return float(chips.scene_options.gsd)
    own = [sum(item.scene.gsd) / 2 for item in chips.labelled if item.scene.gsd]
    return float(np.median(own)) if own else None


@HOOKS.register_module()
class StartWeightsHook(Hook):
    """Loads the checkpoint of ``load_from`` without the layers to drop.

    MMEngine loads what fits and merely logs the rest, so a network may start
    at random unnoticed. Here names and shapes must agree. Where they are not
    meant to, because the classes are others, say which parts::

        load_from = 'work_dirs/town/iter_2000.pth'
        default_hooks = dict(
            start_weights=dict(drop=['decode_head.conv_seg', 'auxiliary_head.conv_seg'])
        )

    Those keep their random weights. Resuming and testing are not concerned.

    Args:
        drop: Names of modules, as in ``state_dict()``.

    Raises:
        ConfigError: If weights differ, or nothing has such a name.
    """

    # Before mmengine's EMAHook, which copies what is left.
    priority = 'VERY_HIGH'

    def __init__(self, drop: Sequence[str] = ()) -> None:
        self.drop = tuple(drop)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # A test run would lose the very head that it is to test.
        training = isinstance(runner._train_loop, BaseLoop)
        if runner._resume or not training:
            return
        weights = checkpoint.get('state_dict', checkpoint)
        model = getattr(runner.model, 'module', runner.model)
        self._check_drop([*model.state_dict(), *(key.removeprefix('module.') for key in weights)])
        differing = {
            key: shapes
            for key, shapes in mismatches(model, weights).items()
            if not self._is_dropped(key) and not key.endswith('num_batches_tracked')
        }
        if differing:
            raise _mismatch(runner._load_from, differing)
        for key in list(weights):
            if self._is_dropped(key.removeprefix('module.')):
                del weights[key]
        if self.drop:
            runner.logger.info(
                f'Randomly initialised, not loaded from {runner._load_from}: {", ".join(self.drop)}'
            )

    def _is_dropped(self, key: str) -> bool:
        return any(f'{key}.'.startswith(f'{name}.') for name in self.drop)

    def _check_drop(self, keys: Iterable[str]) -> None:
        for name in self.drop:
            if not any(f'{key}.'.startswith(f'{name}.') for key in keys):
                raise ConfigError(
                    f'StartWeightsHook: drop names {name!r}, and neither the model nor the '
                    'checkpoint has such weights',
                    'the beginning of a name as in state_dict(), such as decode_head.conv_seg',
                )


def _mismatch(checkpoint: str, differing: Mapping[str, tuple[Shape, Shape]]) -> ConfigError:
    """Names the layers, and how to leave them out."""
    layers = list(dict.fromkeys(key.rpartition('.')[0] for key in differing))
    shown = [
        f'{key} is {"missing" if given is None else given}, '
        f'in the model {"absent" if own is None else own}'
        for key, (own, given) in list(differing.items())[:5]
    ]
    more = f' and {len(differing) - 5} more' if len(differing) > 5 else ''
    return ConfigError(
        f'{checkpoint}: {len(differing)} weights do not fit the model: {"; ".join(shown)}{more}',
        'load_from with weights of the same model, except for dropped layers',
        'to initialise these layers randomly, set '
        f'default_hooks=dict(start_weights=dict(drop={layers[:8]})); for a backbone alone, or '
        'other bands, use geo_mm.AdaptedPretrained as its init_cfg',
    )


@HOOKS.register_module()
class ChipVisualizationHook(Hook):
    """Hands the first chips of every validation and test to the visualizer.

    What is drawn is what the model was given, with all its bands, so that no
    file is read again. Use it with :class:`geo_mm.visualization.chips.GeoLocalVisualizer`.

    Args:
        num_chips: So many of each validation or test.
        score_thr: Confidence from which predicted objects are drawn.
    """

    priority = 'NORMAL'

    def __init__(self, num_chips: int = 4, score_thr: float = 0.3) -> None:
        self.num_chips = num_chips
        self.score_thr = score_thr
        self._drawn = 0

    def before_val_epoch(self, runner: Runner) -> None:
        self._drawn = 0

    def before_test_epoch(self, runner: Runner) -> None:
        self._drawn = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        self._draw(runner, 'val', data_batch, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        self._draw(runner, 'test', data_batch, outputs)

    def _draw(
        self,
        runner: Runner,
        stage: str,
        data_batch: Mapping | None,
        outputs: Sequence[BaseDataElement] | None,
    ) -> None:
        chips = data_batch['inputs'] if data_batch else ()
        for inputs, sample in zip(chips, outputs or (), strict=True):
            if self._drawn >= self.num_chips:
                return
            runner.visualizer.add_datasample(
                f'{stage}_{self._drawn}',
                inputs.cpu().numpy().transpose(1, 2, 0),
                data_sample=sample,
                pred_score_thr=self.score_thr,
                # runner.iter would open the training data to test.
                step=runner.iter if isinstance(runner._train_loop, BaseLoop) else 0,
            )
            self._drawn += 1


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """``mmengine.CheckpointHook`` that also saves early, and when training is stopped.

    Stopping by Ctrl-C or SIGTERM needs :class:`geo_mm.engine.runner.Runner`,
    which the tools use.

    Args:
        first: Iterations after which the first checkpoint is written, so that
            a mistake in the set-up shows soon; 0 for none.
        **kwargs: Of ``mmengine.CheckpointHook``.
    """

    def __init__(self, *args, first: int = 50, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.first = first

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Saves, and stops the run if that was asked for."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        done = runner.iter + 1
        if getattr(runner, 'stop_signal', None) is not None:
            self._save_and_stop(runner, done)
        elif done == self.first and not self.by_epoch and done % self.interval:
            self._save_checkpoint(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Stops the run between two batches of validation, too."""
        if getattr(runner, 'stop_signal', None) is not None and hasattr(self, 'file_backend'):
            self._save_and_stop(runner, runner.iter)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        missing = [name for name in self.save_best or () if name not in {*metrics, 'auto'}]
        if missing:
            raise ConfigError(
                f'CheckpointHook with save_best={missing[0]!r}, which validation does not give',
                f'one of {", ".join(map(repr, metrics)) or "its scores, of which are none"}',
                'correct save_best in the config, or monitor in fit()',
            )
        # The best score goes into the checkpoint, which holds plain data only.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in metrics.items()
        }
        super()._save_best_checkpoint(runner, plain)

    def _save_and_stop(self, runner: Runner, done: int) -> None:
        if runner.rank > 0:
            return  # until rank 0 has left
        meta = dict(epoch=runner.epoch, iter=done)
        if self.by_epoch:
            # An epoch begins anew when it is resumed.
            meta['iter'] = runner.epoch * len(runner.train_dataloader)
            name = f'stopped_in_epoch_{runner.epoch + 1}.pth'
            runner.save_checkpoint(self.out_dir, name, meta=meta, by_epoch=False)
            self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
            Path(runner.work_dir, 'last_checkpoint').write_text(self.last_ckpt)
        else:
            self._save_checkpoint_with_step(runner, done, meta)
        number = runner.stop_signal
        runner.logger.info(
            f'stopped by {number.name} after {done} of {runner.max_iters} iterations; saved '
            f'{self.last_ckpt}. To resume, start it again with --resume'
        )
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@HOOKS.register_module()
class SameRunHook(Hook):
    """Refuses to resume into a config with another learning rate schedule.

    MMEngine restores the schedule of the checkpoint without a word. A short
    run that is resumed with a larger ``max_iters`` would train on with the
    rate that it ended with, which is next to nothing.

    Raises:
        ConfigError: If a scheduler of the checkpoint begins or ends elsewhere.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume or 'param_schedulers' not in checkpoint:
            return
        done = checkpoint.get('meta', {}).get('iter', 0)
        if done >= runner.max_iters:
            runner.logger.info(f'the run is complete: all {done} iterations are done')
        then = list(_spans(checkpoint['param_schedulers']))
        now = list(_spans(_states(runner.param_schedulers)))
        if then != now:
            raise ConfigError(
                f'--resume: the learning rate schedule of the checkpoint runs {_text(then)}, '
                f'that of the config {_text(now)}',
                'the settings with which the run was started',
                'a finished run cannot be extended: start another from its weights, '
                'with load_from=... and another --work-dir',
            )


def _states(schedulers: list | dict | None) -> list | dict:
    if isinstance(schedulers, dict):
        return {name: _states(part) for name, part in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers or ()]


def _spans(states: list | dict) -> Iterator[tuple[int, int]]:
    """First and last step of each scheduler."""
    for part in states.values() if isinstance(states, dict) else [states]:
        yield from ((state['begin'], state['end']) for state in part)


def _text(spans: list[tuple[int, int]]) -> str:
    return ', '.join(f'from {begin} to {end}' for begin, end in spans) or 'nowhere'
