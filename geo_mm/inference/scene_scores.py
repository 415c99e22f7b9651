"""Evaluation of a model on whole scenes."""

from collections import Counter
from collections.abc import Callable, Sized
from os import PathLike
from pathlib import Path

from geo_mm.catalog import read_catalog
from geo_mm.datasets.chips import chip_datasets
from geo_mm.evaluation import ObjectEvaluation, PixelEvaluation
from geo_mm.evaluation.scenes import CatalogScene, evaluate_catalog
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.predictor import Predictor
from geo_mm.paths import file_name


def scenes_of(dataset: Sized) -> list[CatalogScene]:
    """The scenes that the chips of a dataset are cut from, each with a name of its own."""
    found = [
        (entry, chips.classes.names, chips.label_options)
        for _, chips in chip_datasets(dataset)
        for entry in read_catalog(chips.scenes, root=chips.data_root or '', split=chips.split)
    ]
    times = Counter(file_name(entry.name).casefold() for entry, *_ in found)
    return [
        CatalogScene(_alone(entry.name, number, times), entry, *labels)
        for number, (entry, *labels) in enumerate(found)
    ]


def _alone(name: str, number: int, times: Counter) -> str:
    return name if times[file_name(name).casefold()] == 1 else f'{name}_{number}'


def score_scenes(
    dataset: Sized,
    predictor: Predictor,
    folder: str | PathLike,
    progress: Callable[[str], None] | None = None,
) -> ObjectEvaluation | PixelEvaluation:
    """Predicts the scenes of a dataset and compares the results with its labels.

    Whole scenes are predicted, each within its AOI, and scored in its area:
    the same as geo-mm predict and then geo-mm evaluate with that area.
    Objects are compared by their bounding boxes if the model gives no masks.

    Args:
        dataset: What a config tests on.
        predictor: The model. To know its average precision on objects, let it
            keep those of any score.
        folder: For the predictions.
        progress: Called with the name of each scene.

    Raises:
        GeoMMError: As :meth:`Predictor.predict` and
            :func:`geo_mm.evaluation.scenes.evaluate_catalog`.
    """
    scenes, predictions = scenes_of(dataset), {}
    for scene in scenes:
        if progress:
            progress(scene.name)
        entry = scene.entry
        result = predictor.predict(entry.image, Path(folder), name=scene.name, aoi=entry.aoi)
        predictions[scene.name] = result.files[0]
    with_outlines = getattr(predictor.models[0].model, 'with_mask', False)
    return evaluate_catalog(
        scenes,
        predictions,
        predictor.spec.of_pixels,
        min_score=PredictOptions.score,
        boxes=not with_outlines,
    )
