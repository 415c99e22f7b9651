"""A provenance as a prediction would write it, of files that exist."""

from pathlib import Path

from geo_mm.classes import ClassSet
from geo_mm.formats.provenance import FileRecord, Provenance, file_records
from geo_mm.inputspec import InputSpec

CLASSES = ('background', 'road & rail', 'building')


def input_spec(task: str = 'pixels') -> InputSpec:
    return InputSpec(
        task=task,
        classes=ClassSet(CLASSES, background='background'),
        bands=('Red', 'NIR'),
        gsd=0.5,
        dtype='uint16',
        nodata=0,
        mean=(100.0, 200.0),
        std=(10.0, 20.0),
        chip_size=(256, 256),
    )


def provenance(place: Path, task: str = 'pixels', **changes) -> Provenance:
    """Makes a checkpoint and a scene in ``place``, too."""
    for name in ('model.pth', 'scene.tif'):
        (place / name).write_bytes(name.encode())
    return Provenance(
        **{
            'checkpoints': (FileRecord.of(place / 'model.pth'),),
            'spec': input_spec(task),
            'config': str(place / 'unet-s5_town.py'),
            'inputs': file_records([place / 'scene.tif']),
            'options': {'tile': 512, 'overlap': 64, 'tta': None, 'note': 'a <b> & ü'},
            'command': ('tools/predict.py', 'c.py', 'model.pth', 'a scene.tif', '-o', 'out'),
            'folder': str(place),
            'started': '2026-11-22T06:30:00+00:00',
            **changes,
        }
    )
