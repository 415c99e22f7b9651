"""Prediction with the calling convention of MMEngine's inferencers."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.config import Config

from geo_mm.errors import ConfigError
from geo_mm.inference.area import Source
from geo_mm.inference.predictor import Predictor
from geo_mm.inference.scene_lists import find_scenes
from geo_mm.inference.scenes import check_outcomes, predict_scenes
from geo_mm.models.checkpoints import WEIGHTS
from geo_mm.registry import INFERENCERS


@INFERENCERS.register_module()
class GeoInferencer:
    """A :class:`Predictor` in the place of ``DetInferencer`` or ``MMSegInferencer``.

    Whole scenes are predicted, tile by tile, and results are georeferenced.

    Examples:
        >>> inferencer = GeoInferencer(model='roofs.py', weights='iter_2000.pth')
        >>> inferencer('city.tif', batch_size=8, out_dir='out')['predictions'][0].counts

    Args:
        model: Config that the model was trained with, as a file or read; or a
            checkpoint, which holds its own.
        weights: Checkpoint that training wrote, or several: an ensemble.
        device: Torch device; None takes the first GPU, else the CPU.
        **options: Fields of :class:`PredictOptions`.

    Raises:
        ConfigError: If there are no weights, or as for :class:`Predictor`.
    """

    def __init__(
        self,
        model: str | PathLike | Config | None = None,
        weights: str | PathLike | Sequence[str | PathLike] | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        if (
            weights is None
            and isinstance(model, str | PathLike)
            and os.fspath(model).endswith(WEIGHTS)
        ):
            model, weights = None, model
        if weights is None:
            raise ConfigError(
                f'model={model!r} without weights',
                'a checkpoint trained with geo_mm, which has an input specification',
                "GeoInferencer(weights='work_dirs/.../iter_2000.pth')",
            )
        if isinstance(model, str | PathLike):  # else it is read already
            from geo_mm.engine.launch import load_config

            model = load_config(model)
        self.predictor = Predictor(weights, model, device=device, **options)

    def __call__(
        self,
        inputs: Source | Sequence[Source],
        batch_size: int | None = None,
        out_dir: str | PathLike = '',
        return_vis: bool = False,
        **part: Any,
    ) -> dict[str, list]:
        """Predicts scenes.

        Args:
            inputs: A scene or several: files, patterns, catalog tables or STAC
                items, :class:`geo_mm.raster.Scene`, or arrays ``(bands,
                height, width)``.
            batch_size: Tiles per forward pass; None as in the options.
            out_dir: Where to write results; nothing is written without.
            return_vis: Also give pictures of the results.
            **part: Fields of :class:`SceneToPredict` for each, such as ``aoi``.

        Returns:
            ``'predictions'``: a :class:`Prediction` of each scene;
            ``'visualization'``: an RGB array ``(height, width, 3)`` of each,
            or none.

        Raises:
            GeoMMError: As :meth:`Predictor.predict`.
        """
        predictor = self.predictor
        if batch_size is not None:
            predictor = predictor.changed(batch_size=batch_size)
        scenes: list = []
        for item in inputs if isinstance(inputs, list | tuple) else [inputs]:
            if isinstance(item, str | PathLike):
                scenes += find_scenes([os.fspath(item)])
            else:
                scenes.append(item)
        if out_dir:
            outcomes = predict_scenes(predictor, scenes, Path(out_dir), **part)
            check_outcomes(outcomes)
            found = [item.prediction for item in outcomes if item.prediction is not None]
        else:
            found = [predictor.predict(scene, **part) for scene in scenes]
        pictures = [prediction.picture() for prediction in found] if return_vis else []
        return {'predictions': found, 'visualization': pictures}
