"""The tutorials run from their first cell to the last, with a short training."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

NOTEBOOKS = sorted((Path(__file__).parents[1] / 'docs/notebooks').glob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_output_and_says_how_long_it_trains(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert any('iterations = ' in cell.source for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, tmp_path, monkeypatch):
    # Cells of bash find the commands of this environment, as if it were activated.
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r'^iterations = \d+$', 'iterations = 8', cell.source, flags=re.M)
    resources = {'metadata': {'path': str(tmp_path)}}
    NotebookClient(notebook, timeout=900, resources=resources).execute()
    assert [cell for cell in notebook.cells if cell.cell_type == 'code'][-1].outputs


TRAINING = """
import geo_mm
data = geo_mm.prepare_data('a.tif', 'a.gpkg', chip_size=64, batch_size=2, size='small')
model = geo_mm.UNet(data)
for split in ('train', 'val', 'test'):
    model.config[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
model.lr_find(iterations=20, trials=0)
--
model.fit(iters=40)
--
model.show_results()
scores = model.metrics()
"""


@pytest.mark.slow
def test_a_training_shows_one_line_that_changes(tmp_path):
    write_raster(tmp_path / 'a.tif', noise((3, 128, 384)))
    write_labels(tmp_path / 'a.gpkg', [box(x, 40, x + 20, 64) for x in range(20, 360, 45)])
    cells = [nbformat.v4.new_code_cell(text) for text in TRAINING.split('--')]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=900, resources={'metadata': {'path': str(tmp_path)}}).execute()
    found, fitted, shown = (cell.outputs for cell in cells)
    assert ['20 of 20 learning rates' in plain(out) for out in found].count(True) == 1
    assert ['40 of 40 iterations, loss' in plain(out) for out in fitted].count(True) == 1
    text = ''.join(map(plain, fitted))
    assert 'mIoU' in text and 'Iter(train)' not in text
    assert len(text) < 6000
    for unwanted in ('Warning', 'eta:', 'Exp name', 'Loads checkpoint'):
        assert unwanted not in ''.join(map(plain, [*found, *fitted, *shown])), unwanted


def plain(output: dict) -> str:
    """What an output of a cell shows as text."""
    return output.get('text') or output.get('data', {}).get('text/plain', '')
