"""Models for ArcGIS: model definitions (``.emd``) and packages (``.dlpk``), ours and others'.

Read are the definition and, in a package, whether the weights are weights only; of a package
that ``geo-mm export`` wrote also the network. The raster function in a package is a program:
it is named, and never imported or run.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError

from geo_mm.classes import ClassSet, default_colours
from geo_mm.errors import ConfigError, SpecError, listed
from geo_mm.formats.esri_json import (
    as_integer,
    as_list,
    as_number,
    as_text,
    classes_of,
    parsed,
)
from geo_mm.inputspec import COARSER, FINER, GSD_TOLERANCE
from geo_mm.paths import is_missing
from geo_mm.raster import Scene

PACKAGES = ('.dlpk', '.emd')
"""Suffixes of such files."""

_OWN = ('GeoMMPixelClassifier.py', 'GeoMMObjectDetector.py')
_LARGEST_DEFINITION = 4 << 20
_LARGEST_PACKAGE = 16 << 30
_MOST_FILES = 10_000
_MOST_SHRUNK = 100  # how many times
_MOST_SHRUNK_WEIGHTS = 4  # which shrink to no less than a half
_ALWAYS_FINE = 16 << 20  # bytes of a file that may shrink further
_PICKLES = ('.pth', '.pt', '.pkl', '.bin', '.ckpt')
_TASKS = {
    'ObjectDetection': 'object detection: boxes',
    'InstanceDetection': 'instance segmentation: outlines',
    'MaskRCNN': 'instance segmentation: outlines',
    'ImageClassification': 'semantic segmentation: classes of pixels',
    'ObjectClassification': 'classification of given objects',
    'PanopticSegmenter': 'panoptic segmentation: outlines and classes of pixels',
}
_METRES_PER_DEGREE = 111_320.0  # of the equator


@dataclass(frozen=True)
class BandStatistics:
    """Statistics that a definition gives of a band; NaN-free, None where it does not say."""

    name: str
    low: float | None
    high: float | None
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class ArcgisModel:
    """What a model definition says.

    Attributes:
        name: Of the model, '' if it has none.
        kind: ``ModelType``.
        framework: With its version and configuration, in words.
        classes: Names and colours.
        values: Pixel or class value of each class.
        bands: Names of the bands that are taken; empty if it gives only numbers.
        positions: Numbers from 0 of the bands that are taken; empty if it gives only names.
        chip_size: ``(height, width)`` in pixels, None if it does not say.
        cell_sizes: Smallest and largest cell in metres, None if it does not say.
        byte_values: Whether 8-bit values are expected.
        value_range: To which the host rescales pixels.
        statistics: Of the bands.
        weights: File name of the weights.
        function: File name of the raster function.
    """

    name: str
    kind: str
    framework: str
    classes: ClassSet
    values: tuple[int, ...]
    bands: tuple[str, ...]
    positions: tuple[int, ...]
    chip_size: tuple[int, int] | None
    cell_sizes: tuple[float, float] | None
    byte_values: bool
    value_range: tuple[float, float] | None
    statistics: tuple[BandStatistics, ...]
    weights: str
    function: str

    @property
    def task(self) -> str:
        """What it gives, in words."""
        return _TASKS.get(self.kind, self.kind)

    @property
    def is_own(self) -> bool:
        """Whether ``geo-mm export`` wrote it: with a network that is computed here, too."""
        return self.function in _OWN and self.weights.endswith('.onnx')

    @property
    def resized(self) -> float | None:
        """How much larger chips are made before the network sees them, where that is known.

        arcgis.learn's Mask R-CNN makes the shorter side 1.5 times as long.
        """
        outlines = self.kind in ('InstanceDetection', 'MaskRCNN')
        return 1.5 if outlines and self.framework.startswith('arcgis.learn') else None

    @property
    def count(self) -> int:
        """How many bands it takes."""
        return len(self.bands or self.positions)

    def misfits(self, scene: Scene) -> list[SpecError]:
        """Why a scene does not suit the model; empty if it may."""
        where, found = scene.sources[0], []
        named = not all(name == f'B{n}' for n, name in enumerate(scene.band_names, 1))
        needed = max(self.positions, default=self.count - 1) + 1
        if self.bands and named and (missing := scene.missing(self.bands)):
            found.append(
                SpecError(
                    f'{where} has the bands {", ".join(scene.band_names)}',
                    f'bands {", ".join(self.bands)}; missing by name: {", ".join(missing)}',
                    'compare by what they measure: names differ between programs',
                )
            )
        elif scene.count < needed:
            found.append(SpecError(f'{where} has {scene.count} bands', f'{needed} or more'))
        if self.byte_values and str(scene.dtype) != 'uint8':
            found.append(
                SpecError(f'{where} has {scene.dtype} pixels', 'uint8', 'scale it to 0 to 255')
            )
        if self.cell_sizes is not None:
            found += self._check_gsd(scene, *self.cell_sizes)
        return found

    def _check_gsd(self, scene: Scene, finest: float, coarsest: float) -> list[SpecError]:
        if scene.gsd is None:
            return [
                SpecError(f'{scene.sources[0]} has no georeference', f'cells of {finest:.3g} m')
            ]
        if min(scene.gsd) * FINER < finest or max(scene.gsd) > coarsest * COARSER:
            return [
                SpecError(
                    f'{scene.sources[0]} has {scene.gsd[0]:.3g} m per pixel',
                    f'about {finest:.3g} m' + ('' if finest == coarsest else f' to {coarsest:.3g}'),
                )
            ]
        return []

    def resampled(self, scene: Scene) -> float | None:
        """The cell size to process a scene at, if that is not its own."""
        if self.cell_sizes is None or scene.gsd is None:
            return None
        finest, coarsest = self.cell_sizes
        close = 1 + GSD_TOLERANCE
        if finest / close <= scene.gsd[0] <= coarsest * close:
            return None
        return finest if scene.gsd[0] < finest else coarsest


def read_arcgis_model(path: str | os.PathLike) -> ArcgisModel:
    """Read a model definition (``.emd``), or that in a package (``.dlpk``).

    Raises:
        ConfigError: If there is no such file, it is no definition of a trained
            model, or a package that is unsafe or whose weights are not
            weights only.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'{path}: no such file', 'an .emd or .dlpk file')
    if path.suffix.lower() == '.dlpk':
        return _read_package(path)
    if path.stat().st_size > _LARGEST_DEFINITION:
        raise ConfigError(f'{path}: {path.stat().st_size:,} bytes', 'a small text file of JSON')
    return _model(path.read_bytes(), str(path))


def read_network(path: str | os.PathLike) -> bytes:
    """The ONNX file that belongs to a definition, or is in a package, that ``geo-mm export`` wrote.

    Raises:
        ConfigError: As :func:`read_arcgis_model`, or if it is another's model, or there is none.
    """
    path, model = Path(path), read_arcgis_model(path)
    if not model.is_own:
        raise ConfigError(
            f"{path}: another program's model for ArcGIS",
            'a package that geo-mm export --to dlpk wrote',
        )
    if path.suffix.lower() == '.dlpk':
        with _explained(path), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return archive.read(next(name for name in names if _file_name(name) == model.weights))
    network = path.with_name(model.weights)
    if is_missing(network):
        raise ConfigError(f'{network} does not exist', f'the ONNX file that {path} names')
    return network.read_bytes()


def _model(content: bytes, where: str) -> ArcgisModel:
    data = parsed(content)
    if not data:
        raise ConfigError(f'{where}: not a model definition', 'an object in JSON')
    kind = as_text(data.get('ModelType'))
    if not kind:
        template = any(str(value).startswith('e.g.') for value in data.values())
        raise ConfigError(
            f'{where}: '
            + ('the template in an export of training data' if template else 'says no ModelType'),
            'the definition of a trained model',
            'read the folder as training data: scenes=FOLDER in a config' if template else '',
        )
    names, colours = classes_of(data)
    if kind != 'ImageClassification' and len(set(names.values())) < len(names):
        names = {value: f'{name} ({value})' for value, name in names.items()}
    unique = tuple(dict.fromkeys(names.values()))
    standard = default_colours(len(unique))
    bands, positions = _bands(data)
    height, width = (as_integer(data.get(key)) for key in ('ImageHeight', 'ImageWidth'))
    low, high = (as_number(part) for part in (as_list(data.get('DataRange')) + [None] * 2)[:2])
    return ArcgisModel(
        name=as_text(data.get('ModelName')),
        kind=kind,
        framework=_framework(data),
        classes=ClassSet(
            unique, tuple(colours.get(name, standard[i]) for i, name in enumerate(unique))
        ),
        values=tuple(next(v for v, n in names.items() if n == name) for name in unique),
        bands=bands,
        positions=positions,
        chip_size=(height, width) if height and width else None,
        cell_sizes=_cell_sizes(data),
        byte_values=data.get('IsMultispectral') is False,
        value_range=None if low is None or high is None else (low, high),
        statistics=_statistics(data),
        weights=_file_name(data.get('ModelFile')),
        function=_file_name(data.get('InferenceFunction')),
    )


def _framework(data: dict) -> str:
    """Such as ``arcgis.learn 1.8.4, UnetClassifier, resnet34``."""
    framework = as_text(data.get('Framework'))
    if framework.startswith('arcgis.learn'):
        framework = f'arcgis.learn {as_text(data.get("ArcGISLearnVersion"))}'.strip()
    configuration = data.get('ModelConfiguration')
    if isinstance(configuration, dict):
        configuration = configuration.get('Name')
    parameters = data.get('ModelParameters')
    backbone = parameters.get('backbone') if isinstance(parameters, dict) else None
    parts = (framework, as_text(configuration).lstrip('_'), as_text(backbone))
    return ', '.join(part for part in parts if part)


def _bands(data: dict) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names, as far as they are known, and numbers of the bands that are taken."""
    taken = as_list(data.get('ExtractBands'))
    props = data.get('InputRastersProps')
    known = [as_text(name) for name in as_list(data.get('Bands'))] or [
        as_text(name) for name in as_list(props.get('BandNames') if isinstance(props, dict) else 0)
    ]
    texts = [as_text(band) for band in taken]
    if texts and all(texts) and not any(text.isdigit() for text in texts):
        return tuple(texts), ()
    numbers = [as_integer(band) for band in taken]
    positions = tuple(number for number in numbers if number is not None and number >= 0)
    if len(positions) < len(taken):
        positions = ()
    if known and all(known):
        positions = positions or tuple(range(len(known)))
        if len(known) == len(positions):
            return tuple(known), positions
        if max(positions) < len(known):
            return tuple(known[position] for position in positions), positions
    return (), positions


def _cell_sizes(data: dict) -> tuple[float, float] | None:
    sizes = [_metres(data.get(key)) for key in ('MinCellSize', 'MaxCellSize')]
    known = [size for size in sizes if size is not None and size > 0]
    return (min(known), max(known)) if known else None


def _metres(cell: Any) -> float | None:
    """Side of a cell; of degrees as at the equator."""
    if not isinstance(cell, dict):
        return None
    size, reference = as_number(cell.get('x')), cell.get('spatialReference')
    wkid = None
    if isinstance(reference, dict):
        wkid = as_integer(reference.get('latestWkid', reference.get('wkid')))
    if size is None or wkid is None:
        return None
    try:
        crs = CRS.from_user_input(f'EPSG:{wkid}' if wkid < 100_000 else f'ESRI:{wkid}')
        return size * (_METRES_PER_DEGREE if crs.is_geographic else crs.linear_units_factor[1])
    except CRSError:
        return None


def _statistics(data: dict) -> tuple[BandStatistics, ...]:
    """Of the definition of a training set, or as arcgis.learn keeps them."""
    found = []
    for item in as_list(data.get('AllTilesStats')):
        if isinstance(item, dict):
            values = (as_number(item.get(key)) for key in ('Min', 'Max', 'Mean', 'StdDev'))
            found.append(BandStatistics(as_text(item.get('BandName')), *values))
    kept = data.get('NormalizationStats')
    if not found and isinstance(kept, dict):
        names = [as_text(name) for name in as_list(data.get('Bands'))]
        keys = ('band_min_values', 'band_max_values', 'band_mean_values', 'band_std_values')
        columns = [as_list(kept.get(key)) for key in keys]
        for number, row in enumerate(zip(*columns, strict=False)):
            name = names[number] if number < len(names) else f'band {number + 1}'
            found.append(BandStatistics(name, *map(as_number, row)))
    return tuple(found)


def _file_name(value: Any) -> str:
    """The last part of a path of either system."""
    return PureWindowsPath(as_text(value).replace('/', '\\')).name


def _read_package(path: Path) -> ArcgisModel:
    with _explained(path), zipfile.ZipFile(path) as archive:
        members = _checked(archive, path)
        definitions = [m for m in members if m.filename.lower().endswith('.emd')]
        if len(definitions) != 1:
            names = [member.filename for member in definitions]
            raise _refused(
                path,
                f'{len(names)} model definitions ({listed(names, 3)})' if names else 'no .emd',
                'exactly one .emd file in it',
            )
        if definitions[0].file_size > _LARGEST_DEFINITION:
            raise _refused(path, f'an .emd of {definitions[0].file_size:,} bytes')
        content = archive.read(definitions[0])
        model = _model(content, f'{path}: {definitions[0].filename}')
        names = [_file_name(member.filename) for member in members]
        if model.weights and model.weights not in names:
            raise _refused(path, f'without the weights that its .emd names, {model.weights}')
        for member in members:
            if member.filename.lower().endswith(_PICKLES):
                _check_weights(archive, member, path)
        return model


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever a damaged archive causes into a :class:`ConfigError`."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError,
    ) as error:  # fmt: skip
        raise _refused(
            path, f'not readable as a zip file: {error}', 'a complete zip file'
        ) from error


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, if all may be taken out of it."""
    members = archive.infolist()
    if len(members) > _MOST_FILES:
        raise _refused(path, f'{len(members):,} files')
    names = [member.filename.lower() for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _refused(path, f'{twice!r} twice')
    for member in members:
        # zipfile itself has cut names at a zero byte.
        parts = PureWindowsPath(member.orig_filename)
        if '\0' in member.orig_filename or parts.anchor or '..' in parts.parts:
            raise _refused(path, f'{member.orig_filename!r}, a path outside the package')
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _refused(path, f'{member.filename!r}, a symbolic link')
        if member.flag_bits & 1:
            raise _refused(path, f'{member.filename!r}, which is encrypted')
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(path, f'{member.filename!r}, compressed in an unusual way')
        weights = member.filename.lower().endswith(_PICKLES)
        most = _MOST_SHRUNK_WEIGHTS if weights else _MOST_SHRUNK
        if member.file_size > max(_ALWAYS_FINE, most * member.compress_size):
            raise _refused(
                path,
                f'{member.filename!r}, {member.file_size:,} bytes out of {member.compress_size:,}',
            )
    if (total := sum(member.file_size for member in members)) > _LARGEST_PACKAGE:
        raise _refused(path, f'{total:,} bytes of files')
    return members


def read_weights(path: Path, model: ArcgisModel) -> object:
    """What is in the file of weights of a model: tensors and plain data.

    Args:
        path: ``.emd`` or ``.dlpk`` file.
        model: What :func:`read_arcgis_model` has read of it.

    Raises:
        ConfigError: If the weights are missing, of another format, or hold more than that.
    """
    from geo_mm.models.checkpoints import read_checkpoint_file  # imports torch

    if not model.weights.lower().endswith(_PICKLES):
        raise ConfigError(
            f'{path}: {model.weights or "no"} weights; they are not loaded',
            f'weights of PyTorch: {", ".join(_PICKLES)}',
            'predict with it in ArcGIS',
        )
    if path.suffix.lower() != '.dlpk':
        weights = path.with_name(model.weights)
        if is_missing(weights):
            raise ConfigError(
                f'{path}: its weights {model.weights} are not beside it', 'a complete model'
            )
        return read_checkpoint_file(weights, legacy=True)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in _checked(archive, path) if _file_name(m.filename) == model.weights]
        return _check_weights(archive, members[0], path)


def _check_weights(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> object:
    """What is in a pickle, refused if it is more than named tensors and plain data."""
    from geo_mm.models.checkpoints import read_checkpoint_file  # imports torch

    with tempfile.TemporaryDirectory(prefix='geo_mm_') as folder:
        copy = Path(folder, 'weights.pth')
        # No more than is declared comes out: zipfile stops there.
        with archive.open(member) as source, copy.open('wb') as target:
            shutil.copyfileobj(source, target, 1 << 20)
        try:
            return read_checkpoint_file(copy, legacy=True)
        except ConfigError as error:
            reason = error.found.partition(': ')[2]
            raise _refused(path, f'{member.filename}: {reason}', error.expected) from error


def _refused(path: Path, found: str, expected: str = '') -> ConfigError:
    return ConfigError(
        f'{path}: refused: {found}',
        expected or 'a model package: one .emd, its weights and its raster function',
        'ask its author for another; nothing in it was run',
    )
