from collections import Counter

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from mmengine.runner import CheckpointLoader, load_checkpoint

from geo_mm.engine import OneCycleLR
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import (
    check_weights,
    existing_checkpoint,
    read_checkpoint,
    use_safe_loading,
)


def saved(path, model, **more):
    torch.save({'state_dict': model.state_dict(), **more}, path)
    return path


def test_weights_of_the_model_fit(tmp_path):
    model = torch.nn.Linear(3, 2)
    path = saved(tmp_path / 'a.pth', torch.nn.Linear(3, 2), meta=dict(iter=5))
    check_weights(model, path)
    assert read_checkpoint(path)['meta'] == dict(iter=5)


def test_weights_of_a_distributed_run_fit(tmp_path):
    wrapped = torch.nn.Module()
    wrapped.module = torch.nn.Linear(3, 2)
    check_weights(wrapped, saved(tmp_path / 'a.pth', wrapped))
    check_weights(torch.nn.Linear(3, 2), tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (torch.nn.Linear(4, 2), r'weight is \(2, 4\) instead of \(2, 3\)'),
        (torch.nn.Linear(3, 2, bias=False), 'bias is missing'),
        (torch.nn.BatchNorm1d(2), '4 weights differ'),
    ],
)
def test_weights_of_another_model(tmp_path, other, message):
    path = saved(tmp_path / 'a.pth', other)
    with pytest.raises(ConfigError, match=rf'(?s)a.pth does not fit .*{message}'):
        check_weights(torch.nn.Linear(3, 2), path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [(b'', 'not a readable'), (b'PK\x03\x04 cut', 'not a readable'), (b'hello', 'not a readable')],
)
def test_what_is_no_checkpoint(tmp_path, content, message):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf'(?s)a.pth: {message}.*geo-mm train'):
        read_checkpoint(path)


def test_a_truncated_checkpoint(tmp_path):
    path = saved(tmp_path / 'a.pth', torch.nn.Linear(100, 100))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ConfigError, match=r'a.pth: not a readable checkpoint'):
        read_checkpoint(path)


def test_a_file_without_weights(tmp_path):
    torch.save({'epoch': 3}, tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match=r'a.pth: no weights in it'):
        read_checkpoint(tmp_path / 'a.pth')


def test_a_missing_file_but_not_a_remote_one():
    with pytest.raises(ConfigError, match=r'(?s)nowhere.pth: no such checkpoint.*last_checkpoint'):
        existing_checkpoint('nowhere.pth')
    assert existing_checkpoint('https://x.org/a.pth') == 'https://x.org/a.pth'


class Attack:
    """Would create a file if it were unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture
def safe_loading():
    before = dict(CheckpointLoader._schemes)
    use_safe_loading()
    yield
    CheckpointLoader._schemes = before


def test_mmengine_runs_nothing_that_a_checkpoint_brings(tmp_path, safe_loading):
    path = saved(tmp_path / 'a.pth', torch.nn.Linear(3, 2), meta=Attack(tmp_path / 'attacked'))
    with pytest.raises(ConfigError, match=r'a.pth: not a checkpoint of weights only.*open'):
        load_checkpoint(torch.nn.Linear(3, 2), str(path))
    assert not (tmp_path / 'attacked').exists()


def test_mmengine_reads_its_own_log_and_schedule_without_a_warning(
    tmp_path, safe_loading, caplog, recwarn
):
    model = torch.nn.Linear(3, 2)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    schedule = OneCycleLR(wrapper, end=9, by_epoch=False)
    history = HistoryBuffer([1.5, 2.5], [1, 1])
    path = saved(
        tmp_path / 'a.pth',
        model,
        message_hub=dict(log_scalars={'train/loss': history}),
        param_schedulers=[schedule.state_dict(), dict(milestones=Counter([3]))],
        meta=dict(iter=5, config='raise SystemExit', dataset_meta=dict(classes=('a',))),
    )
    found = load_checkpoint(torch.nn.Linear(3, 2), str(path))
    assert found['message_hub']['log_scalars']['train/loss'].mean() == 2.0
    assert found['param_schedulers'][0]['total_steps'] == 9
    # Resuming would run this text.
    assert found['meta'] == dict(iter=5, dataset_meta=dict(classes=('a',)))
    assert not caplog.records and not recwarn.list
