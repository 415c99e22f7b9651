"""Packs the plug-in for QGIS into geo_mm_qgis.zip, for Plugins > Install from ZIP."""

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def pack(target: Path) -> Path:
    """Write the plug-in with its licence."""
    files = [
        path
        for path in sorted((HERE / 'geo_mm_qgis').rglob('*'))
        if path.is_file() and path.suffix in ('.py', '.txt')
    ]
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(HERE))
        archive.write(HERE.parents[1] / 'LICENSE', 'geo_mm_qgis/LICENSE')
    return target


if __name__ == '__main__':
    print('wrote', pack(Path(sys.argv[1] if len(sys.argv) > 1 else 'geo_mm_qgis.zip')))
