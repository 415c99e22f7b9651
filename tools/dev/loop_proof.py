"""Runs the loop of docs/en/python.md on real data, from data to report, and keeps its pictures.

Faster R-CNN on an export of ArcGIS (palms), Mask R-CNN and U-Net on the drone mosaic of
Banepa, U-Net on 13 bands of Sentinel-2, each with short training on small chips. The code
of a case is written to OUT/CASE/loop.py and run as a script, or, with --notebook, run as a
notebook, OUT/CASE/loop.ipynb. Every picture is beside it, to be looked at; what each step
took, and how much text it printed, is in OUT/CASE/steps.json.

    python tools/dev/loop_proof.py palms flood
    python tools/dev/loop_proof.py palms --notebook
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from geo_mm.errors import report_errors

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    'palms': (
        'FasterRCNN',
        "'{data}/arcgis_palms_voc_a', val_split_pct=0.2",
        '{data}/palms_mosaic_a/palms_3.tif',
    ),
    'banepa_masks': (
        'MaskRCNN',
        "'{data}/banepa_a/banepa_a.tif', '{data}/banepa_a/banepa_a_buildings.geojson'",
        '{data}/banepa_unlabelled/banepa_unlabelled.tif',
    ),
    'banepa_pixels': (
        'UNet',
        "'{data}/banepa_a/banepa_a.tif', '{data}/banepa_a/banepa_a_buildings.geojson'",
        '{data}/banepa_unlabelled/banepa_unlabelled.tif',
    ),
    'flood': (
        'UNet',
        "'{data}/sen1floods11/Spain_7370579_S2Hand.tif', "
        "'{data}/sen1floods11/Spain_7370579_LabelHand.tif', "
        "class_mapping={{0: 'land', 1: 'water'}}",
        '{data}/sen1floods11/Spain_7370579_S2Hand.tif',
    ),
}
"""Model, data, and a scene to predict."""

STEPS = """
data = geo_mm.prepare_data({source}, chip_size={chip}, batch_size={batch}, size='small', seed=1)
print(data)
data.show_batch().save('batch.png')
model = geo_mm.{model}(data)
model.lr_find(iterations={iterations}, trials=0)
model.fit(iters={iterations})
print(model)
model.plot_losses().save('losses.png')
model.show_results().save('results.png')
print(model.metrics())
model.report('report.html')
model.save('model')
result = geo_mm.{model}.from_model('model.pth').predict({scene!r}, 'out')
""".strip().splitlines()


def steps_of(case: str, args: argparse.Namespace) -> list[str]:
    """The lines of a case."""
    model, source, scene = CASES[case]
    data = str(args.data.resolve())
    values = dict(model=model, iterations=args.iterations, chip=args.chip_size, batch=args.batch)
    source, scene = source.format(data=data), scene.format(data=data)
    return ['import geo_mm', *(step.format(source=source, scene=scene, **values) for step in STEPS)]


def run_script(steps: list[str], folder: Path) -> list[dict]:
    """The lines as one script, each with the seconds that it took."""
    timed = [f'    {step}\n    print("\\nSTEP", time.monotonic(), flush=True)' for step in steps]
    text = '\n'.join(['import time', "if __name__ == '__main__':", *timed])
    script = folder / 'loop.py'
    script.write_text(f'{text}\n')
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=False,
    )
    (folder / 'loop.log').write_text(done.stdout)
    done.check_returncode()
    rows, before, said = [], start, 0
    for line in done.stdout.splitlines():
        if line.startswith('STEP '):
            now = float(line.split()[1])
            rows.append(dict(step=steps[len(rows)], seconds=round(now - before, 1), said=said))
            before, said = now, 0
        else:
            said += len(line) + 1
    return rows


def run_notebook(steps: list[str], folder: Path) -> list[dict]:
    """The lines as cells of a notebook, each with the text that it shows."""
    os.environ['PYTHONPATH'] = str(ROOT)
    # What a script saves a notebook shows.
    sources = [step.rsplit('.save(', 1)[0] if '.png' in step else step for step in steps]
    sources = [s[6:-1] if s in ('print(data)', 'print(model)') else s for s in sources]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {'metadata': {'path': str(folder)}}
    client = NotebookClient(notebook, timeout=None, record_timing=True, resources=resources)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, folder / 'loop.ipynb')
    return [
        dict(step=cell.source, outputs=len(cell.outputs), said=sum(map(shown, cell.outputs)))
        for cell in notebook.cells
    ]


def shown(output: dict) -> int:
    """Characters of text in an output of a cell."""
    return len(output.get('text') or output.get('data', {}).get('text/plain', ''))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    data = os.environ.get('GEO_MM_DATA_ROOT', '../shared/data')
    add('cases', nargs='*', default=list(CASES), help=f'of {", ".join(CASES)} (default: all)')
    add('--data', type=Path, default=Path(data), help='folder of the data sets')
    add('-o', '--out', type=Path, default=ROOT / 'work_dirs' / 'loop_proof')
    add('--iterations', type=int, default=100, help='of lr_find and of fit')
    add('--chip-size', type=int, default=128, help='pixels')
    add('--batch', type=int, default=2, help='chips')
    add('--notebook', action='store_true', help='run them as notebooks')
    args = parser.parse_args()
    for case in args.cases:
        folder = (args.out / case).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        run = run_notebook if args.notebook else run_script
        rows = run(steps_of(case, args), folder)
        name = 'cells.json' if args.notebook else 'steps.json'
        (folder / name).write_text(json.dumps(rows, indent=1))
        print(case)
        for row in rows:
            print('  ', *(f'{row[key]:>8}' for key in row if key != 'step'), row['step'][:90])


if __name__ == '__main__':
    with report_errors():
        main()
