"""Training steps of which nothing is kept."""

import itertools

import pytest
import torch
from mmengine.hooks import Hook

from geo_mm.engine.mock_training import MockTraining
from tests.data.chips import fresh_mmengine, write_scene, write_seg_config


class Drawing(Hook):
    """Takes the batches of the first three steps twice before training."""

    def before_train(self, runner) -> None:
        training = MockTraining(runner)
        self.drawn = []
        for _ in range(2):
            with training.kept():
                steps = itertools.islice(training.steps(), 3)
                batches = itertools.chain.from_iterable(steps)
                self.drawn.append([torch.stack(batch['inputs']) for batch in batches])
        runner.train_loop.stop_training = True


@pytest.mark.parametrize('workers', [0, 1])
def test_the_same_chips_come_from_each_call(workers, tmp_path):
    """Loader processes, which stay, flip them anew."""
    write_scene(tmp_path)
    config = write_seg_config(tmp_path)
    with config.open('a') as file:
        file.write(f'train_dataloader["num_workers"] = {workers}\n')
        file.write('train_dataloader["persistent_workers"] = False\n')
    drawing = Drawing()
    with fresh_mmengine():
        from geo_mm.engine import launch

        loaded = launch.load_config(config)
        launch.set_work_dir(loaded, tmp_path / 'run')
        runner = launch.build_runner(loaded, verbose=False)
        runner.register_hook(drawing)
        runner.train()
    first, second = drawing.drawn
    assert len(first) == 3
    if workers:
        first, second = ([as_sets(chips) for chips in drawn] for drawn in (first, second))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[1])


def as_sets(chips: torch.Tensor) -> torch.Tensor:
    """The values of each band, which flipping leaves as they are."""
    return chips.flatten(2).sort().values
