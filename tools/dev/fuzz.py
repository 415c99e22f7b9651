"""Damages files at random places and reads them: what comes of it must be an error that we raise.

Every reader that takes files of others gets the same small file with seeded
damage: flipped bits, bytes written over, left out, repeated, or cut off at the
end. The cases run in a process of their own, so that a crash or a hang of a
library is one case and not the end.

    same        the content is that of the whole file
    refused     an error of geo_mm, which names the file
    changed     other content; where a file has checksums of its own (checkpoint,
                journal) that is an error, and for rasters and layers if bare
                rasterio or pyogrio would have refused the file
    traceback, crash, hang, silent: errors

Exits with 1 if there are errors. --keep DIR keeps the files that caused them.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ERRORS = ('traceback', 'crash', 'hang', 'silent')


@dataclass(frozen=True)
class Reader:
    """A reader, and a file for it.

    Attributes:
        make: Writes the whole file into a folder; gives its path, which may be
            a folder with several files.
        read: What is read of it.
        bare: Reads it as the underlying library would, raising if that refuses
            it. None: other content is no error. 'checked': it is always one.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    bare: Callable[[Path], object] | str | None = None


# --- rasters ------------------------------------------------------------------------------------


def make_tiff(folder: Path) -> Path:
    import numpy as np
    import rasterio
    from affine import Affine

    path = folder / 'scene.tif'
    image = np.random.default_rng(0).integers(0, 3, (2, 40, 50)).astype('uint8')
    with rasterio.open(
        path, 'w', driver='GTiff', width=50, height=40, count=2, dtype='uint8', compress='deflate',
        tiled=True, blockxsize=16, blockysize=16, crs='EPSG:32617', nodata=9,
        transform=Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000),
    ) as dataset:  # fmt: skip
        dataset.write(image)
        dataset.descriptions = ('red', 'nir')
    return path


def read_scene(path: Path) -> object:
    from geo_mm.raster import Scene

    scene = Scene.open(path)
    if scene.width * scene.height > 10_000_000:
        return scene.width, scene.height
    return [array.tobytes() for array in scene.read()]


def read_tiff_bare(path: Path) -> object:
    import rasterio

    with rasterio.open(path) as dataset:
        return dataset.read() if dataset.width * dataset.height < 10_000_000 else None


def read_label_raster(path: Path) -> object:
    from affine import Affine
    from rasterio.crs import CRS

    from geo_mm.labels import LabelRaster
    from geo_mm.raster import Grid

    grid = Grid(Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), 50, 40, CRS.from_epsg(32617))
    return LabelRaster.read(path, ('a', 'b', 'c'), grid).classes(grid.window).tobytes()


# --- layers -------------------------------------------------------------------------------------


def make_layer(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import geopandas as gpd
        import shapely

        boxes = [shapely.box(500_000 + x, 3_999_990, 500_008 + x, 3_999_998) for x in (0, 9, 12)]
        frame = gpd.GeoDataFrame({'class': ['a', 'b', 'a']}, geometry=boxes, crs='EPSG:32617')
        path = folder / f'layer{suffix}'
        frame.to_file(path)
        return path

    return make


def read_labels(path: Path) -> object:
    from geo_mm.labels import LabelOptions
    from geo_mm.labels.layer import LabelLayer

    layer = LabelLayer.read(path, ('a', 'b'), LabelOptions(class_column='class'))
    return [item.wkb for item in layer.geometries], layer.labels.tolist()


def read_layer_bare(path: Path) -> object:
    import pyogrio

    # Rings that do not close are repaired, with a warning.
    return pyogrio.read_dataframe(path, on_invalid='fix')


# --- tables and texts ---------------------------------------------------------------------------


def make_csv(folder: Path) -> Path:
    (folder / 'a.tif').touch()
    (folder / 'b.tif').touch()
    path = folder / 'catalog.csv'
    path.write_text('image,split,area,name\na.tif,train,"0 0 0.5 1",north\nb.tif,val,,2023/b\n')
    return path


def make_table(folder: Path) -> Path:
    import geopandas as gpd
    import shapely

    (folder / 'a.tif').touch()
    data = {'image': ['a.tif'], 'split': ['train'], 'name': ['north']}
    path = folder / 'catalog.gpkg'
    gpd.GeoDataFrame(data, geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(path)
    return path


def make_stac(folder: Path) -> Path:
    asset = {'href': './a.tif', 'type': 'image/tiff; application=geotiff', 'roles': ['data']}
    item = {'type': 'Feature', 'stac_version': '1.0.0', 'id': 'S2', 'assets': {'red': asset}}
    path = folder / 'item.json'
    path.write_text(json.dumps(item, indent=1))
    return path


def read_scenes(path: Path) -> object:
    from geo_mm.inference.scene_lists import find_scenes

    return repr(find_scenes([str(path)]))


# --- models -------------------------------------------------------------------------------------


def make_checkpoint(folder: Path) -> Path:
    import torch

    config = next(ROOT.glob('configs/unet/unet-s5*town*.py'))
    from mmengine.config import Config

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    meta = {'cfg': Config.fromfile(config).pretty_text, 'iter': 3}
    path = folder / 'model.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def read_weights(path: Path) -> object:
    from geo_mm.models.checkpoints import read_checkpoint

    weights = read_checkpoint(path)['state_dict']
    return {key: value.numpy().tobytes() for key, value in weights.items()}


def make_config(folder: Path) -> Path:
    from mmengine.config import Config

    path = folder / 'config.txt'
    path.write_text(Config.fromfile(next(ROOT.glob('configs/unet/unet-s5*town*.py'))).pretty_text)
    return path


def read_config(path: Path) -> object:
    from geo_mm.engine.embedded_config import config_of

    text = path.read_bytes().decode(errors='replace')
    return repr(config_of({'meta': {'cfg': text}}, path)._cfg_dict)


# --- results ------------------------------------------------------------------------------------

FACTS = {'tile': 512, 'scene': [{'path': 'a.tif', 'size': 3}], 'nodata': None}


def make_journal(folder: Path) -> Path:
    import numpy as np

    from geo_mm.inference.journal import Journal

    journal = Journal(folder / 'journal')
    journal.open(FACTS, {'time': '2026-11-22T06:30:00+00:00', 'command': []})
    for row in range(2):
        journal.write(row, {'classes': np.arange(500, dtype='uint8')}, {'carry': np.ones(9)})
    journal.close()
    return journal.folder


def read_journal(path: Path) -> object:
    from geo_mm.inference.journal import Journal

    journal = Journal(path)
    journal.open(FACTS)
    try:
        rows = [journal.read(row) for row in sorted(journal.finished())]
        return [row['classes'].tobytes() for row in rows], journal.notes
    finally:
        journal.close()


def make_result(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import geopandas as gpd
        import numpy as np
        import shapely
        from affine import Affine
        from rasterio.crs import CRS

        from geo_mm.formats import write_layer
        from geo_mm.formats.provenance import write_record
        from geo_mm.raster import Grid, RasterMetadata, RasterWriter

        made, path = provenance(), folder / f'result{suffix}'
        if suffix == '.json':
            return write_record(path, made)
        if suffix == '.tif':
            grid = Grid(Affine(0.5, 0, 5e5, 0, -0.5, 4e6), 30, 20, CRS.from_epsg(32617))
            colours = dict(enumerate(made.spec.classes.colours))
            with RasterWriter(
                path, grid, 1, 'uint8', metadata=RasterMetadata(colors=colours, tags=made.tags())
            ) as writer:
                writer.write(np.zeros((20, 30), 'uint8'))
            return path
        table = gpd.GeoDataFrame({'class': ['a']}, geometry=[shapely.box(0, 0, 1, 1)], crs=32617)
        return write_layer(table, path, metadata=made.metadata(), time=made.time)

    return make


def provenance():
    from geo_mm.classes import ClassSet
    from geo_mm.formats.provenance import FileRecord, Provenance
    from geo_mm.inputspec import InputSpec

    spec = InputSpec(
        task='pixels', classes=ClassSet(('a', 'b')), bands=('red', 'nir'), gsd=0.5, dtype='uint16',
        nodata=0, mean=(100.0, 200.0), std=(10.0, 20.0), chip_size=(256, 256),
    )  # fmt: skip
    return Provenance(
        checkpoints=(FileRecord('/m.pth', 3, 'ab'),),
        spec=spec,
        config='/c.py',
        inputs=(FileRecord('/a.tif', 3, 'cd'),),
        options={'tile': 512, 'tta': None},
        command=('geo-mm predict', 'm.pth', 'a.tif', '-o', 'out'),
        folder='/work',
        started='2026-11-22T06:30:00+00:00',
        versions={'torch': '2.0'},
    )


def read_result(path: Path) -> object:
    from geo_mm.deploy import describe

    # The first title is the path.
    return [lines for _, lines in describe(path).sections()]


# --- training sets ------------------------------------------------------------------------------


def make_chips(format: str) -> Callable[[Path], Path]:
    """A training set as ``geo-mm export-chips`` writes it."""

    def make(folder: Path) -> Path:
        from geo_mm.catalog import CatalogEntry
        from geo_mm.chip_export import ExportOptions, export_chips
        from geo_mm.classes import ClassSet
        from geo_mm.labels import LabelOptions

        (folder / 'source').mkdir()
        image = make_tiff(folder / 'source')
        labels = make_layer('.gpkg')(folder / 'source')
        options = ExportOptions(
            metadata_format=format, tile_size_x=24, tile_size_y=20, stride_x=24, stride_y=20
        )
        classes = ClassSet(('a', 'b'))
        if options.of_pixels:
            classes = ClassSet(('background', 'a', 'b'), background='background')
        export_chips(
            [CatalogEntry(str(image), str(labels))],
            classes,
            folder / 'set',
            options,
            label_options=LabelOptions(class_column='class'),
        )
        shutil.rmtree(folder / 'source')
        return folder / 'set'

    return make


def make_dota(folder: Path) -> Path:
    from PIL import Image

    for kind in ('images', 'labelTxt'):
        (folder / 'set' / kind).mkdir(parents=True)
    Image.new('RGB', (60, 40)).save(folder / 'set' / 'images' / 'a.png')
    text = 'gsd:0.5\n10.0 0.0 20.0 10.0 10.0 20.0 0.0 10.0 plane 0\n1 1 3 1 3 3 1 3 ship 1\n'
    (folder / 'set' / 'labelTxt' / 'a.txt').write_text(text)
    return folder / 'set'


def read_chips(path: Path) -> object:
    from geo_mm.catalog import SceneOptions, open_labelled, read_training_set
    from geo_mm.labels import LabelOptions

    found = read_training_set(path)
    names = () if found.classes is None else found.classes.names
    content: list[object] = [found.kind, names]
    for entry in found.entries:
        objects = found.kind != 'pixels'
        item = open_labelled(entry, names, SceneOptions(), LabelOptions(), objects=objects)
        labels, grid = item.labels, item.scene.grid
        if objects:
            drawn = ([shape.wkb for shape in labels.geometries], labels.labels.tolist())
        else:
            drawn = labels.classes(grid.window).tobytes()
        content += [entry.image, entry.split, drawn]
    return content


TRAINING_SETS = (
    *('PASCAL_VOC_rectangles', 'KITTI_rectangles', 'RCNN_Masks', 'Classified_Tiles'),
    *('Labeled_Tiles', 'COCO', 'YOLO_polygons', 'Pascal_VOC', 'Masks'),
)

READERS = {
    'scene': Reader(make_tiff, read_scene, read_tiff_bare),
    'label raster': Reader(make_tiff, read_label_raster, read_tiff_bare),
    'GeoJSON': Reader(make_layer('.geojson'), read_labels),
    'GeoPackage': Reader(make_layer('.gpkg'), read_labels, read_layer_bare),
    'FlatGeobuf': Reader(make_layer('.fgb'), read_labels, read_layer_bare),
    'catalog.csv': Reader(make_csv, read_scenes),
    'catalog.gpkg': Reader(make_table, read_scenes, read_layer_bare),
    'STAC item': Reader(make_stac, read_scenes),
    'checkpoint': Reader(make_checkpoint, read_weights, 'checked'),
    'config in it': Reader(make_config, read_config),
    'journal': Reader(make_journal, read_journal, 'checked'),
    'record': Reader(make_result('.json'), read_result),
    'result.tif': Reader(make_result('.tif'), read_result, read_tiff_bare),
    'result.gpkg': Reader(make_result('.gpkg'), read_result, read_layer_bare),
    **{name: Reader(make_chips(name), read_chips) for name in TRAINING_SETS},
    'DOTA': Reader(make_dota, read_chips),
}


# --- damage -------------------------------------------------------------------------------------


def damage(content: bytes, rng: random.Random) -> bytes:
    """Changes a file's content at random places."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        place = rng.randrange(len(data)) if data else 0
        length = min(rng.choice([1, 1, 2, 4, 16, 200]), max(len(data) - place, 0))
        match rng.choice(['flip', 'flip', 'flip', 'write', 'cut', 'leave out', 'repeat', 'swap']):
            case 'flip' if data:
                data[place] ^= 1 << rng.randrange(8)
            case 'write':
                filler = rng.choice([b'\x00', b'\xff', b'9', b'[', b'"', b'-', b'\xc3'])
                data[place : place + length] = filler * length
            case 'cut' if rng.random() < 0.3:
                del data[place:]
            case 'leave out':
                del data[place : place + length]
            case 'repeat':
                data[place:place] = data[place : place + length] * rng.choice([1, 2, 50])
            case 'swap':
                other = rng.randrange(len(data)) if data else 0
                part = bytes(data[other : other + length])
                data[place : place + len(part)] = part
    return bytes(data)


def damaged_copy(source: Path, folder: Path, seed: str) -> Path:
    """A copy of a file, or of a folder of which one file is damaged, with what is next to it."""
    rng = random.Random(seed)
    shutil.copytree(source.parent, folder)
    path = folder / source.name
    files = [path] if path.is_file() else sorted(item for item in path.rglob('*') if item.is_file())
    victim = rng.choice([item for item in files if item.stat().st_size])
    victim.write_bytes(damage(victim.read_bytes(), rng))
    return path


# --- running ------------------------------------------------------------------------------------


def outcome(reader: Reader, path: Path, whole: object) -> tuple[str, str]:
    """What reading a damaged file gives, and details of an error."""
    from geo_mm.errors import GeoMMError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = reader.read(path)
    except GeoMMError:
        return 'refused', ''
    except BaseException:
        return 'traceback', traceback.format_exc()
    if digest(found) == digest(whole):
        return 'same', ''
    if reader.bare == 'checked':
        return 'silent', 'other content in spite of checksums'
    if reader.bare is not None:
        try:
            reader.bare(path)
        except Exception as error:
            return 'silent', f'read by us, and refused bare: {error!r}'
    return 'changed', ''


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode(errors='replace')).hexdigest()


def work(tasks: list[tuple[str, int]], seed: int, connection) -> None:
    """Runs cases one after the other and sends ``(outcome, details)`` of each."""
    logging.disable()
    with tempfile.TemporaryDirectory() as place:
        known: dict[str, tuple[Path, object]] = {}
        for name, case in tasks:
            reader = READERS[name]
            if name not in known:
                folder = Path(place, name)
                folder.mkdir()
                path = reader.make(folder)
                # A copy, since reading a journal changes it.
                shutil.copytree(folder, Path(place, 'read'))
                known[name] = path, reader.read(Path(place, 'read', path.name))
                shutil.rmtree(Path(place, 'read'))
            source, whole = known[name]
            path = damaged_copy(source, Path(place, 'read'), f'{name}/{seed}/{case}')
            connection.send(('begins', str(path)))
            connection.send(outcome(reader, path, whole))
            connection.recv()
            shutil.rmtree(path.parent)


def run(tasks: list[tuple[str, int]], seed: int, timeout: float, keep: Path | None) -> Counter:
    """Runs cases; counts outcomes by ``(reader, outcome)``.

    Args:
        tasks: Reader and number of each case.
        seed: Of the damage.
        timeout: Seconds until a case hangs.
        keep: Folder for files that cause errors.
    """
    context = multiprocessing.get_context('spawn')
    counts: Counter = Counter()
    left = list(tasks)
    while left:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(left, seed, theirs), daemon=True)
        process.start()
        theirs.close()
        alive, path, waited = True, '', 300.0  # for the imports
        while left and alive:
            what, details = _received(ours, waited)
            if what == 'begins':
                path, waited = details, timeout
                continue
            if not path:
                raise SystemExit(f'{left[0][0]}: the whole file cannot be read')
            alive = what not in ('hang', 'crash')
            name, case = left.pop(0)
            counts[name, what] += 1
            if what in ERRORS:
                print(f'{name}, case {case}, seed {seed}: {what}\n{details}', file=sys.stderr)
                if keep is not None and Path(path).parent.is_dir():
                    shutil.copytree(
                        Path(path).parent, keep / f'{name}-{seed}-{case}', dirs_exist_ok=True
                    )
            path = ''
            if alive:
                ours.send('go on')
        process.kill()
        process.join()
    return counts


def _received(connection, timeout: float) -> tuple[str, str]:
    try:
        return connection.recv() if connection.poll(timeout) else ('hang', f'{timeout} s')
    except (EOFError, ConnectionError):
        return 'crash', 'the process ended'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--cases', type=int, default=150, help='for each reader (default: 150)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=READERS, help='readers')
    parser.add_argument('--timeout', type=float, default=30, help='seconds until a case hangs')
    parser.add_argument('--keep', type=Path, help='folder for the files that caused errors')
    args = parser.parse_args()
    names = args.only or list(READERS)
    tasks = [(name, case) for name in names for case in range(args.cases)]
    counts = run(tasks, args.seed, args.timeout, args.keep)
    kinds = ('same', 'refused', 'changed', *ERRORS)
    print(f'{"reader":22}' + ''.join(f'{kind:>11}' for kind in kinds))
    for name in names:
        print(f'{name:22}' + ''.join(f'{counts[name, kind]:11}' for kind in kinds))
    total = {kind: sum(counts[name, kind] for name in names) for kind in kinds}
    print(f'{"all":22}' + ''.join(f'{count:11}' for count in total.values()))
    if any(total[kind] for kind in ERRORS):
        raise SystemExit(1)


if __name__ == '__main__':
    main()
