import fcntl
import hashlib
import json
import os

import numpy as np
import pytest

from geo_mm.errors import OutputError
from geo_mm.inference.journal import BusyError, Journal, lock_owner

FACTS = {'tile': 512, 'spec': {'bands': ('red', 'nir'), 'gsd': 0.5}, 'window': None}


def opened(folder, facts=FACTS, **kwargs):
    journal = Journal(folder)
    journal.open(facts, {'time': 'then'}, **kwargs)
    return journal


def test_rows_come_back_as_they_were(tmp_path):
    journal = opened(tmp_path / 'j')
    arrays = {
        'classes': np.arange(12, dtype=np.uint8).reshape(3, 4),
        'shares': np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)[:, ::2],
        'none': np.empty((0, 4)),
        'empty': np.empty(0, np.int64),
        'number': np.array(7),
        'turned': np.arange(6).reshape(2, 3).T,
    }
    journal.write(7, arrays)
    found = journal.read(7)
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


def test_second_start_goes_on(tmp_path):
    first = opened(tmp_path / 'j')
    first.write(0, {'a': np.zeros(1)})
    first.write(2, {'a': np.zeros(1)})
    first.close()
    second = Journal(tmp_path / 'j')
    second.open(FACTS, {'time': 'now'})
    assert second.finished() == {0, 2}
    assert second.notes == {'time': 'then'}


ODD = ['', '{', 'null', '[]', '5', '{}', '{"facts": 1}', '{"facts": {}, "notes": null}', '[' * 9999]
ODD += ['{"facts": {}, "notes": {}, "checksum": "0"}', '{"facts": {}, "notes": {}}', '\udcff']


@pytest.mark.parametrize('text', ODD, ids=range(len(ODD)))
def test_settings_that_cannot_be_read_are_left_with_restart(tmp_path, text):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)})
    journal.close()
    (tmp_path / 'j' / 'run.json').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(OutputError, match=r'(?s)run\.json: damaged.*--restart'):
        opened(tmp_path / 'j')
    assert (tmp_path / 'j' / 'row-000000.npz').exists()
    assert opened(tmp_path / 'j', restart=True).finished() == set()


def test_settings_that_were_changed_by_hand(tmp_path):
    opened(tmp_path / 'j').write(0, {'a': np.zeros(1)})
    path = tmp_path / 'j' / 'run.json'
    path.write_text(path.read_text().replace('512', '513'))
    with pytest.raises(OutputError, match='its checksum differs'):
        Journal(tmp_path / 'j').open({**FACTS, 'tile': 513})


def test_settings_that_are_a_folder(tmp_path):
    (tmp_path / 'j' / 'run.json').mkdir(parents=True)
    with pytest.raises(OutputError, match='damaged'):
        opened(tmp_path / 'j')
    assert opened(tmp_path / 'j', restart=True).notes == {'time': 'then'}


@pytest.mark.parametrize('run', [{}, {'facts': FACTS}, {'facts': FACTS, 'notes': 5}])
def test_settings_of_another_form(tmp_path, run):
    (tmp_path / 'j').mkdir()
    text = json.dumps(run, sort_keys=True)
    run['checksum'] = hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / 'j' / 'run.json').write_text(json.dumps(run))
    with pytest.raises(OutputError, match='damaged'):
        opened(tmp_path / 'j')


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    """Else all in the linked folder would be deleted, and the linked file overwritten."""
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'thesis.txt').write_text('mine')
    (tmp_path / 'linked').symlink_to(home)
    (tmp_path / 'j').mkdir()
    (tmp_path / 'j' / 'lock').symlink_to(home / 'thesis.txt')
    for folder in ('linked', 'j'):
        for restart in (False, True):
            with pytest.raises(OutputError, match='is a symbolic link'):
                opened(tmp_path / folder, restart=restart)
    assert [path.name for path in home.iterdir()] == ['thesis.txt']
    assert (home / 'thesis.txt').read_text() == 'mine'


def test_owner_of_what_is_no_lock(tmp_path):
    assert lock_owner(tmp_path) is None
    (tmp_path / 'lock').write_bytes(b'\xff')
    assert lock_owner(tmp_path) is None
    (tmp_path / 'lock').unlink()
    (tmp_path / 'lock').mkdir()
    assert lock_owner(tmp_path) is None


def test_a_row_of_which_arrays_are_missing(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1), 'b': np.ones(2)})
    path = tmp_path / 'j' / 'row-000000.npz'
    content = path.read_bytes()
    # Length of the list of members, in the record at the end.
    end = content.rindex(b'PK\x05\x06')
    path.write_bytes(content[: end + 12] + bytes(4) + content[end + 16 :])
    with pytest.raises(OutputError, match='damaged'):
        journal.read(0)


def test_files_of_others_are_no_rows(tmp_path):
    journal = opened(tmp_path / 'j')
    (tmp_path / 'j' / 'row-copy.npz').touch()
    assert journal.finished() == set()


def test_notes_can_be_changed(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.note(batch_size=1)
    assert journal.notes == {'time': 'then', 'batch_size': 1}


def test_other_facts_are_refused_and_named(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)})
    journal.close()
    other = {**FACTS, 'tile': 256, 'spec': {'bands': ('red',), 'gsd': 0.5}, 'new': True}
    with pytest.raises(OutputError) as error:
        opened(tmp_path / 'j', other)
    message = str(error.value)
    assert 'tile was 512 and is 256' in message
    assert 'spec.bands was ["red", "nir"] and is ["red"]' in message
    assert 'new was null and is true' in message
    assert '--restart' in message
    assert opened(tmp_path / 'j').finished() == {0}


def test_restart_discards(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)}, {'b': np.zeros(1)})
    journal.close()
    again = opened(tmp_path / 'j', {'tile': 1}, restart=True)
    assert again.finished() == set()
    assert again.carry(1) is None


def test_carry_is_kept_until_the_next_row_is_finished(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)}, {'sums': np.ones(3)})
    np.testing.assert_array_equal(journal.carry(1)['sums'], np.ones(3))
    journal.write(1, {'a': np.zeros(1)}, {'sums': np.ones(3)})
    assert journal.carry(1) is None
    assert journal.has_carry(2)


def test_two_runs_at_once_are_refused(tmp_path):
    journal = opened(tmp_path / 'j')
    with pytest.raises(OutputError, match='another process'):
        opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)})
    journal.close()
    assert opened(tmp_path / 'j').finished() == {0}


def test_nothing_is_left_of_a_run_without_a_finished_row(tmp_path):
    opened(tmp_path / 'j').close()
    assert os.listdir(tmp_path) == []


def test_files_that_are_not_complete_do_not_count(tmp_path):
    journal = opened(tmp_path / 'j')

    objects = np.array([None], dtype=object)  # which np.save would pickle
    with pytest.raises(ValueError, match='plain data'):
        journal.write(0, {'good': np.zeros(9), 'bad': objects})
    assert journal.finished() == set()
    assert sorted(os.listdir(journal.folder)) == ['lock', 'run.json']


def test_damaged_row_is_told(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(3, {'a': np.zeros(1000)})
    path = journal.folder / 'row-000003.npz'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(OutputError, match=r'row-000003\.npz: damaged(.|\n)*delete it'):
        journal.read(3)


def test_failure_is_seen_until_the_next_start(tmp_path):
    journal = opened(tmp_path / 'j')
    journal.write(0, {'a': np.zeros(1)})
    other = Journal(tmp_path / 'j')
    assert not other.failed
    journal.report_failure()
    assert other.failed
    journal.close()
    assert not opened(tmp_path / 'j').failed


def test_a_run_that_was_left_is_joined_by_several(tmp_path):
    folder = tmp_path / 'j'
    assert not Journal(folder).join({'tile': 1})  # nothing was begun
    assert not folder.exists()
    journal = opened(folder, {'tile': 1})
    with pytest.raises(BusyError):
        Journal(folder).join({'tile': 1})
    journal.leave()
    assert lock_owner(folder) is None
    assert not Journal(folder).join({'tile': 2})  # it was started over
    others = [Journal(folder), Journal(folder)]
    for row, other in enumerate(others):
        assert other.join({'tile': 1})
        other.write(row, {'a': np.full(1, row)})
    assert lock_owner(folder).startswith(f'process {os.getpid()} on')
    for other in others:
        with pytest.raises(BusyError):
            opened(folder, {'tile': 1})
        other.leave()
    assert opened(folder, {'tile': 1}).finished() == {0, 1}


def test_lock_that_may_only_be_read(tmp_path, monkeypatch):
    journal = opened(tmp_path / 'j')
    monkeypatch.setattr(os, 'access', lambda *_: False)  # root may do everything
    assert lock_owner(journal.folder)
    journal.close()
    assert lock_owner(journal.folder) is None


def test_lock_of_a_folder_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """Between the opening of the lock file and the lock, its owner completes and goes."""
    first, opener = opened(tmp_path / 'j'), fcntl.flock

    def flock(*args):
        monkeypatch.setattr(fcntl, 'flock', opener)
        first.close()
        opener(*args)

    monkeypatch.setattr(fcntl, 'flock', flock)
    second = opened(tmp_path / 'j')
    with pytest.raises(BusyError, match=r'process \d+ on '):
        opened(tmp_path / 'j')
    assert lock_owner(second.folder).startswith(f'process {os.getpid()} on')
    second.close()
    assert lock_owner(second.folder) is None


def test_what_another_run_is_about_to_delete_is_not_in_the_way(tmp_path):
    journal = opened(tmp_path / 'j')
    (tmp_path / 'j.done').mkdir()
    (tmp_path / 'j.done' / 'row-000000.npz').touch()
    journal.remove()
    assert os.listdir(tmp_path) == []
