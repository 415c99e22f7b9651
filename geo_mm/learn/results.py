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
from rich.progress import track

from geo_mm.engine import config_for
from geo_mm.engine.config_data import build_loader
from geo_mm.engine.embedded_config import built_from_embedded
from geo_mm.engine.runner import explained_chip_errors
from geo_mm.errors import ConfigError
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
class _Shown:
    """A chip with its errors; the picture is that of the model's input."""

    picture: np.ndarray
    sample: Any
    errors: ChipErrors


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
    trusted = trust_checkpoint or config is not None
    if options.split != 'test' and not trusted:
        raise ConfigError(
            f'{options.split} of the config in {os.fspath(checkpoint)}, which is a checkpoint',
            'its test split, or a config of your own',
            f'geo-mm show CONFIG CHECKPOINT --split {options.split}',
        )
    used = config_for(checkpoint, config, trust=trust_checkpoint, testing=True)
    model = TrainedModel(
        checkpoint,
        None if config is None else used,
        device,
        trust_checkpoint=trust_checkpoint,
    )
    _use_test_pipeline(used, options.split)
    with contextlib.nullcontext() if trusted else built_from_embedded(checkpoint):
        loader = build_loader(used, options.split)
    shown = _chosen(model, loader, options)
    classes = model.spec.classes
    pictures = [
        titled(image, title)
        for chip in shown
        for title, image in (
            (str(chip.sample.metainfo.get('scene_id', 'image')), Image.fromarray(chip.picture)),
            ('ground truth', draw_labels(chip.picture, chip.sample, classes)),
            (
                'prediction',
                draw_labels(
                    chip.picture, chip.sample, classes, predicted=True, least=options.confidence
                ),
            ),
            (f'errors: {chip.errors.text}', chip.errors.image),
        )
    ]
    legend = OBJECT_LEGEND if 'pred_instances' in shown[0].sample else PIXEL_LEGEND
    sheet = with_legend(contact_sheet(pictures, 4), classes, legend)
    sheet.info['shares'] = [chip.errors.share for chip in shown]
    return sheet


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


def _chosen(model: TrainedModel, loader: Any, options: ShowOptions) -> list[_Shown]:
    """The chips to show, those with the largest share of errors first."""
    # Samplers of training never end; one pass over as many chips is enough.
    numbers = list(itertools.islice(iter(loader.sampler), len(loader.sampler)))
    if options.order == 'random':
        rng = np.random.default_rng(options.seed)
        numbers = rng.permutation(numbers)[: options.number].tolist()
    # Only those to show are kept in memory.
    return heapq.nlargest(
        options.number,
        _compared(model, loader.dataset, numbers, ErrorDrawing(options.confidence, options.iou)),
        key=lambda chip: (chip.errors.share, chip.errors.count),
    )


def _compared(
    model: TrainedModel, dataset: Any, numbers: list[int], compare: ErrorDrawing
) -> Iterator[_Shown]:
    with explained_chip_errors():
        for number in track(numbers, description='chips', transient=True):
            item = dataset[number]
            sample = model.predict([item])[0].cpu()
            inputs = item['inputs'].numpy()
            picture = to_rgb(inputs, valid_pixels(sample, inputs.shape[1:]), model.spec.bands)
            yield _Shown(picture, sample, compare(picture, sample))
