"""Opens results in QGIS and GDAL's programs, and renders them over their scenes.

Predicts one picture (houses that form an F, and a row of trees) as classes of
pixels, as objects with masks and as boxes, in UTM, Web Mercator, degrees, a
rotated grid and without any CRS. QGIS then opens every result, paints it over
the scene by the style that comes with it, and notes where it is; gdalinfo
and ogrinfo say whether they have something to complain about.

The pictures are in the output folder, one sheet for each kind of model: look
at them. Exits with 1 if a layer does not open, has no style, or is elsewhere
than its scene, or if GDAL warns. What is not installed is skipped, and named:
QGIS with its Python (Debian: apt-get install qgis python3-qgis) and GDAL's
programs (gdal-bin).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.crs import CRS
from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.data.models import object_files, pixel_files, spec_of  # noqa: E402

# Of 10 x 10 pixels: an F that neither mirroring nor turning leaves as it is.
HOUSES = [(3, row) for row in range(2, 12, 2)] + [(5, 2), (7, 2), (5, 6)]
TREES = [(12, row) for row in range(2, 12, 3)]
CELL, SIZE = 10, (140, 180)  # rows and columns of the picture
PLACES = {
    'utm': ('EPSG:32617', Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)),
    'mercator': ('EPSG:3857', Affine(0.5, 0, 9_500_000, 0, -0.5, 3_200_000)),
    'degrees': ('EPSG:4326', Affine(5e-6, 0, -84, 0, -5e-6, 10)),
    'rotated': ('EPSG:32617', Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000) @ Affine.rotation(30)),
    'nowhere': (None, None),
}
OPTIONS = {
    'segmentation': ['--polygons', '--confidence', '--probabilities', '--stac'],
    'instances': ['--score', '0.05', '--stac'],
    'boxes': ['--score', '0.05', '--stac'],
}

# Runs where QGIS is: prints one JSON line for each layer, and writes its picture.
QGIS = r"""
import json, os, sys
os.environ['QT_QPA_PLATFORM'] = 'offscreen'
from qgis.core import *
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

app = QgsApplication([], False)
app.initQgis()

def render(layers, path, crs, extent, size=QSize(450, 350)):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(crs)
    settings.setExtent(extent)
    settings.setOutputSize(size)
    settings.setBackgroundColor(QColor('white'))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)
    return job.renderedImage()

def labelled(layer, crs, extent):
    # Whether the middle of the scene has labels.
    middle = QgsRectangle(extent)
    middle.scale(0.5)
    pictures = []
    for enabled in (True, False):
        layer.setLabelsEnabled(enabled)
        pictures.append(render([layer], os.devnull, crs, middle, QSize(900, 700)))
    layer.setLabelsEnabled(True)
    return pictures[0] != pictures[1]

for job in json.loads(sys.argv[1]):
    scene = QgsRasterLayer(job['scene'], 'scene')
    extent = QgsRectangle(scene.extent())
    extent.scale(1.1)
    for number, path in enumerate(job['files']):
        out = {'path': path}
        if path.endswith(('.qgz', '.qlr')):
            project = QgsProject()
            if path.endswith('.qgz'):
                # As a new user's project: layers of another CRS are reprojected to its own.
                out['valid'] = project.read(path) and project.crs() == scene.crs()
                layers = [node.layer() for node in project.layerTreeRoot().findLayers()
                          if node.isVisible()]
            else:
                layers = QgsLayerDefinition.loadLayerDefinitionLayers(path)
                out['valid'] = bool(layers)
            layers = [layer for layer in layers if layer is not None]
            out['valid'] &= len(layers) >= 2 and all(layer.isValid() for layer in layers)
            out['layers'] = [layer.name() for layer in layers]
            render(layers, job['pictures'][number], scene.crs(), extent)
            print(json.dumps(out), flush=True)
            continue
        if path.endswith(('.tif', '.png')):
            layer = QgsRasterLayer(path, 'result')
        else:
            layer = QgsVectorLayer(path + job['layer'].get(path, ''), 'result', 'ogr')
        out['valid'] = layer.isValid()
        message, styled = layer.loadDefaultStyle()
        out['styled'] = styled
        out['renderer'] = layer.renderer().type() if layer.isValid() else None
        found = layer.extent()
        if layer.isValid() and layer.crs().isValid() and scene.crs().isValid():
            move = QgsCoordinateTransform(layer.crs(), scene.crs(), QgsProject.instance())
            found = move.transformBoundingBox(found)
        one = scene.extent()
        out['extent'] = [found.xMinimum(), found.yMinimum(), found.xMaximum(), found.yMaximum()]
        out['scene'] = [one.xMinimum(), one.yMinimum(), one.xMaximum(), one.yMaximum()]
        if isinstance(layer, QgsVectorLayer) and layer.isValid():
            out['tip'] = bool(layer.mapTipTemplate())
            out['labels'] = labelled(layer, scene.crs(), extent)
        else:
            out['max'] = layer.dataProvider().bandStatistics(1).maximumValue
        render([layer, scene], job['pictures'][number], scene.crs(), extent)
        print(json.dumps(out), flush=True)
"""


def make_scene(folder: Path, place: str) -> Path:
    """The picture in one of the places; the red band holds numbers of houses."""
    rows, columns = SIZE
    noise = np.random.default_rng(0).integers(0, 12, (3, rows, columns))
    image = np.array([0, 110, 90])[:, None, None] + noise * np.array([0, 1, 1])[:, None, None]
    for number, (col, row) in enumerate(HOUSES):
        cell = np.s_[row * CELL : (row + 1) * CELL - 2, col * CELL : (col + 1) * CELL - 2]
        image[(0, *cell)], image[(1, *cell)] = 150 + number, 70
    for col, row in TREES:
        image[1, row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL] = 230
    crs, transform = PLACES[place]
    profile = dict(driver='GTiff', height=rows, width=columns, count=3, dtype='uint8')
    if crs:
        profile |= dict(crs=CRS.from_string(crs), transform=transform)
    path = folder / 'scenes' / f'{place}.tif'
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, 'w', photometric='RGB', **profile) as dataset:
        dataset.write(image.astype('uint8'))
    return path


def make_models(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Config and checkpoint of a model of each kind whose answers are known."""
    bands = ('red', 'green', 'blue')
    classes = ('background', 'casa ñ', 'árbol')
    pixels = spec_of('pixels', classes, bands, mean=(75.0, 150.0, 100.0), std=(40.0,) * 3)
    objects = spec_of('objects', ('house', 'roof'), ('red',))
    return {
        'segmentation': pixel_files(folder / 'seg', pixels, [[0, 0, 0], [3, 0, 0], [-1, 3, 0]]),
        'instances': object_files(folder / 'ins', objects, with_masks=True),
        'boxes': object_files(folder / 'det', objects),
    }


def predict(files: tuple[Path, Path], scene: Path, out: Path, options: list[str]) -> None:
    command = [sys.executable, ROOT / 'tools' / 'predict.py', *files, scene, '-o', out, *options]
    formats = ['--format', 'gpkg', 'fgb', *(['geojson'] if scene.stem != 'nowhere' else [])]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [*map(str, command), *formats], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f'{scene} {out}: {done.stdout}{done.stderr}')


def qgis_python() -> str | None:
    """A Python that has QGIS."""
    for name in ('/usr/bin/python3', 'python3', sys.executable):
        if shutil.which(name) is None:
            continue
        if not subprocess.run([name, '-c', 'import qgis.core'], capture_output=True).returncode:
            return name
    return None


def look(python: str, folder: Path, kind: str) -> list[str]:
    """Let QGIS open and paint the results of a model; returns what is wrong."""
    jobs, rows = [], []
    for place in PLACES:
        out = folder / kind / place
        files = sorted(
            str(path)
            for path in out.iterdir()
            if path.suffix in ('.tif', '.png', '.gpkg', '.fgb', '.geojson', '.qgz', '.qlr')
        )
        pictures = [str(folder / 'pictures' / f'{kind}_{place}_{i}.png') for i in range(len(files))]
        layer = 'polygons' if kind == 'segmentation' else 'objects'
        layers = {path: f'|layername={layer}' for path in files if path.endswith('.gpkg')}
        scene = str(folder / 'scenes' / f'{place}.tif')
        jobs.append({'scene': scene, 'files': files, 'pictures': pictures, 'layer': layers})
        rows.append(pictures)
    (folder / 'pictures').mkdir(exist_ok=True)
    done = subprocess.run(
        [python, '-c', QGIS, json.dumps(jobs)], capture_output=True, text=True, timeout=600
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    expected = sum(len(job['files']) for job in jobs)
    wrong = [] if len(found) == expected else [f'{kind}: QGIS stopped: {done.stderr[-2000:]}']
    sheet(rows, folder / f'{kind}.png')
    return wrong + [problem for item in found for problem in problems(item)]


def problems(item: dict) -> list[str]:
    """What is wrong with a layer as QGIS sees it."""
    path = item['path']
    if not item['valid']:
        return [f'{path}: does not open']
    if path.endswith(('.qgz', '.qlr')):
        return []
    if path.endswith('.png'):  # larger than the scene: the legend
        return []
    wrong = [] if item['styled'] else [f'{path}: has no style']
    (x0, y0, x1, y1), (left, low, right, high) = item['extent'], item['scene']
    slack = 0.02 * max(right - left, high - low)
    if x0 < left - slack or x1 > right + slack or y1 > high + slack or y0 < low - slack:
        wrong.append(f'{path}: is at {item["extent"]}, its scene at {item["scene"]}')
    if path.endswith(('_confidence.tif', '_probabilities.tif')) and not 0 < item['max'] <= 1.001:
        wrong.append(f'{path}: values up to {item["max"]}, not 0 to 1')
    if path.endswith(('.gpkg', '.fgb', '.geojson')) and not (item['tip'] and item['labels']):
        wrong.append(f'{path}: no labels or map tips')
    return wrong


def sheet(rows: list[list[str]], path: Path) -> None:
    """All pictures of a model, a row for each place."""
    pictures = [[Image.open(name) for name in row if Path(name).exists()] for row in rows]
    canvas = Image.new('RGB', (460 * max(map(len, pictures)), 360 * len(pictures)), 'white')
    for row, line in enumerate(pictures):
        for column, picture in enumerate(line):
            canvas.paste(picture, (460 * column, 360 * row))
    canvas.save(path)


def complaints(folder: Path) -> list[str]:
    """What GDAL's programs warn about."""
    found = []
    for path in sorted(folder.rglob('*')):
        program = {'.tif': ['gdalinfo'], '.png': ['gdalinfo']}.get(path.suffix)
        if path.suffix in ('.gpkg', '.fgb', '.geojson'):
            program = ['ogrinfo', '-al', '-q']
        if program is None or 'pictures' in path.parts or 'scenes' in path.parts:
            continue
        done = subprocess.run([*program, str(path)], capture_output=True, text=True)
        found += [f'{path}: {line}' for line in done.stderr.splitlines() if line.strip()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('-o', '--out', type=Path, default=Path('work_dirs/clients'))
    out = parser.parse_args().out.resolve()
    console = Console()
    for name in (*OPTIONS, 'pictures', 'scenes'):
        shutil.rmtree(out / name, ignore_errors=True)
    models = make_models(out / 'models')
    for kind, files in models.items():
        for place in PLACES:
            predict(files, make_scene(out, place), out / kind / place, OPTIONS[kind])
        console.print(f'predicted {kind}')
    wrong = []
    if (python := qgis_python()) is None:
        console.print('skipped QGIS: no Python here can import qgis.core')
    else:
        for kind in models:
            wrong += look(python, out, kind)
            console.print(f'QGIS: look at {out / kind}.png')
    if shutil.which('ogrinfo') is None:
        console.print('skipped GDAL: no ogrinfo')
    else:
        wrong += [line for kind in models for line in complaints(out / kind)]
    for line in wrong:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f'{len(wrong)} problems')
    raise SystemExit(bool(wrong))


if __name__ == '__main__':
    main()
