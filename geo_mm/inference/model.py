"""A trained model, ready for chips of scenes."""

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from geo_mm.catalog import LabelledScene
from geo_mm.engine.launch import build_model
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene, Tile

_LABEL_STEPS = ('LoadChipObjects', 'LoadChipClasses', 'LoadAnnotations')


class TrainedModel:
    """A model with its weights, its input spec and its test pipeline.

    Args:
        config: Config that it was trained with.
        checkpoint: ``.pth`` file that tools/train.py wrote.
        device: Torch device; None takes the first GPU, else the CPU.

    Raises:
        ConfigError: If the checkpoint is unreadable or belongs to another
            config.
        SpecError: If it holds no input spec.
    """

    def __init__(
        self, config: Config, checkpoint: str | os.PathLike, device: str | None = None
    ) -> None:
        self.config = config
        self.device = torch.device(device or ('cuda:0' if torch.cuda.is_available() else 'cpu'))
        data = _load_checkpoint(checkpoint)
        if 'input_spec' not in data:
            raise SpecError(
                f'{checkpoint} does not say what its model must be fed',
                'a checkpoint trained with the hook geo_mm.InputSpecHook',
                "add custom_hooks=[dict(type='geo_mm.InputSpecHook')] to the config and train",
            )
        self.spec = InputSpec.from_dict(data['input_spec'])
        self.pipeline = self._test_pipeline()
        self.model = self._build(data['state_dict'], checkpoint)

    def _build(self, weights: Mapping[str, torch.Tensor], checkpoint: object) -> torch.nn.Module:
        model = build_model(self.config)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ConfigError(
                f'{checkpoint} does not fit the config {self.config.filename}: '
                f'{_first_lines(str(error))}',
                'the config that it was trained with; a copy lies beside the checkpoint',
            ) from error
        # Convolutions on CPUs and tensor cores are faster with channels last.
        return model.to(self.device, memory_format=torch.channels_last).eval()

    def _test_pipeline(self) -> Compose:
        """The config's test pipeline without what reads labels."""
        init_default_scope(self.config.get('default_scope', 'mmengine'))
        dataset = self.config.test_dataloader.dataset
        while 'pipeline' not in dataset:
            dataset = dataset.dataset if 'dataset' in dataset else dataset.datasets[0]
        steps = [s for s in dataset.pipeline if s.type.rpartition('.')[2] not in _LABEL_STEPS]
        return Compose(steps)

    def load(self, scene: Scene, tile: Tile) -> tuple[dict, np.ndarray]:
        """Reads a tile and runs the test pipeline on it. Safe in threads.

        Returns:
            Model input, and valid mask ``(tile, tile)``. The input is empty if
            nothing is valid, since then there is nothing to predict.
        """
        results = {
            'labelled_scene': LabelledScene(scene),
            'window': tile.window,
            'fill': self.spec.mean,
            'img_id': 0,
            'img_path': scene.sources[0],
            'scene_id': scene.name,
        }
        # The first step reads; the rest is skipped for an empty tile.
        results = self.pipeline.transforms[0](results)
        valid = results.pop('valid')
        if not valid.any():
            return {}, valid
        for step in self.pipeline.transforms[1:]:
            results = step(results)
        return results, valid

    @torch.inference_mode()
    def predict(self, inputs: Sequence[dict]) -> list[BaseDataElement]:
        """Predictions for a batch of model inputs, in the same order."""
        batch = {
            'inputs': [item['inputs'] for item in inputs],
            'data_samples': [item['data_samples'] for item in inputs],
        }
        return self.model.test_step(batch)


def _load_checkpoint(path: str | os.PathLike) -> dict:
    if not Path(path).is_file():
        raise ConfigError(f'{path}: no such checkpoint', 'a .pth file written by tools/train.py')
    try:
        data = torch.load(path, map_location='cpu', weights_only=False)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f'{path}: not a readable checkpoint: {_first_lines(str(error))}',
            'a complete .pth file written by tools/train.py',
        ) from error
    if not isinstance(data, dict) or 'state_dict' not in data:
        raise ConfigError(f'{path}: no weights in it', 'a checkpoint written by tools/train.py')
    return data


def _first_lines(text: str, count: int = 4) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ' '.join(lines[:count])
