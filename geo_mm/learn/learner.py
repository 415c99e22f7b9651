"""A model as the analyst handles it, on a config that can be seen."""

import contextlib
import copy
import itertools
import math
import numbers
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from mmengine.config import Config
from PIL import Image

from geo_mm import engine
from geo_mm.engine.config_data import build_loader
from geo_mm.engine.embedded_config import unchecked_config_of
from geo_mm.errors import ConfigError
from geo_mm.formats import html_page
from geo_mm.inference import Prediction, Predictor
from geo_mm.learn.data import TrainingData, text_pairs
from geo_mm.learn.model_report import class_scores, report
from geo_mm.learn.options import ReportOptions, ShowOptions
from geo_mm.learn.results import show_results
from geo_mm.learn.start_weights import fit_weights
from geo_mm.models.checkpoints import WEIGHTS, existing_checkpoint, read_checkpoint
from geo_mm.new_config.recipes import Size
from geo_mm.options import made
from geo_mm.paths import make_folder, reported
from geo_mm.visualization.training_plots import draw_lr_curve, draw_training, training_records
from geo_mm.work_dirs import best_checkpoint, model_file


class Learner:
    """A model that learns from data; see the classes below for one per algorithm.

    Everything is done by the functions behind the commands, on :attr:`config`:
    ``learner.config.dump('mine.py')`` can be given to ``geo-mm train``.

    Args:
        data: What to learn from.
        size: ``'small'`` for CPUs, ``'full'``; None takes full where there is a GPU.
        weights: Checkpoint to start from: of geo_mm, or of a backbone.

    Attributes:
        config: Settings of data, model and training; may be changed. None for a
            model out of a file that may only predict, be tested and be shown.
        checkpoint: File of the trained model: the best by validation, else the
            last. None before :meth:`fit`.
        rate: What :meth:`lr_find` found last; None before.

    Raises:
        ConfigError: If the algorithm cannot learn from these labels.
        CatalogError: If data are missing.
    """

    algorithm: ClassVar[str]

    def __init__(
        self,
        data: TrainingData,
        *,
        size: Size | None = None,
        weights: str | os.PathLike | None = None,
    ) -> None:
        self._start(
            data.config(self.algorithm, size=size, weights=weights), data.work_dir / self.algorithm
        )

    def _start(self, config: Config | None, work_dir: Path) -> None:
        self.config = config
        self.work_dir = work_dir
        self.checkpoint: Path | None = None
        self.rate: float | None = None
        self._frozen = False
        self._runs: list[Path] = []

    def lr_find(self, iterations: int = 100, trials: int = 200) -> engine.LrCurve:
        """Finds a learning rate by mock trainings, of which nothing is kept, and prints it.

        Losses are drawn in ``lr_find/lr_find.png`` in the work dir.

        Args:
            iterations: Steps of the optimiser while the rate grows.
            trials: Steps of each of the trials at one rate, three to five as a rule; 0: none.
        """
        folder = self.work_dir / 'lr_find'
        options = engine.LrFindOptions(iterations=iterations, trials=trials)
        curve = engine.lr_find(self._started(), options, work_dir=folder)
        draw_lr_curve(curve, folder / 'lr_find.png')
        self.rate = curve.suggestion()
        print(f'{curve}; drawn in {folder / "lr_find.png"}')
        return curve

    def fit(  # noqa: PLR0913 - the names of arcgis.learn
        self,
        epochs: float | None = None,
        *,
        iters: int | None = None,
        lr: float | engine.LrCurve | None = None,
        one_cycle: bool = False,
        early_stopping: bool = False,
        checkpoint: Literal['best', 'all'] = 'best',
        monitor: str | None = None,
        mixed_precision: bool = False,
        tensorboard: bool = False,
    ) -> 'Learner':
        """Trains; called again, it goes on from :attr:`checkpoint` with a new schedule.

        ``training.html`` in the work dir of the run, ``fit_1`` in :attr:`work_dir` for the
        first, shows how it goes on. Ctrl-C saves a checkpoint and ends it.

        Args:
            epochs: How often as many chips as cover the training ground are seen.
            iters: Iterations, instead of epochs. Neither: as the config says.
            lr: Learning rate, or what :meth:`lr_find` gave; None takes what it found
                last, and finds one if it has not, in trials of at most a
                quarter of the iterations.
            one_cycle: Raise and lower the rate once (1cycle policy) instead of as
                the config says.
            early_stopping: Stop when the validation score has not risen for long.
            checkpoint: ``'all'`` also keeps the models of all validations.
            monitor: Validation score by which the best is chosen and training stopped, as
                ``'coco/bbox_mAP_50'``, ``'mAcc'`` or one of :class:`geo_mm.MapMetric`, as
                ``'map/f1'``; None takes the config's, mIoU or box AP.
            mixed_precision: Compute in 16-bit floats where that is safe.
            tensorboard: Also log for TensorBoard, into the work dir.

        Raises:
            ConfigError: If both epochs and iterations are given.
            KeyboardInterrupt: If it was stopped by Ctrl-C.
        """
        if epochs is not None and iters is not None:
            raise ConfigError(f'fit with epochs={epochs} and iters={iters}', 'one of them')
        if not all(length is None or length > 0 for length in (epochs, iters)):
            raise ConfigError(f'fit with epochs={epochs}, iters={iters}', 'a positive number')
        if checkpoint not in ('best', 'all'):
            raise ConfigError(f'fit with checkpoint={checkpoint!r}', "'best' or 'all'")
        config = self._started()
        if epochs is not None:
            iters = math.ceil(epochs * _iterations_per_epoch(config))
        if iters is not None:
            _set_length(config, iters)
        config = engine.with_lr(config, self._rate(lr, config.train_cfg.max_iters))
        if one_cycle:
            config.param_scheduler = [dict(type='geo_mm.OneCycleLR', pct_start=0.3, by_epoch=False)]
        kept = config.default_hooks.checkpoint
        if monitor is not None:
            kept.update(save_best=monitor, rule='greater')
            if monitor.startswith('map/'):
                config.val_evaluator = [config.val_evaluator, dict(type='geo_mm.MapMetric')]
        if checkpoint == 'all':
            kept.update(interval=config.train_cfg.val_interval, max_keep_ckpts=-1)
        if early_stopping:
            _add_hook(config, type='geo_mm.EarlyStoppingHook', monitor=kept.save_best)
        backends = ['geo_mm.TrainingPageBackend', *['TensorboardVisBackend'] * tensorboard]
        config.visualizer.vis_backends = [
            *config.visualizer.vis_backends,
            *(dict(type=backend) for backend in backends),
        ]
        # Those of earlier sessions stay.
        run = next(
            path
            for number in itertools.count(1)
            if not (path := self.work_dir / f'fit_{number}').exists()
        )
        self._runs.append(run)
        try:
            engine.train(config, engine.TrainOptions(work_dir=run, amp=mixed_precision))
        finally:
            with contextlib.suppress(ConfigError):  # stopped before the first one
                self.checkpoint = best_checkpoint(run)
        return self

    def _rate(self, given: float | engine.LrCurve | None, iters: int) -> float:
        """The learning rate that was given, or found, for a training of so many iterations."""
        if isinstance(given, engine.LrCurve):
            return given.suggestion()
        if given is not None:
            if not isinstance(given, numbers.Real) or given <= 0:
                raise ConfigError(
                    f'fit with lr={given!r}',
                    'one learning rate above 0, or what lr_find gave',
                    'for rates by layer see paramwise_cfg in model.config.optim_wrapper',
                )
            return float(given)
        if self.rate is None:
            self.lr_find(trials=engine.trials_for(iters))
        assert self.rate is not None  # lr_find sets it
        return self.rate

    def freeze(self) -> 'Learner':
        """Keeps the weights of the backbone as they are in the next :meth:`fit`."""
        self._frozen = True
        return self

    def unfreeze(self) -> 'Learner':
        """Trains all weights in the next :meth:`fit`."""
        self._frozen = False
        return self

    def plot_losses(self) -> Image.Image:
        """Draws loss, learning rate and validation scores of all calls of :meth:`fit`."""
        if not self._runs:
            raise ConfigError('no losses', 'a model after fit()')
        return draw_training([training_records(run) for run in self._runs])

    def show_results(self, **options: Any) -> Image.Image:
        """Draws chips with ground truth, prediction and errors, the worst first.

        Args:
            **options: Fields of :class:`geo_mm.ShowOptions`; the split is val by default,
                or test for a model out of a file.
        """
        if self.config is not None:
            options.setdefault('split', 'val')
        return show_results(self._trained(), self.config, made(ShowOptions, options))

    def metrics(self) -> dict[str, float]:
        """Scores on the chips of the test split, by the library's names, such as ``mIoU``."""
        checkpoint = self._trained()
        runner = engine.test(
            checkpoint, self.config, engine.TestOptions(work_dir=self.work_dir / 'test')
        )
        return {name: float(score) for name, score in runner.scores.items()}

    def per_class_metrics(self, **options: Any) -> pd.DataFrame:
        """Precision, recall and F1 of each class, and AP of objects or IoU of pixels.

        Chips are put back on their scene, as in a :meth:`report`, which has the same numbers.

        Args:
            **options: Fields of :class:`geo_mm.ReportOptions`: ``split``, ``confidence``, ``iou``.

        Returns:
            A row for each class, NaN where there is nothing to count.
        """
        scores = class_scores(self._trained(), self.config, made(ReportOptions, options))
        table = pd.DataFrame.from_dict(scores, orient='index')
        names = [n for n in ('precision', 'recall', 'f1', 'ap', 'iou') if n in table]
        return table[names].astype(float)

    def average_precision_score(self, **options: Any) -> dict[str, float]:
        """AP of each class of objects at a threshold ``iou`` (0.5); see :meth:`per_class_metrics`.

        Raises:
            ConfigError: If the model classifies pixels.
        """
        return self._one_score('ap', 'average_precision_score', 'mIOU', options)

    def mIOU(self, **options: Any) -> dict[str, float]:  # noqa: N802 - the name of arcgis.learn
        """IoU of each class of pixels; see :meth:`per_class_metrics`.

        Raises:
            ConfigError: If the model finds objects.
        """
        return self._one_score('iou', 'mIOU', 'average_precision_score', options)

    def _one_score(
        self, column: str, name: str, other: str, options: Mapping[str, Any]
    ) -> dict[str, float]:
        table = self.per_class_metrics(**options)
        if column not in table:
            raise ConfigError(
                f'{name}() of {type(self).__name__}', f'{other}(), or per_class_metrics()'
            )
        return {str(name): float(score) for name, score in table[column].items()}

    def predict(
        self, scene: Any, folder: str | os.PathLike | None = None, **options: Any
    ) -> Prediction:
        """Predicts a scene of any size, into a folder or in memory.

        Args:
            scene: As for :meth:`geo_mm.Predictor.predict`.
            folder: Where to write; None keeps the result in memory.
            **options: Fields of :class:`geo_mm.PredictOptions`.
        """
        return Predictor(self._trained(), **options).predict(scene, folder)

    def report(self, path: str | os.PathLike | None = None, **options: Any) -> Path:
        """Writes a page on the model: scores, curves, errors, training, data; JSON beside it.

        Args:
            path: ``.html`` file; None takes ``report_SPLIT.html`` beside the checkpoint.
            **options: Fields of :class:`geo_mm.ReportOptions`.

        Raises:
            OutputError: If it cannot be written.
        """
        chosen = made(ReportOptions, options)
        return report(self._trained(), self.config, chosen, path, runs=self._runs)

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the trained model, with config and input specification inside.

        Args:
            path: The file; ``.pth`` is added where there is no suffix.

        Raises:
            OutputError: If it cannot be written.
        """
        target = Path(path)
        target = target if target.suffix else target.with_suffix('.pth')
        make_folder(target.parent)
        with reported(target):
            shutil.copyfile(self._trained(), target)
        return target

    @classmethod
    def from_model(
        cls,
        path: str | os.PathLike,
        data: TrainingData | None = None,
        *,
        trust_checkpoint: bool = False,
        **options: Any,
    ) -> 'Learner':
        """Takes up a model that :meth:`save` wrote, or any checkpoint of geo_mm.

        Args:
            path: The checkpoint, or the work dir of a training for its best one.
            data: Data to go on with. If their classes are others, the layers that
                depend on them start at random; if their bands are, the first
                convolution is adapted; both is said. None takes the config in the
                checkpoint, and the data that it names must be there: for testing,
                and for training if it is trusted.
            trust_checkpoint: Let the config in the checkpoint import and call anything.
            **options: As for the class, with data.

        Raises:
            ConfigError: If it is no checkpoint of geo_mm, or of another model.
        """
        path = model_file(path)
        if data is not None:
            learner = cls(data, weights=path, **options)
            learner._fit_weights(path)
            return learner
        existing_checkpoint(path)
        _check_algorithm(cls, path)
        learner = cls.__new__(cls)
        config = engine.config_for(path, trust=True) if trust_checkpoint else None
        learner._start(config, Path('work_dirs', Path(path).stem))
        learner.checkpoint = Path(path)
        return learner

    def _fit_weights(self, path: str | os.PathLike) -> None:
        """Starts from the weights of a model, also of one of other classes or bands."""
        config = self.config
        if config is None or not config.get('load_from'):
            return  # of a backbone
        found = fit_weights(path, config, self.work_dir / 'start.pth')
        config.load_from = str(found.path.absolute())
        if found.dropped:
            config.default_hooks.start_weights.drop = list(found.dropped)
        for note in found.notes:
            print(note)
        if found.same:  # and can predict
            self.checkpoint = Path(path)

    def _started(self) -> Config:
        """The config, with what has been learnt so far to start from."""
        if self.config is None:
            raise ConfigError(
                f'{self.checkpoint}: the config in it may not train',
                'data to train with',
                'from_model(path, data), or, for a file of people you trust, '
                'from_model(path, trust_checkpoint=True)',
            )
        config = copy.deepcopy(self.config)
        if self.checkpoint is not None:
            config.load_from = str(self.checkpoint)
            config.default_hooks.start_weights.pop('drop', None)
        if self._frozen:
            _add_hook(config, type='geo_mm.TransferHook')
        return config

    def _trained(self) -> Path:
        if self.checkpoint is None:
            raise ConfigError(
                f'{type(self).__name__} has not been trained', 'a model after fit()', 'call fit()'
            )
        return self.checkpoint

    def _facts(self) -> dict[str, str]:
        rows = {'checkpoint': str(self.checkpoint or 'not trained yet')}
        if self.config is not None:
            classes = self.config.train_dataloader.dataset.metainfo.classes
            rows |= {'classes': ', '.join(classes), 'config': str(self.config.filename)}
        if self.rate is not None:
            rows |= {'learning rate': f'{self.rate:.2g}, found by lr_find'}
        return rows

    def __repr__(self) -> str:
        return f'<{type(self).__name__}, {self.checkpoint or "not trained yet"}>'

    def __str__(self) -> str:
        return text_pairs(type(self).__name__, self._facts())

    def _repr_html_(self) -> str:
        return html_page.pairs(type(self).__name__, self._facts())


_MODELS = {
    'faster-rcnn': 'FasterRCNN',
    'mask-rcnn': 'MaskRCNN',
    'retinanet': 'RetinaNet',
    'ssd': 'SingleStageDetector',
    'yolov3': 'YOLOV3',
    'unet': 'EncoderDecoder',
    'pspnet': 'EncoderDecoder',
}
"""Types of the models of algorithms in configs."""


def _check_algorithm(cls: type[Learner], path: str | os.PathLike) -> None:
    """Refuses a checkpoint of another kind of model; other formats say what they are when read."""
    expected = _MODELS.get(getattr(cls, 'algorithm', ''))
    if expected is None or not str(path).endswith(WEIGHTS):
        return
    found = unchecked_config_of(read_checkpoint(path), path).model.type.rpartition('.')[2]
    if not found.endswith(expected):  # a CascadeEncoderDecoder is one, too
        right = [name for name, kind in _MODELS.items() if found.endswith(kind)]
        raise ConfigError(
            f'{path}: a model of the type {found}',
            f'a model of {cls.__name__}',
            f'load it with the class of {" or ".join(right)}' if right else '',
        )


def _set_length(config: Config, iters: int) -> None:
    """Validates four times in so many iterations, and logs fifty points, which make a curve."""
    config.train_cfg.max_iters = iters
    config.train_cfg.val_interval = math.ceil(iters / 4)
    config.default_hooks.logger.interval = min(math.ceil(iters / 50), 20)


def _add_hook(config: Config, **hook: Any) -> None:
    config.custom_hooks = [*config.get('custom_hooks', []), hook]


def _iterations_per_epoch(config: Config) -> float:
    sampler: Any = build_loader(config).sampler
    return len(sampler) / config.train_dataloader.batch_size
