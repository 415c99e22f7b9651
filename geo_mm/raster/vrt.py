"""What a VRT may show: rasters, and not the bytes of any file.

A raw band of a VRT (``VRTRawRasterBand``) takes any file for pixels. A VRT of
unknown origin could put a private file into a result that is passed on, and
GDAL before 3.12 has no switch against it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import rasterio

from geo_mm.errors import SceneError

_SOURCES = ('sourcefilename', 'sourcedataset')
_START = b'<VRTDataset'


def check_vrt(path: str, dataset: rasterio.DatasetReader) -> None:
    """Refuses a VRT with raw bands, also in VRT files on this machine that it is made of.

    Raises:
        SceneError: If there are any, or the XML cannot be read.
    """
    text = ''.join(dataset.tags(ns='xml:VRT').values()) or Path(path).read_text(errors='replace')
    for name, tree in _trees(path, text):
        values = (value for item in tree.iter() for value in (*item.attrib.values(), item.text))
        if any((value or '').strip().lower() == 'vrtrawrasterband' for value in values):
            raise SceneError(
                f'{name}: a VRT with raw bands, which can show any file of this machine as pixels',
                'a VRT whose sources are rasters',
                f'if you trust it, make a copy: gdal_translate {Path(path).name} copy.tif',
            )


def _trees(path: str, text: str) -> Iterator[tuple[str, ElementTree.Element]]:
    """A VRT and those below it, with their names."""
    pending, seen = [(path, text)], {path}
    while pending:
        name, text = pending.pop()
        try:
            tree = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise SceneError(f'{name}: a VRT whose XML is damaged: {error}', 'valid XML') from error
        yield name, tree
        for source in _sources(tree, os.path.dirname(name)):
            inner = _vrt_text(source)
            if inner is not None and source not in seen:
                seen.add(source)
                pending.append((source, inner))


def _sources(tree: ElementTree.Element, folder: str) -> Iterator[str]:
    for item in tree.iter():
        if item.tag.lower() in _SOURCES and item.text:
            relative = any(k.lower() == 'relativetovrt' and v == '1' for k, v in item.items())
            yield os.path.join(folder, item.text) if relative else item.text


def _vrt_text(source: str) -> str | None:
    """The XML of a source that is itself a VRT, in a file or in place."""
    if source.lstrip().encode(errors='replace').startswith(_START):
        return source
    try:
        with open(source, 'rb') as file:
            head = file.read(1024)
            return (head + file.read()).decode(errors='replace') if _START in head else None
    except (OSError, ValueError):  # GDAL says what is wrong with it
        return None
