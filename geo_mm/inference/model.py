"""A trained model, ready for chips of scenes."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

from geo_mm.catalog import LabelledScene
from geo_mm.engine.channels_last_hook import use_channels_last
from geo_mm.engine.checkpoints import check_weights, read_checkpoint
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
            config, or there is no such device.
        SpecError: If it holds no input spec.
    """

    def __init__(
        self, config: Config, checkpoint: str | os.PathLike, device: str | None = None
    ) -> None:
        self.config = config
        self.device = _device(device)
        data = read_checkpoint(checkpoint)
        if 'input_spec' not in data:
            raise SpecError(
                f'{checkpoint} does not say what its model must be fed',
                'a checkpoint trained with the hook geo_mm.InputSpecHook',
                "add custom_hooks=[dict(type='geo_mm.InputSpecHook')] to the config and train",
            )
        self.spec = InputSpec.from_dict(data['input_spec'])
        self.pipeline = self._test_pipeline()
        model = build_model(config)
        check_weights(model, checkpoint, data)
        model.load_state_dict(data['state_dict'])
        _check_normalisation(model, self.spec)
        use_channels_last(model)
        self.model = model.to(self.device).eval()

    def _test_pipeline(self) -> Compose:
        """The config's test pipeline without what reads labels."""
        dataset = self.config.test_dataloader.dataset
        while 'pipeline' not in dataset:
            dataset = dataset.dataset if 'dataset' in dataset else dataset.datasets[0]
        steps = [s for s in dataset.pipeline if s.type.rpartition('.')[2] not in _LABEL_STEPS]
        if not steps or steps[0].type != 'geo_mm.LoadChip':
            raise ConfigError(
                'the pipeline of test_dataloader does not begin with reading a chip',
                "dict(type='geo_mm.LoadChip') as its first step",
            )
        with DefaultScope.overwrite_default_scope(self.config.get('default_scope')):
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


def _device(name: str | None) -> torch.device:
    name = name or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f'device {name!r} cannot be used: {str(error).splitlines()[0]}',
            "'cpu', or 'cuda:0' on a machine with a GPU and a PyTorch for it",
        ) from error


def _check_normalisation(model: torch.nn.Module, spec: InputSpec) -> None:
    for key in ('mean', 'std'):
        own = getattr(model.data_preprocessor, key, torch.empty(0)).flatten().tolist()
        if tuple(own) != getattr(spec, key):
            raise ConfigError(
                f'the data_preprocessor of the config has {key}={own}',
                f'{list(getattr(spec, key))}, with which the model was trained',
                'take the config that lies beside the checkpoint',
            )
