"""Runs the plug-in Deepness itself, in QGIS, on an exported U-Net, and compares the classes.

In three steps, since QGIS has a Python of its own, and Deepness wants onnxruntime <= 1.17:

    git clone https://github.com/PUTvision/qgis-plugin-deepness deepness
    pip install --target packages onnxruntime==1.17.0 lxml 'numpy<2' \\
        opencv-python-headless==4.9.0.80
    python tools/dev/deepness_proof.py ours CHECKPOINT SCENE OUT
    PYTHONPATH=deepness:deepness/src:packages QT_QPA_PLATFORM=offscreen \\
        /usr/bin/python3 tools/dev/deepness_proof.py theirs OUT
    python tools/dev/deepness_proof.py compare OUT

The scene is written at the GSD of the model first, since Deepness resamples otherwise
than geo_mm, and cropped so that its tiles fit. Deepness may lose a row or column where it
rounds the extent: the shift of at most a pixel with which most classes agree counts.
"""

import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

TILE, OVERLAP = 512, 128
"""Deepness takes the overlap from the file: 25 %."""


def ours(checkpoint: str, scene: str, out: Path) -> None:
    """Writes the scene, the exported model and the classes that geo_mm predicts."""
    import rasterio

    from geo_mm import Predictor, Scene, export_model

    out.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(checkpoint, device='cpu', tile=TILE, force=True)
    gsd, step = predictor.spec.gsd, TILE - OVERLAP
    image, _ = Scene.open(scene).at_gsd(gsd).read()
    height, width = ((side - TILE) // step * step + TILE for side in image.shape[1:])
    image = image[:, :height, :width]
    profile = dict(driver='GTiff', count=len(image), height=height, width=width, dtype=image.dtype)
    grid = dict(crs='EPSG:32645', transform=rasterio.Affine(gsd, 0, 300_000, 0, -gsd, 3_060_000))
    with rasterio.open(out / 'scene.tif', 'w', **profile, **grid, photometric='RGB') as file:
        file.write(image)
    export_model(checkpoint, out, formats=['deepness'], tile=TILE, name='model')
    np.save(out / 'ours.npy', predictor.predict(out / 'scene.tif').classes)


def theirs(out: Path) -> None:
    """Runs Deepness as its dialog does."""
    from deepness.common.processing_overlap import ProcessingOverlap, ProcessingOverlapOptions
    from deepness.common.processing_parameters.map_processing_parameters import ProcessedAreaType
    from deepness.common.processing_parameters.segmentation_parameters import (
        SegmentationParameters,
    )
    from deepness.processing.map_processor.map_processor_segmentation import (
        MapProcessorSegmentation,
    )
    from deepness.processing.models.segmentor import Segmentor
    from qgis.core import QgsApplication, QgsProject, QgsRasterLayer
    from test.test_utils import create_default_input_channels_mapping_for_rgb_bands

    application = QgsApplication([], False)
    application.initQgis()
    layer = QgsRasterLayer(str(out / 'scene.tif'), 'scene')
    QgsProject.instance().addMapLayer(layer)
    model = Segmentor(str(out / 'model.deepness.onnx'))
    overlap = int(model.get_metadata_tiles_overlap())
    parameters = SegmentationParameters(
        resolution_cm_per_px=model.get_metadata_resolution(),
        tile_size_px=model.get_metadata_tile_size(),
        batch_size=1,
        local_cache=False,
        processed_area_type=ProcessedAreaType.ENTIRE_LAYER,
        mask_layer_id=None,
        input_layer_id=layer.id(),
        input_channels_mapping=create_default_input_channels_mapping_for_rgb_bands(),
        postprocessing_dilate_erode_size=model.get_metadata_segmentation_small_segment(),
        processing_overlap=ProcessingOverlap(
            ProcessingOverlapOptions.OVERLAP_IN_PERCENT, percentage=overlap
        ),
        pixel_classification__probability_threshold=model.get_metadata_segmentation_threshold(),
        model=model,
    )
    processor = MapProcessorSegmentation(
        rlayer=layer, vlayer_mask=None, map_canvas=MagicMock(), params=parameters
    )
    processor.run()
    np.save(out / 'theirs.npy', np.asarray(processor.get_result_img())[0])


def compare(out: Path) -> None:
    # Deepness writes class + 1.
    found = np.load(out / 'theirs.npy').astype(int) - 1
    expected = np.load(out / 'ours.npy').astype(int)
    shares = {}
    for row in range(2):
        for col in range(2):
            part = expected[row : row + len(found), col : col + found.shape[1]]
            shares[row, col] = (part == found[: len(part), : part.shape[1]]).mean()
    shift = max(shares, key=shares.__getitem__)
    print(f'Deepness: {found.shape}, geo_mm: {expected.shape}, shifted by {shift}')
    print(f'same class on {shares[shift]:.3%} of pixels')


if __name__ == '__main__':
    what, *rest = sys.argv[1:]
    if what == 'ours':
        ours(rest[0], rest[1], Path(rest[2]))
    else:
        {'theirs': theirs, 'compare': compare}[what](Path(rest[0]))
