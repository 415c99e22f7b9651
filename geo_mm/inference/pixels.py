"""Pixel classes of a whole scene, as a GeoTIFF."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement

from geo_mm.catalog import IGNORED
from geo_mm.errors import ConfigError
from geo_mm.inference.blending import StripBlender
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.tiles import predicted_tiles
from geo_mm.raster import RasterWriter, Scene, Tile


def predict_pixels(
    model: TrainedModel,
    scene: Scene,
    plan: Sequence[Tile],
    path: Path,
    *,
    batch_size: int,
    tags: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Classifies every pixel of a scene.

    Class probabilities of overlapping tiles are blended; the class with the
    largest is written, and 255 where the scene has no data.

    Args:
        model: A model for ``'pixels'``.
        scene: The scene as the model must see it.
        plan: Tiles that cover it.
        path: GeoTIFF to write; it appears when it is complete.
        batch_size: Tiles per forward pass.
        tags: Metadata for the file.
        progress: Called with the number of tiles done since the last call.

    Returns:
        Pixels of each class, by name.
    """
    spec = model.spec
    counts = np.zeros(len(spec.classes), np.int64)
    blender = StripBlender(plan, scene.width, scene.height, len(spec.classes))
    writer = RasterWriter(
        path,
        scene.grid,
        count=1,
        dtype='uint8',
        nodata=IGNORED,
        colors=dict(enumerate(spec.palette)),
        class_names=dict(enumerate(spec.classes)),
        band_names=['class'],
        tags=tags,
    )
    threshold = getattr(getattr(model.model, 'decode_head', None), 'threshold', None)

    def values(prediction: BaseDataElement) -> np.ndarray:
        found = probabilities(prediction, threshold)
        if len(found) != len(spec.classes):
            raise ConfigError(
                f'the model gives {len(found)} classes',
                f'{len(spec.classes)}: {", ".join(spec.classes)}',
                'set num_classes of the decode_head likewise and train again',
            )
        return found

    tiles = predicted_tiles(model, scene, plan, batch_size, progress)
    with writer, closing(tiles):

        def write(window, likelihood, valid) -> None:
            classes = likelihood.argmax(0).astype(np.uint8)
            counts[:] += np.bincount(classes[valid], minlength=len(counts))
            classes[~valid] = IGNORED
            writer.write(classes, window)

        for tile, prediction, valid in tiles:
            for strip in blender.add(tile, values(prediction), valid):
                write(*strip)
        for strip in blender.finish():
            write(*strip)
    return dict(zip(spec.classes, counts.tolist(), strict=True))


def probabilities(prediction: BaseDataElement, threshold: float | None = None) -> np.ndarray:
    """Class probabilities ``(classes, h, w)`` float32 of a SegDataSample.

    A model with one output channel is binary: it gives the probability of the
    second class, and means that class above its ``threshold``. So that the
    larger of two values tells, as for other models, the two probabilities are
    weighted by ``threshold`` and ``1 - threshold``.

    Args:
        prediction: With ``seg_logits``.
        threshold: That of a binary model; None is 0.5.
    """
    logits = prediction.seg_logits.data.float()
    if len(logits) == 1:
        # MMSegmentation has applied the sigmoid already, though not for more classes.
        second = logits.cpu().numpy()
        threshold = 0.5 if threshold is None else threshold
        return np.concatenate([(1 - second) * threshold, second * (1 - threshold)])
    return logits.softmax(dim=0).cpu().numpy()
