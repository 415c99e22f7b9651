"""Python raster functions of ArcGIS for a model of geo_mm.

This file is copied into a model package (.dlpk) beside a model definition (.emd) and
an ONNX file, under the name of one of the classes below: ArcGIS looks for a class that
is called like its file. It stands alone and needs numpy and onnxruntime. The host hands
over blocks of pixels, each a grid of chips with a common border of ``padding`` pixels.

Not tested in ArcGIS Pro: tests drive it by a stand-in for the host.

Copyright (c) geo_mm developers. Licensed under the Apache License, Version 2.0.
"""

import json
import math
import os

import numpy as np

_RESAMPLING_AND_MORE = 2 | 4 | 8
"""Properties that the output inherits: extent and so on, not pixel type and bands."""


class _RasterFunction:
    """What the functions for pixels and for objects have in common."""

    name = ''
    description = ''
    arguments: tuple = ()

    def initialize(self, **kwargs):
        """Load the model: ``model`` is the path of the definition, or its text."""
        model = kwargs['model']
        if os.path.isfile(model):
            folder = os.path.dirname(os.path.abspath(model))
            with open(model, encoding='utf-8-sig') as file:
                self.emd = json.load(file)
        else:
            folder = os.path.dirname(os.path.abspath(__file__))
            self.emd = json.loads(model)
        self.session = _session(os.path.join(folder, self.emd['ModelFile']), kwargs.get('device'))
        self.stride = self.emd['GeoMM']['stride']
        self.getConfiguration()

    def getParameterInfo(self):
        required = (
            ('raster', 'raster', None, 'Input raster'),
            ('model', 'string', None, 'Model definition'),
            ('device', 'numeric', -1, 'Device: -1 for the CPU, else the number of a GPU'),
        )
        emd = getattr(self, 'emd', {})
        return [
            {
                'name': name,
                'dataType': kind,
                'value': emd.get(key, value),
                'required': number < len(required),
                'displayName': name.replace('_', ' ').capitalize(),
                'description': text,
            }
            for number, (name, kind, value, text, key) in enumerate(
                [(*each, '') for each in required] + list(self.arguments)
            )
        ]

    def getConfiguration(self, **scalars):
        """What blocks the host hands over: rows and columns of chips, with a border."""
        emd = self.emd
        side = int(scalars.get('tile_size') or emd['ImageHeight'])
        padding = scalars.get('padding')
        padding = int(emd['Padding'] if padding is None else padding)
        if not 0 <= 2 * padding < side:
            raise ValueError(f'padding {padding}: less than half a chip of {side} pixels is needed')
        self.side, self.padding = layout(side, padding, self.stride)
        threshold = scalars.get('threshold')
        self.threshold = float(emd.get('Threshold', 0) if threshold is None else threshold)
        rows = max(1, math.isqrt(int(scalars.get('batch_size') or emd['BatchSize'])))
        self.step = self.side - 2 * self.padding
        return {
            'extractBands': tuple(emd['ExtractBands']),
            'padding': self.padding,
            'tx': self.step * rows,
            'ty': self.step * rows,
            'fixedTileSize': 1,
            'batch_size': rows * rows,
            'inheritProperties': _RESAMPLING_AND_MORE,
            'inputMask': True,
        }

    def outputs(self, blocks):
        """What the model gives for each chip of a block.

        Args:
            blocks: ``raster_pixels`` ``(bands, height, width)`` and ``raster_mask``, 0 where
                there is no data, each with the border.

        Returns:
            Whether pixels have data, and for each chip its row and column without
            border, and the outputs of the model for it by name.
        """
        pixels = np.asarray(blocks['raster_pixels'])
        image = pixels.astype(np.float32)  # a copy
        valid = np.ones(pixels.shape[1:], bool)
        if blocks.get('raster_mask') is not None:
            mask = np.asarray(blocks['raster_mask'])
            valid = mask.reshape(-1, *mask.shape[-2:]).max(0) != 0
        image[:, ~valid] = np.nan  # which the model takes for no data
        places, chips = [], []
        border, side = 2 * self.padding, self.side
        for top in range(0, max(1, pixels.shape[1] - border), self.step):
            for left in range(0, max(1, pixels.shape[2] - border), self.step):
                part = image[:, top : top + side, left : left + side]
                chip = np.full((len(image), side, side), np.nan, np.float32)
                chip[:, : part.shape[1], : part.shape[2]] = part
                places.append((top, left))
                chips.append(chip)
        names = [output.name for output in self.session.get_outputs()]
        found = []
        for place, chip in zip(places, chips):
            if np.isnan(chip[0]).all():
                found.append((*place, None))
                continue
            values = self.session.run(names, {'image': chip[None]})
            outputs = dict(zip(names, values))
            found.append((*place, {n: v if n == 'masks' else v[0] for n, v in outputs.items()}))
        return valid, found


class GeoMMPixelClassifier(_RasterFunction):
    """Classes of pixels, for the tool Classify Pixels Using Deep Learning."""

    name = 'geo_mm pixel classifier'
    description = 'Classifies pixels with a model that was trained with geo_mm.'
    arguments = (
        ('padding', 'numeric', 64, 'Border of a chip that is not used', 'Padding'),
        ('batch_size', 'numeric', 4, 'Chips at a time', 'BatchSize'),
        ('tile_size', 'numeric', 256, 'Side of a chip', 'ImageHeight'),
    )

    def updateRasterInfo(self, **kwargs):
        names = ('OID', 'Value', 'Class', 'Red', 'Green', 'Blue')
        kinds = ('OID', 'Integer', 'String', 'Integer', 'Integer', 'Integer')
        table = {
            'objectIdFieldName': 'OID',
            'fields': [
                {'name': name, 'type': f'esriFieldType{kind}', 'alias': name}
                for name, kind in zip(names, kinds)
            ],
            'features': [
                {
                    'attributes': dict(
                        zip(names, (number, item['Value'], item['Name'], *item['Color']))
                    )
                }
                for number, item in enumerate(self.emd['Classes'], 1)
            ],
        }
        kwargs['output_info']['bandCount'] = 1
        kwargs['output_info']['pixelType'] = 'u1'
        kwargs['output_info']['rasterAttributeTable'] = json.dumps(table)
        return kwargs

    def updatePixels(self, tlc, shape, props, **pixelBlocks):
        """``output_pixels`` ``(1, height, width)`` without border; 0 where there is no data."""
        valid, found = self.outputs(pixelBlocks)
        classes = np.zeros(valid.shape, np.uint8)
        values = np.array(self.emd['GeoMM']['values'], np.uint8)
        weights = np.array(self.emd['GeoMM']['weights'], np.float32)[:, None, None]
        border = self.padding
        for top, left, outputs in found:
            if outputs is None:
                continue
            index = (outputs['probabilities'] * weights).argmax(0)
            core = values[index][border : self.side - border, border : self.side - border]
            area = classes[top + border :, left + border :][: core.shape[0], : core.shape[1]]
            area[...] = core[: area.shape[0], : area.shape[1]]
        classes[~valid] = 0
        inner = classes[border : valid.shape[0] - border, border : valid.shape[1] - border]
        pixelBlocks['output_pixels'] = inner[None].astype(props['pixelType'], copy=False)
        return pixelBlocks


class GeoMMObjectDetector(_RasterFunction):
    """Boxes or outlines of objects, for the tool Detect Objects Using Deep Learning."""

    name = 'geo_mm object detector'
    description = 'Detects objects with a model that was trained with geo_mm.'
    arguments = (
        ('padding', 'numeric', 64, 'Border of a chip whose objects are left out', 'Padding'),
        ('threshold', 'numeric', 0.5, 'Least confidence, 0 to 1', 'Threshold'),
        ('batch_size', 'numeric', 4, 'Chips at a time', 'BatchSize'),
        ('tile_size', 'numeric', 256, 'Side of a chip', 'ImageHeight'),
    )

    def getFields(self):
        kinds = {
            'OID': 'OID',
            'Class': 'String',
            'Classvalue': 'Integer',
            'Confidence': 'Double',
            'Shape': 'Geometry',
        }
        fields = [
            {'name': name, 'type': f'esriFieldType{kind}', 'alias': name}
            for name, kind in kinds.items()
        ]
        return json.dumps({'fields': fields})

    def getGeometryType(self):
        return 4  # polygons

    def vectorize(self, **pixelBlocks):
        """``output_vectors``: objects whose centre is not in the border of their chip.

        Their corners are pixels from the upper left corner of the block without border.
        """
        _, found = self.outputs(pixelBlocks)
        features = []
        for top, left, outputs in found:
            if outputs is not None:
                for each in self._chosen(outputs):
                    features.append(self._feature(each, left, top, len(features) + 1))
        fields = json.loads(self.getFields())['fields'][:-1]
        vectors = {
            'displayFieldName': 'Class',
            'fieldAliases': {field['name']: field['name'] for field in fields},
            'geometryType': 'esriGeometryPolygon',
            'fields': fields,
            'features': [feature for feature in features if feature['geometry']['rings']],
        }
        return {'output_vectors': json.dumps(vectors)}

    def _chosen(self, outputs):
        """The objects of a chip that count: box, confidence, class and mask, if there are any."""
        middle_x, middle_y, width, height = outputs['detections'][:4]
        confidences = outputs['detections'][4:].T
        scores, border = confidences.max(1), self.padding
        inside = (middle_x >= border) & (middle_x < self.side - border)
        inside &= (middle_y >= border) & (middle_y < self.side - border)
        inside &= scores >= max(self.threshold, 1e-6)
        # Only what has a confidence has a mask.
        ordinal = np.cumsum(scores > 0) - 1
        for number in np.flatnonzero(inside):
            x, y = middle_x[number], middle_y[number]
            dx, dy = width[number] / 2, height[number] / 2
            box = (float(x - dx), float(y - dy), float(x + dx), float(y + dy))
            mask = outputs['masks'][ordinal[number]] if 'masks' in outputs else None
            yield box, float(scores[number]), int(confidences[number].argmax()), mask

    def _feature(self, found, left, top, identifier):
        """An object, its corners seen from the block without border."""
        (x_min, y_min, x_max, y_max), score, index, mask = found
        rings = [[[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max], [x_min, y_min]]]
        if mask is not None:
            limit = self.emd['GeoMM']['mask_threshold']
            rings = outlines(pasted(mask, found[0], self.side, self.side) >= limit)
        x, y = left - self.padding, top - self.padding
        item = self.emd['Classes'][index]
        return {
            'attributes': {
                'OID': identifier,
                'Class': item['Name'],
                'Classvalue': item['Value'],
                'Confidence': 100 * score,
            },
            'geometry': {'rings': [[[a + x, b + y] for a, b in ring] for ring in rings]},
        }


def layout(side, padding, stride):
    """Side and border of chips that all see the cells of the network in one place.

    A network gives a shifted image the shifted result only if the shift is a multiple of its
    largest stride. So the border is one, the nearest that is not 0, unless none is wanted, and
    so is what is inside of it, which is not less than wanted.
    """
    inner = math.ceil((side - 2 * padding) / stride) * stride
    border = max(round(padding / stride), min(padding, 1)) * stride
    return inner + 2 * border, border


def pasted(mask, box, height, width):
    """Probabilities in the cells of a box at the pixels of a chip, linear between the cells.

    Args:
        mask: ``(rows, cols)``.
        box: Left, top, right and bottom in pixels.
        height: Of the chip.
        width: Of the chip.

    Returns:
        ``(height, width)``, 0 outside the box.
    """
    rows, cols = (
        _shares(count, low, high, length)
        for count, low, high, length in zip(mask.shape, box[1::-1], box[:1:-1], (height, width))
    )
    return rows @ mask @ cols.T


def _shares(cells, low, high, length):
    """``(length, cells)``: what share each cell has in each pixel."""
    place = (np.arange(length) + 0.5 - low) / max(high - low, 1e-6) * cells - 0.5
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def outlines(mask):
    """Rings along the edges of pixels: outer ones clockwise as seen, holes the other way.

    Args:
        mask: ``(height, width)`` bool.

    Returns:
        Closed rings of ``[x, y]``, corners alone.
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    inner = padded[1:-1, 1:-1]
    ways = {}  # from a corner of a pixel to the next ones, the object on the right
    for dx, dy, neighbour, shift in (
        (1, 0, padded[:-2, 1:-1], (0, 0)),  # along the upper edge
        (0, 1, padded[1:-1, 2:], (1, 0)),
        (-1, 0, padded[2:, 1:-1], (1, 1)),
        (0, -1, padded[1:-1, :-2], (0, 1)),
    ):
        for row, col in np.argwhere(inner & ~neighbour).tolist():
            start = (col + shift[0], row + shift[1])
            ways.setdefault(start, []).append((start[0] + dx, start[1] + dy))
    rings = []
    while ways:
        path, seen = [], {}
        point = next(iter(ways))
        while point not in seen or seen[point] > 0:
            if point in seen:  # a ring of its own, which touches this one here
                first = seen[point]
                rings.append(_corners(path[first:]))
                for each in path[first:]:
                    del seen[each]
                del path[first:]
            seen[point] = len(path)
            path.append(point)
            following = ways[point]
            point = following.pop()
            if not following:
                del ways[path[-1]]
        rings.append(_corners(path))
    return rings


def _corners(path):
    """A closed ring without the points on straight edges."""
    ring = [
        list(here)
        for before, here, after in zip([path[-1], *path], path, [*path[1:], path[0]])
        if (here[0] - before[0], here[1] - before[1]) != (after[0] - here[0], after[1] - here[1])
    ]
    return [*ring, ring[0]]


def _session(path, device):
    """The network on a GPU, if it is wanted and there is one, else on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeError(
            'this model needs the package onnxruntime in the Python environment of ArcGIS: '
            'pip install onnxruntime'
        ) from error
    number = -1 if device is None else int(device)
    providers = ['CPUExecutionProvider']
    if number != -1 and 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        providers.insert(0, ('CUDAExecutionProvider', {'device_id': max(number, 0)}))
    return onnxruntime.InferenceSession(path, providers=providers)
