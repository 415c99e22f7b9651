"""A trained model, ready for chips of scenes.

Refuses a checkpoint without an input specification, or whose normalisation is not
that of the config; :mod:`geo_mm.models.checkpoints` has checked the file and the
weights before, :mod:`geo_mm.engine.embedded_config` the config inside.
"""

import contextlib
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

from geo_mm.engine.acceleration import fold_batch_norms, keep_freed_memory, use_channels_last
from geo_mm.engine.embedded_config import built_from_embedded, config_of
from geo_mm.engine.launch import build_model
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference.arcgis_package import PACKAGES
from geo_mm.inference.arcgis_weights import checkpoint_of_package
from geo_mm.inference.network import TileObjects, View
from geo_mm.inference.options import tile_side
from geo_mm.inference.tasks import task_of
from geo_mm.inference.tasks.detection import most_objects
from geo_mm.inputspec import InputSpec
from geo_mm.models.checkpoints import check_weights, read_checkpoint
from geo_mm.models.lora import merge_lora
from geo_mm.models.segmentors import receptive_radius
from geo_mm.raster import Scene, Window

_SHAPES = ('img_shape', 'ori_shape', 'pad_shape')
_LABEL_STEPS = ('LoadChipObjects', 'LoadChipClasses', 'LoadAnnotations')


class _Chip(NamedTuple):
    """Pixels that are read already, for LoadChip."""

    scene: Scene
    data: np.ndarray
    valid: np.ndarray

    def read(self, window: Window, dtype: np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        # A copy, since LoadChip fills it, and other models see the same pixels.
        return self.data.astype(dtype or self.data.dtype), self.valid


class TrainedModel:
    """A model with its weights, its input spec and its test pipeline; a :class:`Network`.

    Args:
        checkpoint: ``.pth`` file that geo-mm train wrote, or the same as ``.safetensors``; or
            a model of others for ArcGIS (:mod:`geo_mm.inference.arcgis_weights`).
        config: Config that it was trained with; None takes the one that is
            in the checkpoint.
        device: Torch device; None takes the first GPU, else the CPU.
        tile: Side in pixels of the tiles that it will be given, for which a
            detector's limits on objects are raised; None as for
            :func:`geo_mm.inference.options.tile_side`.
        amp: Compute in 16-bit floats where that is safe.
        compiled: Compile the backbone with ``torch.compile``.
        trust_checkpoint: Let the config in the checkpoint import and call
            anything (:mod:`geo_mm.engine.embedded_config`).

    Raises:
        ConfigError: If the checkpoint is unreadable or belongs to another
            config, or there is no such device.
        SpecError: If it holds no input spec.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike,
        config: Config | None = None,
        device: str | None = None,
        *,
        tile: int | None = None,
        amp: bool = False,
        compiled: bool = False,
        trust_checkpoint: bool = False,
    ) -> None:
        self.checkpoint = os.fspath(checkpoint)
        self.device = _device(device)
        data = read_trained(checkpoint)
        if 'input_spec' not in data:
            raise SpecError(
                f'{checkpoint} has no input specification of its model',
                'a checkpoint trained with the hook geo_mm.InputSpecHook',
                "add custom_hooks=[dict(type='geo_mm.InputSpecHook')] to the config and train",
            )
        self.spec = InputSpec.from_dict(data['input_spec'])
        config = config_of(data, checkpoint, trust_checkpoint) if config is None else config
        chip = self.spec.chip_size
        self.given_config = config  # with the limits of training
        self.config_name = config.filename or _experiment(data)
        # A config without a file of its own is one out of a checkpoint.
        trusted = trust_checkpoint or config.filename is not None
        with contextlib.nullcontext() if trusted else built_from_embedded(checkpoint):
            self.config = task_of(self.spec).for_tiles(config, chip, tile_side(tile, chip))
            self.pipeline = self._test_pipeline()
            model = build_model(self.config)
        check_weights(model, checkpoint, data)
        model.load_state_dict(data['state_dict'])
        merge_lora(model)
        _check_normalisation(model, self.spec)
        self.started_from = _records(data.get('pretrained'))
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        # Convolutions on CPUs and tensor cores are faster with channels last.
        use_channels_last(model)
        self.model: BaseModel = model.to(self.device).eval()
        if self.device.type == 'cpu':
            keep_freed_memory()
        fold_batch_norms(self.model)
        self.amp = _half_type(self.device) if amp else None
        if compiled:
            self.model.get_submodule('backbone').compile()

    def about(self) -> dict:
        """What records say of the model: ``architecture``, ``parameters``, ``masks`` and,
        where the checkpoint or config tells, ``pretrained``: what training started from,
        and its ``pretrained_licence`` and ``pretrained_citation``."""
        model = self.config.model
        parts = [model.get('type', '')]
        if 'decode_head' in model:  # EncoderDecoder says nothing
            heads = model.decode_head
            head = heads[-1] if isinstance(heads, list) else heads
            parts = [model.backbone.type, head.type]
        about = {
            'architecture': ' + '.join(part.rpartition('.')[2] for part in parts),
            'parameters': self._parameters,
            'masks': any(getattr(self.model, key, False) for key in ('with_mask', 'with_masks')),
        }
        start = (model.get('backbone') or {}).get('init_cfg') or {}
        source = self.config.get('load_from') or (
            start.get('checkpoint') if isinstance(start, dict) else None
        )
        if not self.started_from:
            return {**about, 'pretrained': str(source)} if source else about
        facts = {'checkpoint': '', 'licence': '_licence', 'citation': '_citation'}
        for key, suffix in facts.items():
            if said := dict.fromkeys(r[key] for r in self.started_from if r.get(key)):
                about['pretrained' + suffix] = '; '.join(said)
        return about

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

    def prepare(self, scene: Scene, window: Window, data: np.ndarray, valid: np.ndarray) -> dict:
        """Runs the test pipeline on pixels. Safe in threads.

        Args:
            scene: The scene as the model must see it.
            window: Where the pixels are in it.
            data: ``(bands, height, width)``; left as it is.
            valid: ``(height, width)`` bool.

        Returns:
            Model input.
        """
        results = {
            'labelled_scene': _Chip(scene, data, valid),
            'window': window,
            'fill': self.spec.mean,
            'img_id': 0,
            'img_path': scene.sources[0],
            'scene_id': scene.name,
        }
        first, *rest = self.pipeline.transforms
        results = first(results)
        del results['valid']  # pipelines of training need it, further on
        for step in rest:
            results = step(results)
        return results

    @property
    def divisor(self) -> int:
        """What sides of images must be a multiple of; 64 where the model does not say."""
        said = self._padded_to or 64
        # No network divides its input more often than 6 times, but some have windows.
        return math.lcm(said if said > 1 else 64, self._window)

    @functools.cached_property  # anchors of other people's models change their steps
    def stride(self) -> int:
        """As of :class:`Network`: detectors have coarser levels than images are padded for."""
        heads = (getattr(self.model, name, None) for name in ('rpn_head', 'bbox_head'))
        priors = (getattr(head, 'prior_generator', None) for head in heads)
        steps = np.ravel([s for prior in priors for s in getattr(prior, 'strides', ())])
        # Levels of SSD that hold three cells or one have steps of 100 or 300 pixels, say.
        halved = [step for step in steps.astype(int).tolist() if not step & (step - 1)]
        return math.lcm(self._padded_to or 64, self._window, max(halved, default=1))

    @property
    def _padded_to(self) -> int | None:
        """What the preprocessor says that sides of images must be a multiple of."""
        pre = self.model.data_preprocessor
        return getattr(pre, 'pad_size_divisor', None) or getattr(pre, 'size_divisor', None)

    @property
    def _window(self) -> int:
        """What a backbone of timm says likewise, such as for its windows."""
        return getattr(getattr(self.model, 'backbone', None), 'divisor', 1)

    @property
    def threshold(self) -> float | None:
        """Of a binary model for pixels with one output; see :class:`Network`."""
        head = getattr(self.model, 'decode_head', None)
        return getattr(head, 'threshold', None) if getattr(head, 'out_channels', 0) == 1 else None

    @property
    def limit(self) -> int | None:
        """How many objects it reports of one tile at most, if it says so."""
        return most_objects(self.config)

    @property
    def threads(self) -> int | None:
        """That compute, on a CPU: sums in another order are not the same to the last bit."""
        return torch.get_num_threads() if self.device.type != 'cuda' else None

    def identity(self) -> dict:
        """What determines its results beside its file."""
        on_gpu = self.device.type == 'cuda'
        config = json.dumps(self.config.to_dict(), sort_keys=True, default=str)
        return {
            'torch': torch.__version__,
            'device': torch.cuda.get_device_name(self.device) if on_gpu else self.device.type,
            'config': hashlib.sha256(config.encode()).hexdigest(),
        }

    def receptive_radius(self, side: int) -> int:
        """As of :class:`Network`; measured, if that was not done after training."""
        if self.spec.receptive_radius is None:  # an older checkpoint
            return receptive_radius(self.model, len(self.spec.bands), side)
        return min(self.spec.receptive_radius, side // 2)

    def predict_view(self, inputs: Sequence[dict], view: View) -> list[np.ndarray | TileObjects]:
        """As of :class:`Network`."""
        samples = self.predict([turned(item, view) for item in inputs])
        return [_objects(s) if 'pred_instances' in s else probabilities(s) for s in samples]

    @torch.inference_mode()
    def predict(self, inputs: Sequence[dict]) -> list[BaseDataElement]:
        """Predictions for a batch of model inputs, in the same order."""
        batch = {
            'inputs': [item['inputs'] for item in inputs],
            'data_samples': [item['data_samples'] for item in inputs],
        }
        with self._precision():
            return self.model.test_step(batch)

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.amp)


def read_trained(checkpoint: str | os.PathLike) -> dict:
    """As :func:`read_checkpoint`, also of models of others for ArcGIS."""
    if os.fspath(checkpoint).lower().endswith(PACKAGES):
        return checkpoint_of_package(checkpoint)
    return read_checkpoint(checkpoint)


def turned(item: dict, view: View) -> dict:
    """Model input, seen in a view."""
    mirrored, turns = view
    image = item['inputs'].flip(-1) if mirrored else item['inputs']
    item = {**item, 'inputs': torch.rot90(image, turns, (-2, -1))}
    if turns % 2 and image.shape[-1] != image.shape[-2]:
        sample = item['data_samples'].clone()
        known = [key for key in _SHAPES if key in sample.metainfo]
        sample.set_metainfo({key: tuple(sample.metainfo[key][:2][::-1]) for key in known})
        item['data_samples'] = sample
    return item


def probabilities(prediction: BaseDataElement) -> np.ndarray:
    """Class probabilities ``(classes, h, w)`` float32 of a SegDataSample.

    A model with one output channel is binary: it gives the probability of the
    second class.
    """
    logits = prediction.seg_logits.data.float()
    if len(logits) == 1:
        # MMSegmentation has applied the sigmoid already, though not for more classes.
        second = logits.cpu().numpy()
        return np.concatenate([1 - second, second])
    return logits.softmax(dim=0).cpu().numpy()


def _objects(prediction: BaseDataElement) -> TileObjects:
    """Those of a DetDataSample."""
    found = prediction.pred_instances.cpu().numpy()
    size = tuple(prediction.metainfo['ori_shape'][:2])
    masks = found.masks.astype(bool) if 'masks' in found else None
    return TileObjects(size, found.bboxes.reshape(-1, 4), found.scores, found.labels, masks)


def _records(data: object) -> list[dict[str, str]]:
    """What a checkpoint, which may be anyone's, says of weights that it started from."""
    records = data if isinstance(data, list) else []
    return [
        {str(key): value for key, value in each.items() if isinstance(value, str)}
        for each in records
        if isinstance(each, Mapping)
    ]


def _experiment(data: Mapping) -> str:
    """Name of the config that MMEngine's Runner noted in a checkpoint, with the time of the run."""
    name = (data.get('meta') or {}).get('experiment_name', '')
    return re.sub(r'_\d{8}_\d{6}$', '', name)


def _device(name: str | None) -> torch.device:
    # Of several processes on a machine each has its own GPU set.
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f'device {name!r} cannot be used: {str(error).splitlines()[0]}',
            "'cpu', or 'cuda:0' on a machine with a GPU and a PyTorch for it",
        ) from error


def _half_type(device: torch.device) -> torch.dtype:
    if device.type == 'cuda' and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def _check_normalisation(model: torch.nn.Module, spec: InputSpec) -> None:
    for key in ('mean', 'std'):
        own = getattr(model.data_preprocessor, key, torch.empty(0)).flatten().tolist()
        if tuple(own) != getattr(spec, key):
            raise ConfigError(
                f'the data_preprocessor of the config has {key}={own}',
                f'{list(getattr(spec, key))}, with which the model was trained',
                'take the config that is next to the checkpoint',
            )
