"""The command: quick help, quick mistakes, and options that are fields of dataclasses."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

import geo_mm
from geo_mm.cli import COMMANDS, command_parser, main
from geo_mm.cli.arguments import overrides
from geo_mm.errors import ConfigError
from geo_mm.inference import PredictOptions
from geo_mm.options import add_options, given
from tests.data.chips import CONFIGS

ROOT = CONFIGS.parent
HEAVY = {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'rasterio', 'geopandas', 'rich'}
SCRIPTS = sorted(
    path
    for folder in ('', 'analysis_tools', 'misc')
    for path in (ROOT / 'tools' / folder).glob('*.py')
)


def modules_of(code: str) -> set[str]:
    """Heavy libraries that are imported once the code has run or has left."""
    code = (
        'import sys, contextlib, io\n'
        'with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n'
        f'    {code}\n'
        f'print(sorted({HEAVY!r} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(eval(done.stdout))


@pytest.mark.parametrize('name', ['', *COMMANDS])
def test_help_imports_nothing_heavy(name):
    """Nothing but that makes it take less than a second on any machine."""
    words = [name, '--help'] if name else ['--help']
    assert modules_of(f'from geo_mm.cli import main; main({words!r})') == set()


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_commands(path):
    code = (
        f'import runpy; sys.argv[1:] = ["--help"]; runpy.run_path({str(path)!r}, None, "__main__")'
    )
    assert modules_of(code) == set()


def test_importing_the_package_imports_nothing_heavy():
    assert modules_of('import geo_mm') == set()


def test_listing_weights_takes_no_pytorch():
    assert modules_of('from geo_mm.cli import main; main(["weights"])') == set()


def test_every_public_name_is_there():
    assert {name for name in geo_mm.__all__ if getattr(geo_mm, name) is None} == set()
    assert set(geo_mm.__all__) <= set(dir(geo_mm))
    with pytest.raises(AttributeError, match="'geo_mm' has no attribute 'Scen'"):
        _ = geo_mm.Scen


def test_the_command_names_its_subcommands(capsys):
    with pytest.raises(SystemExit) as end:
        main(['trian'])
    assert end.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


@dataclass(frozen=True)
class Options:
    count: int = field(default=2, metadata={'help': 'how many', 'flag': '--number'})
    kind: Literal['a', 'b'] | None = field(default=None, metadata={'help': 'which'})
    some_names: Sequence[str] = field(default=(), metadata={'help': 'whose', 'group': 'names'})
    share: float | None = field(default=None, metadata={'help': 'much', 'const': 0.5})
    loud: bool = field(default=False, metadata={'help': 'shout'})
    inner: int = 0


def parse(*words: str) -> dict:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, Options)
    return given(parser.parse_args(words), Options)


def test_options_of_a_dataclass():
    assert parse() == {}
    assert parse('--number', '3', '--loud') == {'count': 3, 'loud': True}
    assert parse('--some-names', 'x', 'y', '--kind', 'b') == {'some_names': ['x', 'y'], 'kind': 'b'}
    assert parse('--share') == {'share': 0.5}
    assert parse('--share', '0.25') == {'share': 0.25}


@pytest.mark.parametrize('words', [['--inner', '1'], ['--kind', 'c'], ['--number', 'x']])
def test_what_is_no_option_of_a_dataclass(words):
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(*words)


def test_predict_offers_every_field_of_its_options():
    parser = command_parser('predict')
    words = ['m.pth', 's.tif', '-o', 'out', '--tile', '64', '--format', 'gpkg', 'fgb', '--compile']
    found = given(parser.parse_intermixed_args(words), PredictOptions)
    assert PredictOptions(**found) == PredictOptions(
        tile=64, formats=('gpkg', 'fgb'), compiled=True
    )
    offered = {action.dest for action in parser._actions}
    assert set(PredictOptions.__dataclass_fields__) <= offered


def test_overrides_are_read_as_mmengine_does():
    assert overrides(['a.b=1', 'c=[1,2]', 'd=None']) == {'a.b': 1, 'c': [1, 2], 'd': None}
    with pytest.raises(ConfigError, match='KEY=VALUE'):
        overrides(['a'])


@pytest.mark.parametrize(
    ('environment', 'chosen'),
    [
        ({}, 'path'),
        ({'CONDA_PREFIX': 'conda'}, 'conda'),
        ({'VIRTUAL_ENV': 'venv', 'CONDA_PREFIX': 'conda'}, 'venv'),
        ({'VIRTUAL_ENV': 'venv', 'PYTHON': 'own/bin/python'}, 'own'),
        ({'VIRTUAL_ENV': 'gone'}, 'path'),
    ],
)
def test_scripts_prefer_the_python_of_the_active_environment(tmp_path, environment, chosen):
    for name in ('path', 'conda', 'venv', 'own'):
        program = tmp_path / name / 'bin' / 'python'
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho ran {name}\n')
        program.chmod(0o755)
    done = subprocess.run(
        ['bash', str(ROOT / 'tools' / 'dist_train.sh'), 'c.py', '2'],
        env={
            'PATH': f'{tmp_path}/path/bin{os.pathsep}/usr/bin{os.pathsep}/bin',
            **{key: str(tmp_path / value) for key, value in environment.items()},
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout == f'ran {chosen}\n'
    assert done.stderr == f'python: {tmp_path}/{chosen}/bin/python\n'
