"""What a config is written for: the options of ``geo-mm new``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Size = Literal['small', 'full']


@dataclass(frozen=True)
class NewOptions:
    """What a config is written for.

    Attributes without a comment are options of the command, with the same text.
    """

    images: Sequence[str] = field(
        default=(), metadata={'help': 'images, or patterns in quotes', 'group': 'data'}
    )
    labels: str | None = field(
        default=None,
        metadata={
            'help': 'vector layer or label raster; {stem} stands for the name of the image',
            'group': 'data',
        },
    )
    aoi: str | None = field(
        default=None,
        metadata={'help': 'polygons inside which the labels are complete', 'group': 'data'},
    )
    catalog: str | None = field(
        default=None,
        metadata={'help': 'table of images and labels, in place of the above', 'group': 'data'},
    )
    arcgis: str | None = field(
        default=None,
        metadata={
            'help': 'folder of an export of training data from ArcGIS',
            'group': 'data',
            'metavar': 'FOLDER',
        },
    )
    coco: str | None = field(
        default=None,
        metadata={
            'help': 'file of annotations in COCO format, or any training set of another program',
            'group': 'data',
            'metavar': 'FILE',
        },
    )
    class_column: str | None = field(
        default=None,
        metadata={
            'help': "column with the class of a feature (default: one called 'class' or the like)",
            'group': 'classes',
        },
    )
    class_name: str | None = field(
        default=None,
        metadata={
            'help': 'what all features are called, if there is no such column '
            '(default: from the name of the file)',
            'group': 'classes',
        },
    )
    size: Size | None = field(
        default=None,
        metadata={
            'help': 'of the model (default: full where there is a GPU, else small)',
            'group': 'model',
        },
    )
    weights: str | None = field(
        default=None,
        metadata={
            'help': 'checkpoint to start from: of geo_mm, or of a backbone',
            'group': 'model',
            'metavar': 'FILE',
        },
    )
