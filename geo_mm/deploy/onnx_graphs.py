"""Networks as ONNX can hold them: from digital numbers to probabilities."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from geo_mm.errors import ConfigError
from geo_mm.inference.model import TrainedModel
from geo_mm.models.segmentors import PointRendSegmentor

_LARGEST = torch.finfo(torch.float32).max


class Graph(nn.Module):
    """Digital numbers in, normalised and with invalid pixels filled as the preprocessor does.

    Args:
        model: The trained model; it is copied.

    Attributes:
        outputs: Names of what it gives.
        lengths: Of dimensions of the outputs that are the same for all images.
    """

    outputs: tuple[str, ...]
    lengths: dict[str, dict[int, int]]
    network: Any
    mean: Tensor
    std: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        spec = model.spec
        if getattr(model.model.data_preprocessor, 'scale', 1) != 1:
            raise ConfigError(
                f'{model.checkpoint}: a model of others that resizes its images',
                'a model that was trained with geo_mm',
                'export it to safetensors, which geo-mm predict takes',
            )
        self.network = _exportable(copy.deepcopy(model.model)).eval()
        self._nodata = spec.nodata if isinstance(spec.nodata, int | float) else None
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(spec, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1))

    def normalised(self, image: Tensor) -> Tensor:
        """``(image - mean) / std``, 0 where a pixel is not finite or nodata in all bands."""
        valid = (image.abs() <= _LARGEST).float().amin(1, keepdim=True)
        if self._nodata is not None:
            valid = valid * (image != self._nodata).float().amax(1, keepdim=True)
        return torch.where(valid > 0, (image - self.mean) / self.std, torch.zeros_like(self.mean))

    @property
    def dynamic(self) -> dict[str, dict[int, str]]:
        """Names of the dimensions of any size, of input and outputs."""
        return {'image': {0: 'batch', 2: 'height', 3: 'width'}}


class PixelGraph(Graph):
    """Semantic segmentation: ``probabilities`` ``(batch, classes, height, width)``."""

    outputs = ('probabilities',)

    def __init__(self, model: TrainedModel) -> None:
        super().__init__(model)
        self.lengths = {'probabilities': {1: len(model.spec.classes)}}
        mode = (self.network.test_cfg or {}).get('mode', 'whole')
        if mode != 'whole':
            raise ConfigError(
                f'{model.checkpoint}: test_cfg of the model has mode={mode!r}',
                "mode='whole': tiles are cut by who applies the model",
                '--cfg-options model.test_cfg.mode=whole',
            )
        if isinstance(self.network, PointRendSegmentor):
            setattr(self.network, 'refined', self._refined)  # noqa: B010 - mypy

    def _refined(self, height: Tensor, width: Tensor) -> Tensor:
        """:meth:`PointRendSegmentor.refined` of sizes that are tensors."""
        share = self.network.refined_share
        return (share * height * width).round().long().clamp(min=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.normalised(image)
        logits = self.network.encode_decode(x, [{'img_shape': x.shape[2:]}])
        if logits.shape[1] == 1:  # of the second class
            second = logits.sigmoid()
            return torch.cat([1 - second, second], dim=1)
        return logits.softmax(dim=1)

    @property
    def dynamic(self) -> dict[str, dict[int, str]]:
        sizes = super().dynamic
        return {**sizes, 'probabilities': sizes['image']}


def _exportable(network: nn.Module) -> nn.Module:
    """The network with layers replaced that ONNX has no equal of for any size, in place."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d) and _pair(module.output_size) != (1, 1):
            network.set_submodule(name, MatrixPool(_pair(module.output_size)))
        elif isinstance(module, Upsample) and module.scale_factor:
            # The library's own computes the size in whole numbers of Python.
            factors = dict(scale_factor=module.scale_factor, mode=module.mode)
            network.set_submodule(name, nn.Upsample(**factors, align_corners=module.align_corners))
        elif isinstance(module, nn.MultiheadAttention):
            network.set_submodule(name, Attention(module))
    return network


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


class MatrixPool(nn.Module):
    """``torch.nn.AdaptiveAvgPool2d`` as two products of matrices, for images of any size.

    Args:
        size: ``(height, width)`` of the result.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = (
            _averages(cells, length) for cells, length in zip(self.size, x.shape[2:], strict=True)
        )
        return rows.to(x) @ x @ cols.to(x).T


@contextlib.contextmanager
def matrix_interpolation() -> Iterator[None]:
    """Lets antialiased bicubic interpolation, of which ONNX has no equal, be two products.

    timm's vision transformers interpolate their embeddings of positions by it.
    """
    usual = F.interpolate

    def interpolate(x: Tensor, size: Any = None, *args: Any, **how: Any) -> Tensor:
        if how.get('mode') != 'bicubic' or not how.get('antialias'):
            return usual(x, size, *args, **how)
        rows, cols = (_bicubic(old, new) for old, new in zip(x.shape[2:], size, strict=True))
        return rows.to(x) @ x @ cols.to(x).T

    F.interpolate = interpolate  # type: ignore[assignment]
    try:
        yield
    finally:
        F.interpolate = usual


def _bicubic(old: int, new: int) -> Tensor:
    """``(new, old)``: the share of each old pixel of a row in each new one.

    Keys' cubic convolution with a = -0.5, widened where the row is made shorter, as torch has it.
    """
    scale = torch.as_tensor(old / new)
    middles = (torch.arange(new)[:, None] + 0.5) * scale
    distance = (torch.arange(old)[None] + 0.5 - middles).abs() / scale.clamp(min=1)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    shares = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0 * far))
    return shares / shares.sum(1, keepdim=True)


def _averages(cells: int, length: int) -> Tensor:
    """``(cells, length)``: the share of each pixel of a row in each cell."""
    pixel = torch.arange(length)[None]
    cell = torch.arange(cells)[:, None]
    # In ONNX negative numbers are divided otherwise, so the ceiling is written like this.
    first, last = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    within = ((pixel >= first) & (pixel < last)).float()
    return within / within.sum(1, keepdim=True)


class Attention(nn.Module):
    """``torch.nn.MultiheadAttention`` without masks, in terms of plain products.

    Args:
        attention: What it stands in for.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first = attention.num_heads, attention.batch_first
        self.weight, self.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_) -> tuple[Tensor, None]:
        weights = self.weight.chunk(3)
        biases = (None,) * 3 if self.bias is None else self.bias.chunk(3)
        parts = [
            self._split(F.linear(x, weight, bias))
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        ]
        queries, keys, values = parts
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
        out = self.out_proj(mixed)
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _split(self, x: Tensor) -> Tensor:
        """``(batch, heads, length, channels of a head)``."""
        x = x if self.batch_first else x.transpose(0, 1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
