"""What every kind of task has to say."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from geo_mm.errors import ConfigError
from geo_mm.inference.options import PredictOptions
from geo_mm.raster import Tile

if TYPE_CHECKING:
    from mmengine.config import Config

    from geo_mm.inference.area import Area
    from geo_mm.inference.network import Network, View
    from geo_mm.inference.prediction import Job, Prediction
    from geo_mm.inference.runner import Strip, TileMerger


class Task(ABC):
    """How predictions of tiles become the result of a scene.

    Args:
        models: Models of this task, alike.
        options: How to predict.

    Attributes:
        unit: What :attr:`Prediction.counts` counts.
        own_options: Options that have a meaning for this task alone.

    Raises:
        ConfigError: If an option is set that has none for this task.
    """

    unit: ClassVar[str]
    own_options: ClassVar[tuple[str, ...]]

    def __init__(self, models: Sequence['Network'], options: PredictOptions) -> None:
        self.models = tuple(models)
        self.options = options
        self.spec = models[0].spec
        for other in Task.__subclasses__():
            wanted = options.changed(other.own_options)
            if wanted and other is not type(self):
                raise ConfigError(
                    f'{models[0].checkpoint} finds {self.unit}, and {", ".join(wanted)} is for '
                    f'{other.unit}',
                    f'nothing that only models for {other.unit} have',
                    'leave it out',
                )

    @classmethod
    def for_tiles(cls, config: 'Config', chip_size: tuple[int, int], tile: int) -> 'Config':
        """The config of a model for tiles of another size than the chips of its training."""
        return config

    def overlap(self, tile: int) -> int:
        """What neighbouring tiles share, in pixels."""
        return self.options.shared(tile)

    def check_plan(self, plan: Sequence[Tile]) -> None:  # noqa: B027 - most tasks take any
        """Raises ConfigError if tiles share too little."""

    def settings(self, options: PredictOptions) -> dict:
        """What the results depend on, as plain data: the options that have a meaning here."""
        others = (other for other in Task.__subclasses__() if other is not type(self))
        foreign = {name for other in others for name in other.own_options}
        return {k: v for k, v in asdict(options).items() if k not in foreign}

    @abstractmethod
    def read(self, model: 'Network', found: Any, view: 'View') -> Any:
        """What :meth:`Network.predict_view` gave for a view of a tile, turned back."""

    @abstractmethod
    def combine(self, total: Any, more: Any) -> Any:
        """What several predictions of a tile are together; one may be such a total."""

    @abstractmethod
    def fuse(self, total: Any, count: int) -> Any:
        """The prediction of a tile from the total of all."""

    @abstractmethod
    def merger(self, area: 'Area', plan: Sequence[Tile]) -> 'TileMerger':
        """Makes strips of the predicted tiles of a scene."""

    @abstractmethod
    def collect(self, job: 'Job', strips: Iterable['Strip']) -> 'Prediction':
        """The result in memory.

        Args:
            job: What was predicted.
            strips: What :meth:`merger` made, from the top down.
        """

    @abstractmethod
    def write(self, job: 'Job', strips: Iterable['Strip'], folder: Path) -> 'Prediction':
        """Writes the files of the result but record and STAC item.

        Args:
            job: What was predicted.
            strips: As for :meth:`collect`; no more than one is held at a time,
                if the task allows it.
            folder: Where to.

        Returns:
            With the files, the main one first.
        """
