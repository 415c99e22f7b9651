"""The formats that a model can be written in, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from geo_mm.errors import ConfigError
from geo_mm.options import option


class Format(NamedTuple):
    """A file format of models.

    Attributes:
        writer: ``module:function`` below :mod:`geo_mm.deploy`; the function is given a
            :class:`geo_mm.inference.TrainedModel`, the path without suffix and the
            :class:`ModelExportOptions`, and returns the path of what it has written.
        text: What it is for.
    """

    writer: str
    text: str


FORMATS: dict[str, Format] = {
    'onnx': Format('onnx_file:write_onnx', 'ONNX, for any size of image, and geo-mm predict'),
    'deepness': Format('onnx_file:write_deepness', 'ONNX for the plug-in Deepness of QGIS'),
    'safetensors': Format(
        'weights:write_safetensors', 'weights without pickle, and what is known of the model'
    ),
    'pt2': Format('exported_program:write_pt2', 'torch.export, for semantic segmentation'),
    'card': Format('card:write_card', 'a folder to publish: safetensors, a page, a STAC item'),
    'dlpk': Format('arcgis_export:write_dlpk', 'package for ArcGIS Pro; untested in ArcGIS Pro'),
}


@dataclass(frozen=True)
class ModelExportOptions:
    """How a model is exported.

    What each field means stands in its help text, which ``geo-mm export --help`` prints.

    Raises:
        ConfigError: If a value makes no sense.
    """

    formats: Sequence[str] = option(
        ('onnx',), f'formats to write, of {", ".join(FORMATS)}', flag='--to', metavar='FORMAT'
    )
    name: str | None = option(None, 'of the files, without suffix (default: the checkpoint)')
    tile: int | None = option(
        None,
        "side of the tiles that it will be given in pixels, for which a detector's limits on "
        "objects are raised (default: twice the training chips', at least 512)",
        metavar='PIXELS',
    )
    license: str | None = option(
        None, "SPDX identifier of the model's licence, for --to card", metavar='SPDX'
    )

    def __post_init__(self) -> None:
        value = self.formats
        value = (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
        object.__setattr__(self, 'formats', value)  # the way of frozen dataclasses
        unknown = [name for name in value if name not in FORMATS]
        if unknown or not value:
            raise ConfigError(
                f'the format {unknown[0]!r}' if unknown else 'no format',
                f'one or several of {", ".join(FORMATS)}',
            )
        if self.tile is not None and self.tile < 1:
            raise ConfigError(f'tiles of {self.tile} pixels', 'at least one')
