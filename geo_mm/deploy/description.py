"""What a file is, in words: a result and how it was made, or a model and what it needs."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from geo_mm.catalog.set_description import SetDescription, describe_set
from geo_mm.catalog.training_sets import is_training_set
from geo_mm.errors import ConfigError, SceneError, SpecError, listed
from geo_mm.formats.description import Description, SceneDescription, describe_file
from geo_mm.formats.training.arcgis import METADATA
from geo_mm.inference.arcgis_package import (
    PACKAGES,
    ArcgisModel,
    BandStatistics,
    read_arcgis_model,
)
from geo_mm.inputspec import GSD_TOLERANCE, InputSpec
from geo_mm.raster import Scene, handles
from geo_mm.raster.stack import Files
from geo_mm.work_dirs import model_file

CHECKPOINTS = ('.pth', '.safetensors')
PROGRAM = '.pt2'
ONNX = '.onnx'
_OF_EXPORTS = {*METADATA, 'stats.txt'} - {'esri_model_definition.emd'}


@dataclass(frozen=True)
class ModelDescription:
    """What a model file needs and gives; printed, it is a text of a few lines.

    Attributes:
        path: The file.
        about: Lines about the model.
        needs: What an image must be, in words.
        spec: Its input specification, or what its author's program says instead.
        image: Lines about an image that was compared with it; None if there was none.
        misfits: Why that image does not suit the model.
    """

    path: str
    about: tuple[str, ...]
    needs: str
    spec: InputSpec | ArcgisModel
    image: tuple[str, ...] | None = None
    misfits: tuple[SpecError, ...] = ()

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the lines below each."""
        yield self.path, [*self.about, f'needs {self.needs}']
        yield 'classes', [f'{value} {name}: #{colour}' for value, name, colour in self._classes()]
        if self.image is not None:
            yield 'image', list(self.image)

    def _classes(self) -> Iterator[tuple[int, str, str]]:
        values = self.spec.values if isinstance(self.spec, ArcgisModel) else None
        for index, name, parts in self.spec.classes.items():
            colour = ''.join(f'{part:02x}' for part in parts)
            yield (index if values is None else values[index]), name, colour

    def to_dict(self) -> dict:
        """What the model needs, as plain data."""
        if isinstance(self.spec, InputSpec):
            return self.spec.to_dict()
        return asdict(self.spec)

    def __str__(self) -> str:
        return '\n'.join('\n  '.join([title, *lines]) for title, lines in self.sections())


def describe(
    path: str | os.PathLike, image: Files | None = None
) -> Description | ModelDescription | SceneDescription | SetDescription:
    """Say what a file is: a model and what it needs, an image, a result, or a training set.

    Nothing in the file is run: of packages of others only the definition is read,
    and weights only as such.

    Args:
        path: A model (``.pth``, ``.safetensors``, ``.pt2``, or of ArcGIS: ``.emd``, ``.dlpk``),
            the work dir of a training, which stands for its best checkpoint; what a prediction
            wrote: a raster, layer, picture or record; an image; or a training set of another
            program: a folder, ``.json`` or ``.yaml``.
        image: Files of a scene, to compare with what the model needs.

    Raises:
        ConfigError: If it is no model, or an unsafe one, or an image is given with a result.
        LabelError: If labels of a training set cannot be read.
        OutputError: If it is no complete result of a prediction.
        SceneError: If the image cannot be opened.
    """
    path = Path(model_file(path))
    suffix = path.suffix.lower()
    if path.name in _OF_EXPORTS:
        raise ConfigError(
            f'{path}: belongs to an ArcGIS export of training data, and is no model',
            'a model, or a result of a prediction',
            f'read its folder as training data: geo-mm doctor {path.parent}',
        )
    if suffix in PACKAGES:
        found = _arcgis_model(path)
    elif suffix in CHECKPOINTS:
        found = _checkpoint(path)
    elif suffix == PROGRAM:
        found = _program(path)
    elif suffix == ONNX:
        found = _onnx(path)
    elif image is not None:
        raise ConfigError(f'{path} with an image', 'a model file to compare the image with')
    elif path.is_dir() or (suffix != '.json' and is_training_set(os.fspath(path))):
        return describe_set(path)
    else:
        return describe_file(path)
    return found if image is None else _compared(found, image)


def _checkpoint(path: Path) -> ModelDescription:
    from geo_mm.deploy.weights import metrics_of  # these import torch
    from geo_mm.models.checkpoints import read_checkpoint

    data = read_checkpoint(path)
    if 'input_spec' not in data:
        raise SpecError(
            f'{path} has no input specification of its model',
            'a checkpoint trained with the hook geo_mm.InputSpecHook',
            'it holds weights only: load_from takes them for training',
        )
    spec = InputSpec.from_dict(data['input_spec'])
    parameters = sum(value.numel() for value in data['state_dict'].values())
    meta = data.get('meta') or {}
    metrics = ', '.join(f'{name} {value:.4g}' for name, value in metrics_of(data).items())
    about = [
        f'checkpoint of geo_mm {spec.version}, after {_count(meta.get("iter"))} iterations',
        f'{parameters:,} parameters in {len(data["state_dict"])} tensors',
        *_gives(spec),
        *([f'validation: {metrics}'] if metrics else []),
    ]
    return ModelDescription(str(path), tuple(about), needs(spec), spec)


def _count(value: object) -> str:
    return f'{value:,}' if type(value) is int else '?'


def _program(path: Path) -> ModelDescription:
    from geo_mm.deploy.exported_program import read_pt2_facts  # imports torch

    facts = read_pt2_facts(path)
    spec = InputSpec.from_dict(facts['input_spec'])
    about = (f'program of torch.export, for images of {facts.get("sizes")}', *_gives(spec))
    return ModelDescription(str(path), about, needs(spec), spec)


def _onnx(path: Path) -> ModelDescription:
    from geo_mm.inference.onnx_network import read_facts

    facts = read_facts(path)
    spec, about = InputSpec.from_dict(facts['input_spec']), facts['about']
    lines = [
        f'ONNX file of geo_mm {spec.version}, for geo-mm predict with onnxruntime',
        f'{about["architecture"]}, {about["parameters"]:,} parameters',
        *_gives(spec),
    ]
    return ModelDescription(str(path), tuple(lines), needs(spec), spec)


def _gives(spec: InputSpec) -> Iterator[str]:
    kind = 'classes of pixels (semantic segmentation)' if spec.of_pixels else 'objects (detection)'
    yield f'output: {kind}'
    height, width = spec.chip_size
    yield f'trained on chips of {width} x {height} pixels'


def needs(spec: InputSpec) -> str:
    """What a model needs, in words: ``10 m, 4 bands B2, B3, B4, B8, uint16``."""
    gsd = 'any GSD' if spec.gsd is None else f'{spec.gsd:.3g} m'
    return f'{gsd}, {_bands(spec.bands)}, {spec.dtype}'


def _bands(names: tuple[str, ...]) -> str:
    return f'{len(names)} band{"s" * (len(names) != 1)} {", ".join(names)}'


def _arcgis_model(path: Path) -> ModelDescription:
    model = read_arcgis_model(path)
    kind = 'package' if path.suffix.lower() == '.dlpk' else 'definition'
    about = [
        f'model {kind} for ArcGIS' + (f': {model.name}' if model.name else ''),
        f'gives {model.task}',
        *([f'made with {model.framework}'] if model.framework else []),
        f'weights: {model.weights or "none named"}',
        *([f'raster function: {model.function}; it is not run here'] if model.function else []),
        *map(_statistics_line, model.statistics),
    ]
    if model.chip_size is not None:
        about.append(f'chips of {model.chip_size[1]} x {model.chip_size[0]} pixels')
    loaded = 'geo-mm predict takes it, too, in place of a checkpoint'
    about.append(loaded if model.is_own else _whether_loaded(path))
    return ModelDescription(str(path), tuple(about), _arcgis_needs(model), model)


def _whether_loaded(path: Path) -> str:
    """Whether geo-mm predict takes it, and else why not."""
    from geo_mm.engine.embedded_config import parse  # these import torch
    from geo_mm.inference.arcgis_weights import checkpoint_of_package

    try:
        checkpoint = checkpoint_of_package(path)
    except ConfigError as error:
        reason = error.found.removeprefix(f'{path}: ').removesuffix('; they are not loaded')
        return f'geo_mm cannot predict with it: {reason}'
    scale = parse(checkpoint['meta']['cfg'])['model']['data_preprocessor']['scale']
    resized = '' if scale == 1 else f'; images are made {scale:.4g} times as large'
    return f'geo-mm predict takes it{resized}'


def _statistics_line(band: BandStatistics) -> str:
    parts = {'min': band.low, 'max': band.high, 'mean': band.mean, 'std': band.std}
    values = ', '.join(f'{key} {value:.6g}' for key, value in parts.items() if value is not None)
    return f'statistics of {band.name}: {values}'


def _arcgis_needs(model: ArcgisModel) -> str:
    sizes = 'any cell size'
    if model.cell_sizes is not None:
        finest, coarsest = (f'{size:.3g}' for size in model.cell_sizes)
        sizes = f'{finest} m' if finest == coarsest else f'{finest} to {coarsest} m'
    if model.bands:
        bands = _bands(model.bands)
    elif model.positions:
        numbers = [str(position + 1) for position in model.positions]
        bands = f'{model.count} bands, numbers {", ".join(numbers)} of the raster'
    else:
        bands = 'bands that it does not name'
    values = ', 8-bit values' if model.byte_values else ''
    if model.value_range is not None:
        values += ', rescaled to {:g} to {:g}'.format(*model.value_range)
    return f'{sizes}, {bands}{values}'


def _compared(model: ModelDescription, image: Files) -> ModelDescription:
    """The same with what speaks for and against an image."""
    spec = model.spec
    if isinstance(spec, InputSpec):
        whole = scene = Scene.open(image, nodata=spec.nodata)
        with contextlib.suppress(SceneError):  # by name: an alpha band is a mask unless asked for
            scene = Scene.open(image, bands=spec.bands, nodata=spec.nodata)
    else:
        whole = scene = Scene.open(image)
    misfits = spec.misfits(scene)
    verdict = 'it does not fit' if misfits else 'it fits'
    lines = [f'needs {model.needs}; this has {_has(whole)}: {verdict}']
    lines += [line for error in misfits for line in str(error).splitlines()]
    if not misfits and (gsd := _resampled(spec, scene)) is not None:
        lines.append(f'it is resampled to {gsd:.3g} m')
    handles.close_all()
    return replace(model, image=tuple(lines), misfits=tuple(misfits))


def _has(scene: Scene) -> str:
    gsd = 'no georeference' if scene.gsd is None else f'{scene.gsd[0]:.3g} m'
    names = scene.band_names
    shown = listed(names, 16)
    return f'{gsd}, {len(names)} band{"s" * (len(names) != 1)} {shown}, {scene.dtype}'


def _resampled(spec: InputSpec | ArcgisModel, scene: Scene) -> float | None:
    """The GSD that a scene is read at, if it is not its own."""
    if isinstance(spec, ArcgisModel):
        return spec.resampled(scene)
    if spec.gsd is None or scene.gsd is None:
        return None
    own = all(abs(side / spec.gsd - 1) <= GSD_TOLERANCE for side in scene.gsd)
    return None if own else spec.gsd
