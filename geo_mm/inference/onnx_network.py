"""A trained network in an ONNX file, computed by onnxruntime alone.

The file, which may be in a package for ArcGIS, holds all that a checkpoint and its config
would say, as JSON under :data:`FACTS` (:mod:`geo_mm.deploy.onnx_file` writes it);
normalisation and decoding are part of the network.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geo_mm.errors import ConfigError, SetupError, SpecError
from geo_mm.inference.arcgis_package import PACKAGES, read_network
from geo_mm.inference.network import TileObjects, View
from geo_mm.inference.runner import cores
from geo_mm.inputspec import InputSpec
from geo_mm.paths import is_missing
from geo_mm.raster import Scene, Window
from geo_mm.raster.tiling import rounded_up

FACTS = 'geo_mm'
"""Key of the metadata of the file."""

CPU = 'CPUExecutionProvider'
_CHOSEN = ('CUDAExecutionProvider', 'MIGraphXExecutionProvider', 'DmlExecutionProvider')
"""What is used where onnxruntime offers it, before the CPU."""


class OnnxNetwork:
    """A network of an ONNX file that ``geo-mm export`` wrote; a :class:`Network`.

    Args:
        path: The file, or a package for ArcGIS that ``geo-mm export`` wrote.
        provider: Execution provider of onnxruntime, such as ``CUDAExecutionProvider``;
            None takes a GPU that onnxruntime offers, else the CPU.

    Raises:
        SetupError: If onnxruntime is not installed.
        ConfigError: If the file is no network, or there is no such provider.
        SpecError: If the file has no input specification.
    """

    def __init__(self, path: str | os.PathLike, provider: str | None = None) -> None:
        self.checkpoint = os.fspath(path)
        ort = _onnxruntime()
        offered = ort.get_available_providers()
        if provider is not None and provider not in offered:
            raise ConfigError(
                f'the execution provider {provider!r}',
                f'what this onnxruntime offers: {", ".join(offered)}',
                'install the onnxruntime of your device, such as onnxruntime-gpu',
            )
        if provider is None:
            provider = next((name for name in _CHOSEN if name in offered), CPU)
        settings = ort.SessionOptions()
        # As many threads as torch takes.
        own = os.environ.get('OMP_NUM_THREADS', '')
        count = int(own) if own.isdigit() else cores()
        settings.intra_op_num_threads = count
        settings.log_severity_level = 3  # errors; warnings are of the optimiser's
        self._session = _session(self.checkpoint, settings, list(dict.fromkeys((provider, CPU))))
        facts = _facts(self.checkpoint, self._session)
        self.spec = InputSpec.from_dict(facts['input_spec'])
        self.config_name = str(facts.get('config', ''))
        self._facts = facts
        self._count = count
        self._mean = np.array(self.spec.mean, np.float32)
        shape = self._session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != len(self.spec.bands):
            raise SpecError(
                f'{self.checkpoint} takes inputs of {shape}',
                f'images of {len(self.spec.bands)} bands: its own input specification',
                'export the checkpoint again with geo-mm export --to onnx',
            )
        self._batch, _, *self._size = shape

    @property
    def threshold(self) -> float | None:
        """As of :class:`Network`."""
        return self._facts.get('threshold')

    @property
    def limit(self) -> int | None:
        """As of :class:`Network`."""
        return self._facts.get('limit')

    @property
    def threads(self) -> int | None:
        """As of :class:`Network`."""
        return self._count if self._session.get_providers()[0] == CPU else None

    @property
    def divisor(self) -> int:
        """As of :class:`Network`; the side itself of a network for images of one size."""
        sides = [side for side in self._size if isinstance(side, int)]
        return max(sides, default=self._facts['divisor'])

    @property
    def stride(self) -> int:
        """As of :class:`Network`."""
        return self._facts.get('stride', self._facts['divisor'])

    def about(self) -> dict:
        """What records say of it."""
        return self._facts['about']

    def identity(self) -> dict:
        """What determines its results beside its file."""
        return {
            'onnxruntime': _onnxruntime().__version__,
            'device': self._session.get_providers()[0],
        }

    def receptive_radius(self, side: int) -> int:
        """As of :class:`Network`."""
        return min(self.spec.receptive_radius or 0, side // 2)

    def prepare(
        self, scene: Scene, window: Window, data: np.ndarray, valid: np.ndarray
    ) -> np.ndarray:
        """Digital numbers ``(bands, height, width)`` float32, the mean where there are none."""
        image = data.astype(np.float32)
        if not valid.all():
            image[:, ~valid] = self._mean[:, None]
        return image

    def predict_view(
        self, inputs: Sequence[np.ndarray], view: View
    ) -> list[np.ndarray | TileObjects]:
        """As of :class:`Network`."""
        batch = np.stack([turned(image, view) for image in inputs])
        self._check_size(batch.shape[2:])
        size = self._batch if isinstance(self._batch, int) else len(batch)
        return [
            found
            for start in range(0, len(batch), size)
            for found in self._predict(batch[start : start + size])
        ]

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if any(
            isinstance(own, int) and own != side
            for own, side in zip(self._size, shape, strict=True)
        ):
            raise ConfigError(
                f'{self.checkpoint}: tiles of {shape[1]} x {shape[0]} pixels',
                f'{self._size[1]} x {self._size[0]}, which is all that this network takes',
                f'--tile {self._size[0]}',
            )
        multiple = self.divisor
        if any(side % multiple for side in shape):
            raise ConfigError(
                f'{self.checkpoint}: tiles of {shape[1]} x {shape[0]} pixels',
                f'sides that are multiples of {multiple}',
                f'--tile {rounded_up(max(shape), multiple)}',
            )

    def _predict(self, batch: np.ndarray) -> list[np.ndarray | TileObjects]:
        name = self._session.get_inputs()[0].name
        try:
            found = self._session.run(None, {name: batch})
        except Exception as error:  # onnxruntime has a class of its own for each cause
            if 'allocate' in str(error).lower():
                raise MemoryError(str(error)) from error
            raise ConfigError(
                f'{self.checkpoint}: onnxruntime cannot apply it: {str(error).splitlines()[0]}',
                'an ONNX file that geo-mm export wrote',
            ) from error
        if self.spec.of_pixels:
            return list(found[0])
        return _objects(found, batch.shape[2:], self._facts.get('mask_threshold', 0.5))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SetupError(
            'onnxruntime is not installed',
            'onnxruntime, to apply ONNX files',
            'pip install onnxruntime, or onnxruntime-gpu for CUDA',
        ) from error
    return onnxruntime


def _session(path: str, settings: Any, providers: list[str]) -> Any:
    if is_missing(path):
        raise ConfigError(f'{path} does not exist', 'an ONNX file that geo-mm export wrote')
    network = read_network(path) if path.endswith(PACKAGES) else path
    try:
        return _onnxruntime().InferenceSession(network, settings, providers)
    except Exception as error:  # onnxruntime has a class of its own for each cause
        raise ConfigError(
            f'{path} cannot be read: {str(error).splitlines()[0]}',
            'an ONNX file that geo-mm export wrote',
        ) from error


def _facts(path: str, session: Any) -> Mapping:
    text = session.get_modelmeta().custom_metadata_map.get(FACTS)
    try:
        facts = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, Mapping) or not _are_whole(facts):
        raise SpecError(
            f'{path} has no input specification of its network',
            'an ONNX file that geo-mm export wrote',
            'export the checkpoint with geo-mm export --to onnx',
        )
    return facts


def _are_whole(facts: Mapping) -> bool:
    """Whether everything is there, and of the type it has."""
    about = facts.get('about')
    return (
        isinstance(about, Mapping)
        and isinstance(about.get('architecture'), str)
        and type(about.get('parameters')) is int
        and all(
            type(size) is int and size > 0
            for size in (facts.get('divisor'), facts.get('stride', 1))  # not in older files
        )
        and all(
            facts.get(key) is None or type(facts[key]) in (int, float)
            for key in ('threshold', 'limit', 'mask_threshold')
        )
        and 'input_spec' in facts
    )


def read_facts(path: str | os.PathLike) -> Mapping:
    """What an ONNX file says of its network: ``input_spec``, ``about``, ``divisor`` and more.

    Raises:
        SetupError, ConfigError, SpecError: As for :class:`OnnxNetwork`.
    """
    settings = _onnxruntime().SessionOptions()
    settings.graph_optimization_level = _onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return _facts(os.fspath(path), _session(os.fspath(path), settings, [CPU]))


def turned(image: np.ndarray, view: View) -> np.ndarray:
    """An image ``(bands, height, width)``, seen in a view."""
    mirrored, turns = view
    return np.rot90(image[..., ::-1] if mirrored else image, turns, (-2, -1))


def _objects(
    found: Sequence[np.ndarray], size: tuple[int, int], threshold: float
) -> list[np.ndarray | TileObjects]:
    """The objects of each image of a batch, from what the graph of a detector gives."""
    detections, *more = found
    outlines = more[0] if more else None
    reports: list[np.ndarray | TileObjects] = []
    for columns in detections:
        scores = columns[4:].max(axis=0)
        there = scores > 0
        middle, sides = columns[:2, there].T, columns[2:4, there].T
        boxes = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
        masks = None
        if outlines is not None:
            own, outlines = outlines[: len(boxes)], outlines[len(boxes) :]
            masks = np.zeros((len(boxes), *size), bool)
            for mask, shares, box in zip(masks, own, boxes, strict=True):
                _paste(mask, shares, box, threshold)
        labels = columns[4:, there].argmax(axis=0)
        reports.append(TileObjects(size, boxes, scores[there], labels, masks))
    return reports


def _paste(mask: np.ndarray, shares: np.ndarray, box: np.ndarray, threshold: float) -> None:
    """Draws an object.

    As MMDetection does, probabilities are interpolated bilinearly at the middles of pixels,
    up to one pixel outside the box, and are 0 beyond the outermost cells.

    Args:
        mask: ``(height, width)`` of the tile.
        shares: Probabilities ``(h, w)`` in the cells of the box.
        box: left, top, right, bottom in pixels.
        threshold: From which probability a pixel belongs to the object.
    """
    first = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
    last = np.minimum(np.ceil(box[2:]) + 1, mask.shape[::-1]).astype(int)
    cols, rows = (
        _weights(first[axis], last[axis], box[axis], box[axis + 2], shares.shape[1 - axis])
        for axis in (0, 1)
    )
    there = mask[first[1] : last[1], first[0] : last[0]]
    there[:] = rows @ shares @ cols.T >= threshold


def _weights(first: int, last: int, low: float, high: float, cells: int) -> np.ndarray:
    """``(pixels, cells)``: the share of each cell of a row in each of its pixels."""
    middles = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    place = (middles - low) / (high - low) * cells - np.float32(0.5)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells, dtype=np.float32)), 0)
