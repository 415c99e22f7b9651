"""Reading weights and nothing else."""

import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR, OptimWrapper

from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import load_weights

WEIGHTS = {'backbone.a': torch.arange(3.0), 'head.b': torch.ones(2)}


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_names_as_in_the_file(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'a.pth')
    loaded = load_weights(tmp_path / 'a.pth')
    assert loaded.keys() == WEIGHTS.keys()
    assert torch.equal(loaded['backbone.a'], WEIGHTS['backbone.a'])


def test_prefix_is_chosen_and_taken_off(tmp_path):
    torch.save({'state_dict': WEIGHTS, 'meta': {}}, tmp_path / 'a.pth')
    assert list(load_weights(tmp_path / 'a.pth', prefix='backbone.')) == ['a']
    with pytest.raises(ConfigError, match=r'expected: one of backbone\., head\.'):
        load_weights(tmp_path / 'a.pth', prefix='neck.')


def test_a_file_that_runs_code_is_refused(tmp_path):
    torch.save({'state_dict': WEIGHTS, 'x': Touch(tmp_path / 'touched')}, tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match='it holds'):
        load_weights(tmp_path / 'a.pth')
    assert not (tmp_path / 'touched').exists()


class Reach:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_reaches_nothing_but_the_logs_methods(tmp_path):
    torch.save({'state_dict': WEIGHTS, 'x': Reach()}, tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match='getattr'):
        load_weights(tmp_path / 'a.pth')


def test_what_the_runner_saves(tmp_path):
    model = torch.nn.Linear(2, 1)
    hub = MessageHub.get_instance('test_what_the_runner_saves')
    hub.update_scalar('loss', 0.5)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    schedule = OneCycleLR(optimizer, eta_max=0.1, total_steps=9)
    checkpoint = {
        'state_dict': model.state_dict(),
        'message_hub': hub.state_dict(),
        'param_schedulers': [schedule.state_dict()],
        'optimizer': optimizer.state_dict(),
    }
    torch.save(checkpoint, tmp_path / 'a.pth')
    assert list(load_weights(tmp_path / 'a.pth')) == ['weight', 'bias']


@pytest.mark.parametrize('content', [b'', b'no checkpoint at all', pickle.dumps([1])])
def test_a_broken_file(tmp_path, content):
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(ConfigError, match=r'a\.pth'):
        load_weights(tmp_path / 'a.pth')


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match='no such checkpoint'):
        load_weights(tmp_path / 'a.pth')


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ConfigError, match='one of resnet101, resnet152, resnet18'):
        load_weights('torchvision://ResNet')


def test_an_unknown_scheme():
    with pytest.raises(ConfigError, match='from ftp://'):
        load_weights('ftp://a/b.pth')


def test_torchvision_names_need_no_torchvision(tmp_path, monkeypatch):
    # Where torch keeps downloads: what is there is not fetched again.
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    torch.save(WEIGHTS, cache / 'resnet50-0676ba61.pth')
    assert list(load_weights('torchvision://resnet50')) == list(WEIGHTS)
    torch.save(WEIGHTS, cache / 'other.pth')
    assert list(load_weights('https://example.org/some/other.pth')) == list(WEIGHTS)
