"""The tutorials run from their first cell to the last, with a short training."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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
def test_every_cell_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r'^iterations = \d+$', 'iterations = 8', cell.source, flags=re.M)
    resources = {'metadata': {'path': str(tmp_path)}}
    NotebookClient(notebook, timeout=900, resources=resources).execute()
    assert [cell for cell in notebook.cells if cell.cell_type == 'code'][-1].outputs
