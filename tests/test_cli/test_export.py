"""geo-mm export: formats by name, and what is no format."""

import pytest

from geo_mm.cli import main
from geo_mm.deploy import ModelExportOptions
from geo_mm.errors import ConfigError
from tests.data.narrow import narrow_files


def test_the_formats_that_are_asked_for_are_written(tmp_path, capsys):
    _, checkpoint = narrow_files(tmp_path, 'unet')
    out = tmp_path / 'out'
    words = ['export', str(checkpoint), '-o', str(out), '--to', 'onnx', 'deepness', '--name', 'a']
    assert main(words) == 0
    files = ['a.onnx', 'a.deepness.onnx']
    assert sorted(path.name for path in out.iterdir()) == sorted(files)
    assert capsys.readouterr().out.splitlines() == [f'wrote {out / name}' for name in files]


def test_unknown_formats_are_named():
    with pytest.raises(ConfigError, match="the format 'onxx'"):
        ModelExportOptions(formats=('onnx', 'onxx'))
    with pytest.raises(ConfigError, match='no format'):
        ModelExportOptions(formats=())
