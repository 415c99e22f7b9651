"""The list of pretrained weights, and their way from a server to this machine."""

import hashlib
import math
import resource
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geo_mm.errors import ConfigError, OutputError
from geo_mm.models import downloading
from geo_mm.models.pretrained import (
    FOLDER,
    fetch_weights,
    pretrained_set,
    pretrained_sets,
    weights_folder,
)
from geo_mm.models.spectral import band
from tests.data.http_server import serving

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / 'weights'))
    monkeypatch.delenv('HF_ENDPOINT', raising=False)
    return tmp_path / 'weights'


def served(server, file: str = 'net.pth', sha256: str = SHA256):
    """A set whose file the local server has."""
    known = pretrained_set('ssl4eo-s12-moco-r50')
    return replace(known, url=f'{server.url}/{file}', sha256=sha256, sha256_prefix='')


def test_sets_for_the_resnets_of_both_libraries_are_those_of_torchgeo():
    earth = [each for each in pretrained_sets() if each.sensor != 'photographs']
    resnets = [each.backbone['depth'] for each in earth if each.backbone['type'] == 'ResNet']
    assert {depth: resnets.count(depth) for depth in resnets} == {18: 13, 50: 30, 152: 4}


@pytest.mark.parametrize('chosen', pretrained_sets(), ids=lambda each: each.name)
def test_facts_of_a_set_fit_each_other(chosen):
    assert len(chosen.mean) in (0, len(chosen.bands))
    assert len(chosen.mean) == len(chosen.std) and all(std > 0 for std in chosen.std)
    assert all(band(name).known or name == 'ndvi' for name in chosen.bands)
    assert all(band(name).name == name for name in chosen.bands)
    assert chosen.loads == (not chosen.why)
    assert chosen.url.startswith('https://') and chosen.licence and chosen.citation
    if chosen.sha256_prefix:
        assert f'-{chosen.sha256_prefix}.' in chosen.file_name


def test_names_and_files_are_different():
    assert len({each.name for each in pretrained_sets()}) == len(pretrained_sets())
    assert len({each.file_name for each in pretrained_sets()}) == len(pretrained_sets())


def test_a_wrong_name_is_answered_with_close_ones():
    with pytest.raises(ConfigError, match='ssl4eo-s12-moco-r50'):
        pretrained_set('ssl4eo-moco-r50')


def test_bands_are_matched_whatever_they_are_called():
    chosen = pretrained_set('ssl4eo-s12-moco-r50')
    assert chosen.matches(('red', 'B08', 's2:B8A', 'slope')) == ('red', 'B08', 's2:B8A')


def test_statistics_are_those_of_the_bands_that_are_asked_for():
    mean, std = pretrained_set('ssl4eo-s12-softcon-r50').statistics(('B12', 'slope', 'red'))
    assert (mean[0], mean[2], std[0], std[2]) == (1537.4, 1373.1, 1142.9, 1144.9)
    assert math.isnan(mean[1]) and math.isnan(std[1])


def test_the_folder_is_that_of_pytorch_hub(monkeypatch, tmp_path):
    import torch

    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert weights_folder() == Path(torch.hub.get_dir()) / 'checkpoints'


def test_provenance_has_licence_and_checksum():
    facts = pretrained_set('vit_large_patch16_dinov3.sat493m').provenance()
    assert facts['licence'] == 'DINOv3 License' and 'dinov3-license' in facts['licence_url']
    assert pretrained_set('ssl4eo-s12-moco-r50').provenance()['sha256'] == 'df8b932e'


def test_a_file_is_downloaded_once(server, folder):
    path = fetch_weights(served(server))
    assert path == folder / 'net.pth' and path.read_bytes() == CONTENT
    assert fetch_weights(served(server)) == path
    assert server.asked == [0]


def test_a_broken_connection_is_taken_up_where_it_broke(server):
    server.most = 100_000
    assert fetch_weights(served(server)).read_bytes() == CONTENT
    assert server.asked == [0, 100_000, 200_000]


def test_a_stopped_download_goes_on(server, folder):
    folder.mkdir()
    (folder / 'net.pth.partial').write_bytes(CONTENT[:123_456])
    assert fetch_weights(served(server)).read_bytes() == CONTENT
    assert server.asked == [123_456]
    assert not (folder / 'net.pth.partial').exists()


def test_a_server_that_knows_no_parts_gives_all(server, folder):
    server.ranges = False
    folder.mkdir()
    (folder / 'net.pth.partial').write_bytes(CONTENT[:1000])
    assert fetch_weights(served(server)).read_bytes() == CONTENT


@pytest.mark.parametrize('beginning', [b'x' * 1000, b'x' * len(CONTENT)])
def test_the_beginning_of_another_file_is_dropped(server, folder, beginning):
    folder.mkdir()
    (folder / 'net.pth.partial').write_bytes(beginning)
    assert fetch_weights(served(server)).read_bytes() == CONTENT
    assert server.asked == [len(beginning), 0]


def test_without_a_checksum_nothing_is_resumed(server, folder):
    folder.mkdir()
    (folder / 'net.pth.partial').write_bytes(CONTENT[:1000])
    assert fetch_weights(served(server, sha256='')).read_bytes() == CONTENT
    assert server.asked == [0]


def test_another_file_than_the_published_one_is_refused(server, folder):
    with pytest.raises(OutputError, match=f'its sha256 is {SHA256}'):
        fetch_weights(served(server, sha256='0' * 64))
    assert [path for path in folder.iterdir() if not path.name.endswith('.lock')] == []


def test_a_file_that_someone_put_there_is_checked(server, folder):
    folder.mkdir()
    (folder / 'net.pth').write_bytes(b'error page')
    with pytest.raises(ConfigError, match='delete it'):
        fetch_weights(served(server))


@pytest.mark.parametrize('length', ['many', '-1'])
def test_a_length_that_is_no_number_is_not_believed(server, length):
    server.length = length
    assert fetch_weights(served(server)).read_bytes() == CONTENT


def test_a_file_that_the_server_has_not(server, folder):
    with pytest.raises(OutputError, match='404') as caught:
        fetch_weights(served(server, 'missing'))
    assert str(folder / 'missing') in str(caught.value) and server.url in str(caught.value)


def test_without_network_the_message_says_which_file_goes_where(folder):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{free.getsockname()[1]}/net.pth'
    chosen = replace(pretrained_set('ssl4eo-s12-moco-r50'), url=url)
    with pytest.raises(OutputError, match='refused') as caught:
        fetch_weights(chosen)
    assert url in str(caught.value) and str(folder / 'net.pth') in str(caught.value)


def test_the_network_is_tried_again_before_a_download_is_given_up(server, folder, monkeypatch):
    monkeypatch.setattr(downloading, '_WAITS', (0, 0))
    server.most = 0
    folder.mkdir()
    (folder / 'net.pth.partial').write_bytes(CONTENT[:1000])
    with pytest.raises(OutputError, match='1,000 bytes so far are kept'):
        fetch_weights(served(server))
    assert server.asked == [1000] * 3


def test_a_mirror_of_hugging_face_is_asked(server, folder, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    chosen = replace(pretrained_set('ssl4eo-s12-moco-r50'), sha256=SHA256)
    assert fetch_weights(chosen).read_bytes() == CONTENT


def test_a_folder_that_is_only_read_is_used_and_left_as_it_is(server, folder):
    fetch_weights(served(server))
    before = sorted(folder.iterdir())
    folder.chmod(0o500)
    try:
        assert fetch_weights(served(server)).read_bytes() == CONTENT
        assert sorted(folder.iterdir()) == before
    finally:
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='cannot be written'):
        fetch_weights(served(server), folder=tmp_path / 'file')


def test_a_full_disk(server, folder):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match='cannot be written'):
            fetch_weights(served(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (folder / 'net.pth').exists()


def test_of_two_processes_one_downloads(server, folder):
    code = (
        'import sys; from dataclasses import replace; from geo_mm.models.pretrained import *;'
        "chosen = pretrained_set('ssl4eo-s12-moco-r50');"
        'chosen = replace(chosen, url=sys.argv[1], sha256=sys.argv[2]);'
        'print(fetch_weights(chosen).stat().st_size)'
    )
    command = [sys.executable, '-c', code, f'{server.url}/net.pth', SHA256]
    server.gate.clear()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 30
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    server.gate.set()
    assert [process.communicate()[0].strip() for process in both] == ['300000'] * 2
    assert server.asked == [0]
