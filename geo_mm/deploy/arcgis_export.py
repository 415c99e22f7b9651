"""Model packages for ArcGIS: a definition, an ONNX file and a raster function of our own.

Not tested in ArcGIS Pro: tests drive the raster function by a stand-in for it.
"""

import json
import math
import tempfile
import zipfile
from pathlib import Path

from geo_mm import __version__
from geo_mm.deploy import raster_function
from geo_mm.deploy.onnx_file import mask_threshold, write_onnx
from geo_mm.deploy.options import ModelExportOptions
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.options import PredictOptions, tile_side
from geo_mm.inference.tasks.segmentation import Segmentation
from geo_mm.inputspec import InputSpec
from geo_mm.paths import atomic_write, reported

_METRES = 32631
"""A CRS in metres on the ground, in which the size of cells is given."""


def write_dlpk(model: TrainedModel, path: Path, options: ModelExportOptions) -> Path:
    """Write ``<path>.dlpk``.

    Args:
        model: The trained model.
        path: Of the file, without suffix.
        options: ``tile``.

    Returns:
        The file.

    Raises:
        SetupError: If onnx is not installed.
        ConfigError: If the model has parts that cannot be exported.
        OutputError: If it cannot be written.
    """
    target, name = path.with_name(f'{path.name}.dlpk'), path.name
    function = 'GeoMMPixelClassifier' if model.spec.of_pixels else 'GeoMMObjectDetector'
    definition = model_definition(model, options)
    definition |= {'ModelFile': f'{name}.onnx', 'InferenceFunction': f'{function}.py'}
    with tempfile.TemporaryDirectory(prefix='geo_mm_') as folder:
        network = write_onnx(model, Path(folder, name), options)
        with (
            reported(target),
            atomic_write(target) as partial,
            zipfile.ZipFile(partial, 'w', zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr(f'{name}.emd', json.dumps({'ModelName': name, **definition}))
            archive.write(network, f'{name}.onnx')
            archive.write(raster_function.__file__, f'{function}.py')
    return target


def model_definition(model: TrainedModel, options: ModelExportOptions) -> dict:
    """What the ``.emd`` says, without names of files.

    The first band of the raster must be the model's first, and so on: definitions
    of ArcGIS know bands by their number.
    """
    spec = model.spec
    wanted = tile_side(options.tile, spec.chip_size)
    stride = math.lcm(model.divisor, model.stride)
    side, padding = raster_function.layout(wanted, wanted // 4, stride)
    kind = 'InstanceDetection' if model.about()['masks'] else 'ObjectDetection'
    values = class_values(spec)
    return {
        'ModelType': 'ImageClassification' if spec.of_pixels else kind,
        'ModelFormat': 'NCHW',
        'ImageHeight': side,
        'ImageWidth': side,
        'ExtractBands': list(range(len(spec.bands))),
        'Bands': list(spec.bands),
        'ImageSpaceUsed': 'MAP_SPACE',
        'SupportsVariableTileSize': True,
        'IsMultispectral': len(spec.bands) != 3 or spec.dtype != 'uint8',
        'Padding': padding,
        'BatchSize': 4,
        **({} if spec.of_pixels else {'Threshold': 0.5}),
        **_cell_sizes(spec),
        'Classes': [
            {'Value': values[index], 'Name': name, 'Color': list(colour)}
            for index, name, colour in spec.classes.items()
            if index != spec.classes.background_index
        ],
        'GeoMM': {
            'version': __version__,
            'stride': stride,
            'values': values,
            **(
                {'weights': _weights(model)}
                if spec.of_pixels
                else {'mask_threshold': mask_threshold(model)}
            ),
            'input_spec': spec.to_dict(),
        },
    }


def class_values(spec: InputSpec) -> list[int]:
    """Value of each class in results: 1 and so on, 0 being the background and no data."""
    foreground = spec.classes.foreground
    return [
        0 if index not in foreground else foreground.index(index) + 1
        for index in range(len(spec.classes))
    ]


def _weights(model: TrainedModel) -> list[float]:
    """What probabilities are weighed with before the largest is taken."""
    found = Segmentation([model], PredictOptions()).decision
    return [1.0] * len(model.spec.classes) if found is None else found.tolist()


def _cell_sizes(spec: InputSpec) -> dict:
    if spec.gsd is None:
        return {}
    reference = {'wkid': _METRES, 'latestWkid': _METRES}
    cell = {'x': spec.gsd, 'y': spec.gsd, 'spatialReference': reference}
    return {'MinCellSize': cell, 'MaxCellSize': cell}
