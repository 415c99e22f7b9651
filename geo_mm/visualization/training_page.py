"""A page on a training while it runs."""

import logging
import time
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.visualization import BaseVisBackend

from geo_mm.errors import OutputError
from geo_mm.formats import html_page
from geo_mm.paths import make_folder, write_text
from geo_mm.registry import VISBACKENDS
from geo_mm.visualization.training_plots import training_figure

logger = logging.getLogger(__name__)

_RECENT = 20  # records that times are the mean of
# Not the refresh of HTML, which would take the page away from a reader of another tab.
_RELOAD = """<script>
setTimeout(() => { if (!document.hidden) location.reload(); }, {seconds}000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) location.reload(); });
</script>"""


@VISBACKENDS.register_module()
class TrainingPageBackend(BaseVisBackend):
    """Writes ``training.html`` into the work dir while a model is trained.

    It shows losses, learning rates, scores of validation, how long the training waits
    for data, and when it will end; an open page reloads itself.

    Args:
        save_dir: Of the run; its parent is the work dir.
        interval: Seconds between two pages, each of which takes about half a second.
    """

    def __init__(self, save_dir: str | PathLike, interval: float = 20.0) -> None:
        super().__init__(fspath(save_dir))
        self.interval = interval
        self._records: list[dict[str, float]] = []
        self._iterations: int | None = None
        self._title = '/'.join(self.path.parent.parts[-2:])
        self._next = 0.0

    @property
    def path(self) -> Path:
        """The page: ``save_dir`` is ``WORK_DIR/TIME/vis_data``."""
        return Path(self._save_dir).parents[1] / 'training.html'

    @property
    def experiment(self) -> 'TrainingPageBackend':
        return self

    def _init_env(self) -> None:
        """There is nothing to prepare."""

    def add_config(self, config: Config, **kwargs: Any) -> None:
        train = config.get('train_cfg') or {}
        self._iterations = train.get('max_iters')

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: Any = None, **kwargs: Any
    ) -> None:
        numbers = {name: float(value) for name, value in scalar_dict.items()}
        self._records.append({'step': step, **numbers})
        if time.monotonic() >= self._next:
            self._write(ended=False)
            self._next = time.monotonic() + self.interval

    def close(self) -> None:
        """Writes the last page."""
        if self._records:
            self._write(ended=True)

    def _write(self, *, ended: bool) -> None:
        trained = [record for record in self._records if 'loss' in record]
        if not trained:
            return  # a test
        caption = 'Loss, learning rate and scores of validation over the iterations.'
        parts = [
            f'<h1>{html_page.text(self._title)}</h1>',
            html_page.facts(self._facts(trained, ended)),
            html_page.plot('Training', caption, training_figure([self._records])),
        ]
        if not ended:
            parts.append(_RELOAD.replace('{seconds}', f'{max(self.interval, 5):.0f}'))
        try:
            make_folder(self.path.parent)
            write_text(self.path, html_page.page(self._title, parts, 'Written'))
        except OutputError as error:  # no reason to end a training
            logger.warning('%s', error)

    def _facts(self, trained: list[dict[str, float]], ended: bool) -> dict[str, str]:
        last, recent = trained[-1], trained[-_RECENT:]
        done = int(last['step'])
        seconds = sum(record.get('time', 0) for record in recent) / len(recent)
        waited = sum(record.get('data_time', 0) for record in recent) / len(recent)
        of_all = '' if self._iterations is None else f' of {self._iterations:,}'
        facts = {
            'iteration': f'{done:,}{of_all}',
            'loss': f'{last["loss"]:.4g}',
            'learning rate': f'{last.get("lr", 0):.3g}',
            'iteration takes': f'{seconds:.2f} s',
        }
        if seconds:
            facts['of which waits for data'] = f'{waited / seconds:.0%}'
        if ended:
            facts['training'] = 'ended'
        elif self._iterations is not None:
            facts['ends in'] = _duration((self._iterations - done) * seconds)
        return facts


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return 'less than a minute'
    return f'{minutes} min' if minutes < 120 else f'{minutes // 60} h {minutes % 60} min'
