"""Sheets of image, ground truth and prediction at every validation."""

from collections.abc import Mapping, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from geo_mm.registry import HOOKS


@HOOKS.register_module()
class ChipVisualizationHook(Hook):
    """Hands the first chips of every validation and test to the visualizer.

    What is drawn is what the model was given, with all its bands, so that no
    file is read again. Use it with :class:`geo_mm.visualization.GeoLocalVisualizer`.

    Args:
        num_chips: So many of each validation or test.
        score_thr: Confidence from which predicted objects are drawn.
    """

    priority = 'NORMAL'

    def __init__(self, num_chips: int = 4, score_thr: float = 0.3) -> None:
        self.num_chips = num_chips
        self.score_thr = score_thr
        self._drawn = 0

    def before_val_epoch(self, runner: Runner) -> None:
        self._drawn = 0

    def before_test_epoch(self, runner: Runner) -> None:
        self._drawn = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        self._draw(runner, 'val', data_batch, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        self._draw(runner, 'test', data_batch, outputs)

    def _draw(
        self,
        runner: Runner,
        stage: str,
        data_batch: Mapping | None,
        outputs: Sequence[BaseDataElement] | None,
    ) -> None:
        chips = data_batch['inputs'] if data_batch else ()
        for inputs, sample in zip(chips, outputs or (), strict=True):
            if self._drawn >= self.num_chips:
                return
            runner.visualizer.add_datasample(
                f'{stage}_{self._drawn}',
                inputs.cpu().numpy().transpose(1, 2, 0),
                data_sample=sample,
                pred_score_thr=self.score_thr,
                step=runner.iter,
            )
            self._drawn += 1
