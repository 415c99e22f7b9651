"""Chips with ground truth, prediction and errors side by side."""

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from geo_mm.classes import ClassSet
from geo_mm.engine import config_for
from geo_mm.engine.config_data import build_loader
from geo_mm.engine.embedded_config import built_from_embedded
from geo_mm.engine.notebook import track
from geo_mm.engine.runner import explained_chip_errors
from geo_mm.errors import ConfigError
from geo_mm.evaluation.metric import on_data
from geo_mm.inference.model import TrainedModel
from geo_mm.learn.options import ShowOptions
from geo_mm.raster.rgb import to_rgb
from geo_mm.visualization.chip_errors import OBJECT_LEGEND, PIXEL_LEGEND, ChipErrors, ErrorDrawing
from geo_mm.visualization.chips import (
    contact_sheet,
    draw_labels,
    titled,
    valid_pixels,
    with_legend,
)


@dataclass(frozen=True)
class ComparedChip:
    """A chip with its errors; the picture is that of the model's input.

    Attributes:
        valid: Share of its pixels that have data.
    """

    picture: np.ndarray
    sample: Any
    errors: ChipErrors
    valid: float

    def panels(self, classes: ClassSet, confidence: float) -> list[Image.Image]:
        """Image, ground truth, prediction and errors, each with its title.

        Args:
            classes: Names and colours.
            confidence: From which predicted objects are drawn.
        """
        name = str(self.sample.metainfo.get('scene_id', 'image'))
        truth = draw_labels(self.picture, self.sample, classes)
        found = draw_labels(self.picture, self.sample, classes, predicted=True, least=confidence)
        return [
            titled(image, title)
            for title, image in (
                (name, Image.fromarray(self.picture)),
                ('ground truth', truth),
                ('prediction', found),
                (f'errors: {self.errors.text}', self.errors.image),
            )
        ]


def show_results(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    options: ShowOptions | None = None,
    *,
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> Image.Image:
    """Draws chips: image, ground truth, prediction, errors.

    Args:
        checkpoint: Of a trained model.
        config: Names the chips; None takes the one in the checkpoint, of which only
            the test split may be used unless it is trusted.
        options: Which chips, and how.
        device: Torch device; None takes the first GPU, else the CPU.
        trust_checkpoint: Let the config in the checkpoint import and call anything.

    Returns:
        A row for each chip; ``info['shares']`` has the share of errors of each.

    Raises:
        ConfigError: If the checkpoint does not fit the config, or there is no such split.
    """
    options = options or ShowOptions()
    tested = TestedSplit.open(
        checkpoint, config, options.split, device=device, trust_checkpoint=trust_checkpoint
    )
    shown = _chosen(tested, options)
    classes = tested.model.spec.classes
    pictures = [picture for chip in shown for picture in chip.panels(classes, options.confidence)]
    legend = OBJECT_LEGEND if 'pred_instances' in shown[0].sample else PIXEL_LEGEND
    sheet = with_legend(contact_sheet(pictures, 4), classes, legend)
    sheet.info['shares'] = [chip.errors.share for chip in shown]
    return sheet


@dataclass(frozen=True)
class TestedSplit:
    """A trained model, and the chips of a split, read as those of test are.

    Attributes:
        model: The model.
        config: Names the chips.
        loader: Has them.
    """

    __test__ = False  # no test class of pytest's

    model: TrainedModel
    config: Config
    loader: Any

    @classmethod
    def open(
        cls,
        checkpoint: str | os.PathLike,
        config: str | os.PathLike | Config | None,
        split: str,
        *,
        device: str | None = None,
        trust_checkpoint: bool = False,
    ) -> 'TestedSplit':
        """Arguments as of :func:`show_results`."""
        trusted = trust_checkpoint or config is not None
        if split != 'test' and not trusted:
            raise ConfigError(
                f'{split} of the config in {os.fspath(checkpoint)}, which is a checkpoint',
                'its test split, or a config of your own',
                f'name the config before the checkpoint: CONFIG CHECKPOINT --split {split}',
            )
        used = config_for(checkpoint, config, trust=trust_checkpoint, testing=True)
        model = TrainedModel(
            checkpoint,
            None if config is None else used,
            device,
            trust_checkpoint=trust_checkpoint,
        )
        _use_test_pipeline(used, split)
        with contextlib.nullcontext() if trusted else built_from_embedded(checkpoint):
            loader = build_loader(used, split)
        return cls(model, used, loader)

    @property
    def numbers(self) -> list[int]:
        """Of the chips, in the order of the sampler."""
        # Samplers of training never end; one pass over as many chips is enough.
        return list(itertools.islice(iter(self.loader.sampler), len(self.loader.sampler)))

    def compared(self, numbers: Sequence[int], compare: ErrorDrawing) -> Iterator[ComparedChip]:
        """Predicts chips, one by one, and compares them with the ground truth."""
        with explained_chip_errors():
            for number in track(numbers, 'chips', transient=True):
                item = self.loader.dataset[number]
                sample = self.model.predict([item])[0].cpu()
                if 'pred_instances' in sample and 'gt_sem_seg' in sample:
                    sample.pred_instances = sample.pred_instances[on_data(sample)]
                inputs = item['inputs'].numpy()
                valid = valid_pixels(sample, inputs.shape[1:])
                picture = to_rgb(inputs, valid, self.model.spec.bands)
                errors = compare(picture, sample)
                yield ComparedChip(picture, sample, errors, float(np.mean(valid)))


def _use_test_pipeline(config: Config, split: str) -> None:
    """Lets a split be read as the test split is: without augmentation."""
    loader = config.get(f'{split}_dataloader')
    if split == 'test' or not loader:
        return
    tested = config.test_dataloader.dataset
    while 'pipeline' not in tested:
        tested = tested.dataset if 'dataset' in tested else tested.datasets[0]
    loader.dataset = _plain(loader.dataset, tested.pipeline)


def _plain(dataset: Mapping, pipeline: Sequence[Mapping]) -> dict:
    """A dataset's config without those that mix or repeat its chips, with another pipeline."""
    if 'dataset' in dataset:
        return _plain(dataset['dataset'], pipeline)
    if 'datasets' in dataset:
        parts = [_plain(each, pipeline) for each in dataset['datasets']]
        return {**dataset, 'datasets': parts}
    return {**dataset, 'pipeline': pipeline}


def _chosen(tested: TestedSplit, options: ShowOptions) -> list[ComparedChip]:
    """The chips to show, those with the largest share of errors first."""
    numbers = tested.numbers
    if options.order == 'random':
        rng = np.random.default_rng(options.seed)
        numbers = rng.permutation(numbers)[: options.number].tolist()
    # Only those to show are kept in memory.
    return heapq.nlargest(
        options.number,
        tested.compared(numbers, ErrorDrawing(options.confidence, options.iou)),
        # At the edge of a split, a chip with little data is soon all wrong.
        key=lambda chip: (chip.valid >= 0.5, chip.errors.share, chip.errors.count),
    )
