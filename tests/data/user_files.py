"""Files that a user might have, under the names that the documentation uses."""

import json
import os
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import rasterize
from rasterio.warp import transform_bounds

import geo_mm
from geo_mm.labels import LabelOptions

ROOFS = {'tile': 'clay_tiles', 'metal': 'tin', 'concrete': 'concrete'}
TEJADOS = {'tile': 'teja', 'metal': 'chapa', 'concrete': 'hormigón'}


def write_user_files(folder: Path) -> None:
    """Four towns of 400 x 400 m as ``ortho/``, and everything else made from them."""
    geo_mm.make_town(folder / 'towns', scenes=4, size=800)
    images = sorted((folder / 'towns/images').iterdir())
    layers = [gpd.read_file(path) for path in sorted((folder / 'towns/labels').iterdir())]
    names = {
        f'{place}/{letter}.tif': image
        for place in ('ortho', 'orto', 'images', 'scenes')
        for letter, image in zip('abcd', images, strict=True)
    }
    for name in ('town', 'city', 'ciudad', 'mosaic', 'mosaico', 'scene', 'image'):
        names[f'{name}.tif'] = images[3]
    for name, image in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(image, folder / name)
    everything = pd.concat(layers, ignore_index=True)
    roofs = _roofs(everything)
    for name in ('roofs.gpkg', 'labels.gpkg'):
        roofs.to_file(folder / name)
    roofs.assign(material=roofs['roof'].map(TEJADOS)).to_file(folder / 'tejados.gpkg')
    trees = everything[everything['class'] == 'tree'].drop(columns=['roof', 'height_m'])
    trees.to_file(folder / 'palms.gpkg')
    points = trees.to_crs(32617).set_geometry(trees.to_crs(32617).centroid).to_crs(4326)
    for name in ('trees.gpkg', 'arboles.gpkg'):
        points.to_file(folder / name)
    (folder / 'labels').mkdir()
    for letter, layer in zip('abcd', layers, strict=True):
        kinds = layer['class'].replace('building', 'roof')
        layer.assign(kind=kinds).to_file(folder / f'labels/{letter}.gpkg')
    shutil.copytree(folder / 'labels', folder / 'etiquetas')
    table = [
        {'image': f'ortho/{x}.tif', 'labels': f'labels/{x}.gpkg', 'split': split}
        for x, split in zip('abcd', ('train', 'train', 'val', 'test'), strict=True)
    ]
    pd.DataFrame(table).to_csv(folder / 'scenes.csv', index=False)
    pd.DataFrame(table).drop(columns='split').to_csv(folder / 'catalog.csv', index=False)
    _write_masks(folder)
    shutil.copytree(folder / 'masks', folder / 'mascaras')
    _write_bands(folder)
    _write_export(folder)
    _write_drone_mosaic(folder)
    _write_results(folder, layers[3])


def _roofs(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    roofs = layer[layer['class'] == 'building'].reset_index(drop=True)
    return roofs.assign(material=roofs['roof'].map(ROOFS), tejado=roofs['roof'])


def _write_masks(folder: Path) -> None:
    """Label rasters of water, as GeoTIFFs and as plain PNGs."""
    (folder / 'masks').mkdir()
    for image in sorted((folder / 'ortho').iterdir()):
        with rasterio.open(image) as scene:
            profile, nir = scene.profile, scene.read(4)
        mask = (nir < np.percentile(nir[nir > 0], 10)).astype(np.uint8)
        options = {'count': 1, 'dtype': 'uint8', 'nodata': None}
        with rasterio.open(folder / f'masks/{image.name}', 'w', **(profile | options)) as raster:
            raster.write(mask, 1)
        with rasterio.open(
            folder / f'masks/{image.stem}.png',
            'w',
            driver='PNG',
            width=800,
            height=800,
            count=1,
            dtype='uint8',
        ) as raster:
            raster.write(mask, 1)


def _write_bands(folder: Path) -> None:
    """Sentinel-2 as a file for each band and as one file, Sentinel-1, and a STAC item."""
    for name in ('s2', 's1'):
        (folder / name).mkdir()
    with rasterio.open(folder / 'scene.tif') as scene:
        profile, pixels = scene.profile, scene.read()
    plain = {'driver': 'GTiff', 'width': 800, 'height': 800, 'crs': profile['crs']}
    plain |= {'transform': profile['transform'], 'dtype': 'uint16'}
    for name, band in zip(('B02', 'B03', 'B04', 'B08'), pixels, strict=True):
        options = {'driver': 'JP2OpenJPEG', 'count': 1, 'QUALITY': '100', 'REVERSIBLE': 'YES'}
        with rasterio.open(folder / f's2/T17_{name}.jp2', 'w', **(plain | options)) as raster:
            raster.write(band, 1)
    for name, part in {'s2/T17.tif': pixels, 's1/T17.tif': pixels[:2]}.items():
        with rasterio.open(folder / name, 'w', count=len(part), **plain) as raster:
            raster.write(part)
    with rasterio.open(folder / 'scene.tif') as scene:
        west, south, east, north = transform_bounds(scene.crs, 4326, *scene.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        'type': 'Feature',
        'stac_version': '1.0.0',
        'id': 'scene',
        'geometry': {'type': 'Polygon', 'coordinates': [ring]},
        'bbox': [west, south, east, north],
        'properties': {'datetime': '2024-11-03T10:00:00Z'},
        'links': [],
        'assets': {'image': {'href': 'scene.tif', 'type': 'image/tiff', 'roles': ['data']}},
    }
    (folder / 'items.json').write_text(json.dumps(item))


def _write_export(folder: Path) -> None:
    """Chips as ArcGIS Pro exports them."""
    for name in ('exports/palms', 'arcgis_export', 'exportacion_arcgis'):
        geo_mm.export_chips(
            geo_mm.read_catalog(folder / 'scenes.csv'),
            geo_mm.ClassSet(('tree',)),
            folder / name,
            geo_mm.ExportOptions(stride_x=256, stride_y=256),
            label_options=LabelOptions(
                class_column='class', class_map={'building': None, 'road': None, 'water': None}
            ),
        )


def _write_drone_mosaic(folder: Path) -> None:
    """The names, bands and attributes of banepa_a, and data/mine of the page Own data."""
    geo_mm.make_town(folder / 'drone', scenes=1, size=(1800, 700), gsd=0.2)
    with rasterio.open(folder / 'drone/images/town_0.tif') as scene:
        profile, pixels = scene.profile, scene.read()
    colours = np.clip(pixels[:3] / 16, 1, 255).astype(np.uint8) * (pixels[:3] > 0)
    options = {'count': 3, 'dtype': 'uint8', 'photometric': 'RGB', 'nodata': 0}
    roofs = _roofs(gpd.read_file(folder / 'drone/labels/town_0.gpkg'))
    roofs = roofs.assign(**{'roof:material': roofs['material']}).drop(columns='class')
    for image, labels in {
        'data/banepa_a/banepa_a.tif': 'banepa_a_buildings.geojson',
        'data/mine/orthophoto.tif': 'buildings.geojson',
    }.items():
        (folder / image).parent.mkdir(parents=True)
        with rasterio.open(folder / image, 'w', **(profile | options)) as raster:
            raster.write(colours)
        roofs.to_file((folder / image).with_name(labels))


def _write_results(folder: Path, truth: gpd.GeoDataFrame) -> None:
    """Results of another program: the ground truth, less each fifth object."""
    (folder / 'results').mkdir()
    truth.to_file(folder / 'labels/town_3.gpkg')
    found = truth.assign(score=0.9)[truth.index % 5 > 0]
    found.to_file(folder / 'results/town_3.gpkg')
    drone = folder / 'data/banepa_a'
    with rasterio.open(drone / 'banepa_a.tif') as scene:
        profile, shape = scene.profile, scene.shape
    buildings = gpd.read_file(drone / 'banepa_a_buildings.geojson').to_crs(profile['crs'])
    shapes = [(geometry, 1) for geometry in buildings.geometry]
    classes = rasterize(shapes, shape, transform=profile['transform'], dtype='uint8')
    options = {'count': 1, 'photometric': 'MINISBLACK', 'nodata': 255}
    with rasterio.open(folder / 'results/banepa_a.tif', 'w', **(profile | options)) as raster:
        raster.write(classes, 1)
    for name in ('banepa_a.tif', 'banepa_a_buildings.geojson'):
        os.link(drone / name, folder / name)
