"""Models as programs of ``torch.export`` (``.pt2``), with normalisation and softmax inside.

PyTorch runs such a file without geo_mm and without the mm libraries.
"""

import io
import json
import logging
import warnings
import zipfile
import zlib
from pathlib import Path

import torch
from torch.export import Dim

from geo_mm.deploy.onnx_graphs import PixelGraph
from geo_mm.deploy.options import ModelExportOptions
from geo_mm.errors import ConfigError
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.options import tile_side
from geo_mm.models.checkpoints import FACTS
from geo_mm.models.segmentors import PointRendSegmentor
from geo_mm.paths import atomic_write, reported
from geo_mm.raster.tiling import rounded_up

logger = logging.getLogger(__name__)

_BESIDE = f'{FACTS}.json'
_TRACED = 128
"""Least side in pixels of the image that is followed."""


def write_pt2(model: TrainedModel, path: Path, options: ModelExportOptions) -> Path:
    """Write ``<path>.pt2``, for any number of images, and any size if the network allows it.

    It takes ``(batch, bands, height, width)`` float32, values as they are in the scene and
    NaN where there is no data, and gives probabilities ``(batch, classes, height, width)``.

    Args:
        model: The trained model.
        path: Of the file, without suffix.
        options: ``tile``: the size of images, if there is only one.

    Returns:
        The file.

    Raises:
        ConfigError: If it is a detector or PointRend, or has parts that torch.export cannot follow.
        OutputError: If it cannot be written.
    """
    if not model.spec.of_pixels:
        raise ConfigError(
            f'{model.checkpoint}: a detector, whose suppression torch.export cannot follow',
            'a model for semantic segmentation',
            '--to onnx, which has an operator for it',
        )
    if isinstance(model.model, PointRendSegmentor):
        raise ConfigError(
            f'{model.checkpoint}: PointRend chooses its pixels anew for each image, which '
            'torch.export cannot follow',
            'a model without it',
            '--to onnx, or safetensors',
        )
    target = path.with_name(f'{path.name}.pt2')
    content = _content(model, options)
    with reported(target), atomic_write(target) as partial:
        partial.write_bytes(content)
    return target


def _content(model: TrainedModel, options: ModelExportOptions) -> bytes:
    """The file: the program, and beside it in words which sizes of images it takes.

    In memory, since PyTorch's errors of writing to disk say nothing of the disk.
    """
    facts = {'input_spec': model.spec.to_dict(), 'about': model.about()}
    graph, multiple = PixelGraph(model).eval(), model.divisor
    side = rounded_up(_TRACED, multiple)
    tile = rounded_up(tile_side(options.tile, model.spec.chip_size), multiple)
    bands, reason = len(model.spec.bands), ''
    tries = (
        # Not square, so that no side is taken for the other.
        ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}, (side, side + multiple), 'any size'),
        ({0: Dim.AUTO}, (tile, tile), f'{tile} x {tile} pixels'),
    )
    for dynamic, size, words in tries:
        other = [length + 2 * multiple if words == 'any size' else length for length in size]
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                image = torch.zeros(2, bands, *size)
                program = torch.export.export(graph, (image,), dynamic_shapes=(dynamic,))
                for number in (1, 3):
                    program.module()(torch.zeros(number, bands, *other))
                # Not all that can be followed can be written: math.ceil of a size cannot.
                file = io.BytesIO()
                beside = {_BESIDE: json.dumps({**facts, 'sizes': words})}
                torch.export.save(program, file, extra_files=beside)
        except Exception as error:  # whatever the parts of a network raise when they are followed
            reason = str(error).strip().partition('\n')[0]
            logger.debug('%s: not for %s sizes: %s', model.checkpoint, words, reason)
        else:
            return file.getvalue()
    raise ConfigError(
        f'{model.checkpoint}: torch.export cannot follow it: {reason}',
        'a network that it can follow',
        '--to onnx, or safetensors',
    )


def read_pt2_facts(path: Path) -> dict:
    """What stands in a ``.pt2`` file beside the program, which is not loaded.

    Raises:
        ConfigError: If it is no such file, or geo_mm did not write it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f'/extra/{_BESIDE}')]
            if len(names) == 1 and archive.getinfo(names[0]).file_size < 1 << 20:
                facts = json.loads(archive.read(names[0]))
                if isinstance(facts, dict) and 'input_spec' in facts:
                    return facts
    # RuntimeError: RecursionError, NotImplementedError and encrypted members, too.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f'{path}: not a readable .pt2 file: {error}', 'a complete one') from error
    raise ConfigError(
        f'{path}: does not say what its model needs', 'a .pt2 file of geo-mm export --to pt2'
    )
