import pickle
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from geo_mm.errors import (
    ConfigError,
    GeoMMError,
    LabelError,
    collected_errors,
    counted,
    interrupts,
    report_errors,
)


def test_found_expected_and_fix_are_lines_of_one_message():
    error = LabelError('a.gpkg: no column', 'one of x, y', 'correct it')
    assert str(error) == 'a.gpkg: no column\n  expected: one of x, y\n  to do: correct it'
    assert str(LabelError('a.gpkg: no column')) == 'a.gpkg: no column'


def test_one_of_something_is_no_plural():
    found = [counted(1, 'value'), counted(0, 'class'), counted(1200, 'box')]
    assert found == ['1 value', '0 classes', '1,200 boxes']


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(ConfigError('a', 'b', 'c')))
    assert isinstance(error, ConfigError)
    assert str(error) == 'a\n  expected: b\n  to do: c'


def test_the_tool_prints_the_message_alone_and_exits_with_two(capsys):
    with pytest.raises(SystemExit) as status, report_errors():
        raise ConfigError('a.py: wrong', fix='repair it')
    assert status.value.code == 2
    assert capsys.readouterr().err == 'error: a.py: wrong\n  to do: repair it\n'


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), report_errors():
        1 / 0  # noqa: B018


def test_interrupting_is_no_error(capsys):
    with pytest.raises(SystemExit) as status, report_errors():
        raise KeyboardInterrupt
    assert status.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_that_have_something_to_say(capsys, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as status, report_errors(), interrupts('nothing is lost'):
        signal.raise_signal(number)
    assert status.value.code == 128 + number
    assert capsys.readouterr().err == 'nothing is lost\n'
    assert signal.getsignal(number) == before


def test_errors_of_several_processes_are_printed_once_at_the_end(capsys, tmp_path):
    with collected_errors(tmp_path):
        for text in ('a.tif: wrong', 'b.tif: wrong', 'a.tif: wrong'):
            with pytest.raises(SystemExit), report_errors():
                raise ConfigError(text)
        assert capsys.readouterr().err == ''
    assert capsys.readouterr().err == 'error: a.tif: wrong\nerror: b.tif: wrong\n'
    assert not list(tmp_path.iterdir())


def test_control_characters_in_names_do_not_reach_the_terminal(capsys):
    with pytest.raises(SystemExit), report_errors():
        raise ConfigError('\x1b[2Ja\r.tif: wrong', fix='repair it')
    assert capsys.readouterr().err == 'error: \\x1b[2Ja\\r.tif: wrong\n  to do: repair it\n'


class Broken(Dataset):
    """Fails as chips do: with an error of ours that has a cause."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        try:
            raise OSError('TIFFReadEncodedTile failed')
        except OSError as error:
            raise LabelError('a.tif: broken', 'a whole file', 'copy it again') from error


def test_an_error_in_a_worker_is_told_without_its_traceback(capsys):
    with pytest.raises(SystemExit), report_errors():
        list(DataLoader(Broken(), num_workers=1))
    expected = 'error: a.tif: broken\n  expected: a whole file\n  to do: copy it again\n'
    assert capsys.readouterr().err == expected


def test_a_worker_raises_the_same_type():
    with pytest.raises(GeoMMError, match=r'a\.tif: broken'):
        list(DataLoader(Broken(), num_workers=1))
