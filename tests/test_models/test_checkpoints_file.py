"""Files as PyTorch reads them, and what they could do to a machine."""

import io
import os
import pickle
import random
import tarfile
import zipfile

import pytest
import torch
from mmengine.runner import CheckpointLoader

from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import read_checkpoint, read_checkpoint_file, use_safe_loading

WEIGHTS = {'a.weight': torch.arange(600.0).reshape(20, 30), 'a.bias': torch.ones(20)}


def load_as_mmengine(path):
    before = dict(CheckpointLoader._schemes)
    use_safe_loading()
    try:
        return CheckpointLoader.load_checkpoint(str(path))
    finally:
        CheckpointLoader._schemes = before


READERS = [read_checkpoint, load_as_mmengine, lambda path: read_checkpoint_file(path, legacy=True)]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': WEIGHTS, 'meta': {'iter': 3}}, path)
    return path


def rewritten(path, change):
    """Changes the members of an archive: name and content to a list of those."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, 'w') as archive:
        for member in change(members):
            archive.writestr(*member)


class Writer(torch.nn.Module):
    """Writes a file as it is loaded."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.ones(1), self.path)


@pytest.mark.filterwarnings('ignore:.*torch.jit:DeprecationWarning')
@pytest.mark.parametrize('read', READERS)
def test_a_torchscript_program_is_not_run(tmp_path, read):
    module = torch.jit.script(Writer(str(tmp_path / 'written')))
    module.save(str(tmp_path / 'a.pth'))
    with pytest.raises(ConfigError, match='a TorchScript program'):
        read(tmp_path / 'a.pth')
    assert not (tmp_path / 'written').exists()
    torch.jit.load(str(tmp_path / 'a.pth'))  # which does run it
    assert (tmp_path / 'written').exists()


@pytest.mark.parametrize('read', READERS)
def test_a_tar_file_is_not_unpacked(tmp_path, read):
    victim = tmp_path / 'victim'
    victim.write_text('mine')
    victim.chmod(0o600)
    before = victim.stat()
    with tarfile.open(tmp_path / 'a.pth', 'w:') as archive:
        link = tarfile.TarInfo('storages')
        link.type, link.linkname, link.mode, link.mtime = tarfile.LNKTYPE, str(victim), 0o777, 1
        archive.addfile(link)
    with pytest.raises(ConfigError, match=r'a\.pth: not a'):
        read(tmp_path / 'a.pth')
    after = victim.stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


@pytest.mark.parametrize('seed', range(60))
def test_a_damaged_file_is_refused_or_gives_the_same_weights(checkpoint, seed):
    content = bytearray(checkpoint.read_bytes())
    place = random.Random(seed).randrange(len(content))
    content[place] ^= 1 << seed % 8
    checkpoint.write_bytes(content)
    try:
        weights = read_checkpoint(checkpoint)['state_dict']
    except ConfigError:
        return
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[key], value) for key, value in WEIGHTS.items())


def test_a_flipped_bit_of_a_weight_is_named(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    place = content.find(WEIGHTS['a.weight'].numpy().tobytes())
    content[place + 100] ^= 1
    checkpoint.write_bytes(content)
    assert torch.load(checkpoint)['state_dict'].keys() == WEIGHTS.keys()  # which sees nothing
    with pytest.raises(ConfigError, match=r'(?s)data/0 in it is damaged.*download the file again'):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize('length', [0, 3, 4, 100, -1000, -1])
def test_a_file_that_is_cut_off(checkpoint, length):
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    with pytest.raises(ConfigError, match='not a readable checkpoint'):
        read_checkpoint(checkpoint)


def test_an_archive_that_grows_when_it_is_unpacked(checkpoint):
    with zipfile.ZipFile(checkpoint, 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data/9', bytes(10_000_000))
    with pytest.raises(ConfigError, match=r'that torch\.save\(\) did not write'):
        read_checkpoint(checkpoint)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_an_archive_with_two_members_of_a_name(checkpoint):
    rewritten(checkpoint, lambda members: [*members, members[0]])
    with pytest.raises(ConfigError, match=r'that torch\.save\(\) did not write'):
        read_checkpoint(checkpoint)


def test_a_tensor_larger_than_what_is_stored_of_it(checkpoint):
    def enlarge(members):
        # 600 elements become 60,000, in the storage and in the tensor.
        return [(n, c.replace(b'M\x58\x02', b'M\x60\xea')) for n, c in members]

    rewritten(checkpoint, enlarge)
    with pytest.raises(ConfigError, match=r'a\.pth: not a readable checkpoint: record size'):
        read_checkpoint(checkpoint)


def test_the_old_format_is_for_pretrained_weights_alone(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': WEIGHTS}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ConfigError, match='no zip archive'):
        read_checkpoint(path)
    found = read_checkpoint_file(path, legacy=True)['state_dict']
    assert torch.equal(found['a.weight'], WEIGHTS['a.weight'])


class Attack:
    """Would make a folder if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('read', READERS)
def test_a_pickle_runs_nothing(tmp_path, read, zipped):
    path = tmp_path / 'a.pth'
    data = {'state_dict': WEIGHTS, 'meta': Attack(tmp_path / 'attacked')}
    torch.save(data, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigError, match=r'a\.pth: not a'):
        read(path)
    assert not (tmp_path / 'attacked').exists()


def test_plain_pickles_too(tmp_path):
    file = io.BytesIO()
    pickle.dump(Attack(tmp_path / 'attacked'), file)
    (tmp_path / 'a.pth').write_bytes(file.getvalue())
    with pytest.raises(ConfigError, match=r'a\.pth: not a'):
        read_checkpoint_file(tmp_path / 'a.pth', legacy=True)
    assert not (tmp_path / 'attacked').exists()


@pytest.mark.parametrize('weights', [[1, 2], {'a': 1}, {3: torch.ones(1)}, None])
def test_weights_that_are_no_tensors(tmp_path, weights):
    torch.save({'state_dict': weights}, tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match='no weights in it'):
        read_checkpoint(tmp_path / 'a.pth')
