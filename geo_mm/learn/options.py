"""Options of the analyst's functions, known without torch to the command line."""

from dataclasses import dataclass
from typing import Literal

from geo_mm.errors import ConfigError
from geo_mm.options import option


@dataclass(frozen=True)
class ShowOptions:
    """Which chips are shown, and how; fields are options of ``geo-mm show``."""

    split: Literal['train', 'val', 'test'] = option('test', 'split of the config')
    number: int = option(4, 'chips to show', flag='-n')
    order: Literal['worst', 'random'] = option('worst', 'largest share of errors first, or any')
    confidence: float = option(0.3, 'confidence from which objects are shown')
    iou: float = option(0.5, 'IoU of boxes from which a predicted object is a true one')
    seed: int = option(0, 'of the random choice')

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ConfigError(f'{self.number} chips to show', 'at least 1')
        if self.order not in ('worst', 'random'):
            raise ConfigError(f'order={self.order!r} of chips to show', "'worst' or 'random'")


@dataclass(frozen=True)
class ReportOptions:
    """What a report is about; fields are options of ``geo-mm report``."""

    split: Literal['train', 'val', 'test'] = option('test', 'split of the config')
    confidence: float = option(0.3, 'confidence from which objects are counted')
    iou: float = option(0.5, 'IoU from which a predicted object is a true one')
    examples: int = option(2, 'chips for each kind of error')
