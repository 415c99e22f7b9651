"""A stand-in for ArcGIS, which calls a raster function as its protocol says.

It knows nothing of geo_mm: it unpacks a package, imports the raster function by its
name, asks for its parameters and configuration, and hands over blocks of pixels.
"""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np


class Host:
    """A model package in use.

    Args:
        package: ``.dlpk`` file.
        folder: Where to unpack it.
        **scalars: What a user has entered, such as ``padding``.
    """

    def __init__(self, package: Path, folder: Path, **scalars: object) -> None:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)
        (definition,) = folder.glob('*.emd')
        self.emd = json.loads(definition.read_text())
        path = folder / self.emd['InferenceFunction']
        spec = importlib.util.spec_from_file_location(f'of_{folder.name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.function = getattr(module, path.stem)()
        self.function.initialize(model=str(definition), device=-1)
        self.parameters = {item['name']: item for item in self.function.getParameterInfo()}
        defaults = {name: item['value'] for name, item in self.parameters.items()}
        self.configuration = self.function.getConfiguration(**{**defaults, **scalars})

    def classify(self, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """``(height, width)`` classes of a raster ``(bands, height, width)``."""
        info = self.function.updateRasterInfo(output_info={}, raster_info={})['output_info']
        assert info['bandCount'] == 1
        self.table = json.loads(info['rasterAttributeTable'])
        out = np.full(mask.shape, 99, info['pixelType'])
        for y, x, blocks in self._blocks(pixels, mask):
            shape = (self.configuration['ty'], self.configuration['tx'])
            props = {'pixelType': info['pixelType']}
            found = self.function.updatePixels((x, y), shape, props, **blocks)['output_pixels']
            assert found.shape == (1, *shape) and found.dtype == info['pixelType']
            part = out[y : y + shape[0], x : x + shape[1]]
            part[...] = found[0, : part.shape[0], : part.shape[1]]
        return out

    def detect(self, pixels: np.ndarray, mask: np.ndarray) -> list[dict]:
        """Features, their corners in pixels of the raster."""
        assert self.function.getGeometryType() == 4
        names = [field['name'] for field in json.loads(self.function.getFields())['fields']]
        features = []
        for y, x, blocks in self._blocks(pixels, mask):
            found = json.loads(self.function.vectorize(**blocks)['output_vectors'])
            for feature in found['features']:
                assert set(feature['attributes']) <= set(names)
                rings = feature['geometry']['rings']
                feature['rings'] = [np.add(ring, (x, y)) for ring in rings]
                features.append(feature)
        return features

    def _blocks(self, pixels, mask):
        """Blocks with their border; what is outside the raster has no data."""
        wanted = self.configuration
        border, step = wanted['padding'], (wanted['ty'], wanted['tx'])
        taken = pixels[list(wanted['extractBands'])]
        sides = [(border, border + length) for length in step]
        padded = np.pad(taken, [(0, 0), *sides])
        valid = np.pad(mask.astype('u1'), sides)
        for y in range(0, mask.shape[0], step[0]):
            for x in range(0, mask.shape[1], step[1]):
                where = slice(y, y + step[0] + 2 * border), slice(x, x + step[1] + 2 * border)
                block = padded[(slice(None), *where)].copy()
                yield (
                    y,
                    x,
                    {
                        'raster_pixels': block,
                        'raster_mask': np.broadcast_to(valid[where], block.shape).copy(),
                    },
                )
