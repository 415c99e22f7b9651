"""The page on a training while it runs."""

import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import DefaultScope

from geo_mm.visualization.training_page import TrainingPageBackend


@pytest.fixture
def backend(tmp_path):
    with DefaultScope.overwrite_default_scope('mmseg'):
        made = MMENGINE_VISBACKENDS.build(
            dict(
                type='geo_mm.TrainingPageBackend',
                save_dir=str(tmp_path / 'roofs' / '20260101' / 'vis_data'),
                interval=0,
            )
        )
    made.add_config(Config(dict(work_dir='roofs', train_cfg=dict(max_iters=1000))))
    return made


def trained(step: int) -> dict[str, float]:
    return dict(iter=step, loss=1 / step, lr=1e-3, time=2.0, data_time=0.5)


def test_it_tells_when_the_training_ends_and_what_it_waits_for(backend):
    assert isinstance(backend, TrainingPageBackend)
    for step in (20, 40):
        backend.add_scalars(trained(step), step)
    page = backend.path.read_text()
    assert '40 of 1,000' in page
    assert '>25%<' in page
    assert '>32 min<' in page  # 960 iterations of 2 s
    assert 'location.reload' in page
    backend.add_scalars(dict(mIoU=50.0), 40)
    backend.close()
    page = backend.path.read_text()
    assert 'ended' in page and 'location.reload' not in page


def test_names_that_are_mathematics_to_matplotlib_do_not_end_the_training(backend):
    backend.add_scalars(trained(20), 20)
    backend.add_scalars({'map/100% $x_{$/iou': 0.5, 'map/_a/iou': 0.25}, 20)
    assert '20 of 1,000' in backend.path.read_text()


def test_pages_are_not_written_all_the_time(backend):
    backend.interval = 1000
    backend.add_scalars(trained(20), 20)
    backend.add_scalars(trained(40), 40)
    assert '20 of 1,000' in backend.path.read_text()


def test_a_test_leaves_no_page(backend):
    backend.add_scalars(dict(mIoU=50.0), 0)
    backend.close()
    assert not backend.path.exists()
