"""What tools/predict.py wrote down about a prediction."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError


@dataclass(frozen=True)
class Record:
    """How a prediction came to be.

    Attributes:
        path: The file that says so.
        scene: Files of the scene that was predicted.
        classes: Class names of the model; the position is the class number.
        background: That of pixels without a feature, or None.
        is_part: Whether only a rectangle of the scene was predicted.
    """

    path: str
    scene: tuple[str, ...]
    classes: tuple[str, ...]
    background: str | None
    is_part: bool

    @classmethod
    def of(cls, prediction: object) -> 'Record | None':
        """The record in the ``.json`` beside a prediction, else in a raster's tags.

        None where there is none, as for results of other programs.
        """
        if not isinstance(prediction, str | os.PathLike):
            return None
        summary = Path(prediction).with_suffix('.json')
        return cls._parsed(summary, _text(summary)) or cls._parsed(prediction, _tag(prediction))

    @classmethod
    def _parsed(cls, path: str | os.PathLike, text: str) -> 'Record | None':
        # Files of that name that other programs wrote are no records.
        try:
            record: Mapping[str, Any] = json.loads(text)
            spec = record['input_spec']
            return cls(
                os.fspath(path),
                tuple(map(str, record['scene'])),
                tuple(map(str, spec['classes'])),
                spec.get('background'),
                record.get('window') is not None,
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def features(self) -> tuple[str, ...]:
        """The classes that a feature can be of."""
        return tuple(name for name in self.classes if name != self.background)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, ValueError):
        return ''


def _tag(path: str | os.PathLike) -> str:
    try:
        with rasterio.open(path) as dataset:
            return dataset.tags().get('GEO_MM_PROVENANCE', '')
    except RasterioError:
        return ''
