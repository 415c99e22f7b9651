"""Polygons inside which results count."""

import os
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.errors import RasterioError
from shapely import STRtree

from geo_mm.errors import LabelError
from geo_mm.evaluation.places import check_both_crs, in_crs
from geo_mm.raster import Scene
from geo_mm.vector.reading import layer_name, read_layer


@dataclass(frozen=True, eq=False)
class Area:
    """An area of interest.

    Attributes:
        name: Name of its source, for messages.
        gdf: Its polygons.
    """

    name: str
    gdf: gpd.GeoDataFrame

    @classmethod
    def read(cls, source: str | os.PathLike | gpd.GeoDataFrame) -> 'Area':
        """Read polygons, or the footprint of a raster.

        Raises:
            LabelError: If the source holds no polygon.
        """
        name = layer_name(source)
        if not isinstance(source, gpd.GeoDataFrame) and is_raster(source):
            grid = Scene.open(source).grid
            corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
            outline = shapely.Polygon([grid.transform @ corner for corner in corners])
            crs = grid.crs.to_wkt() if grid.crs else None
            return cls(name, gpd.GeoDataFrame({'fid': [0]}, geometry=[outline], crs=crs))
        gdf = read_layer(source)
        gdf = gdf[shapely.get_dimensions(np.asarray(gdf.geometry.array)) == 2]
        if gdf.empty:
            raise LabelError(f'{name}: the area of interest has no polygon', 'polygons')
        return cls(name, gdf.reset_index(drop=True))

    def holds(self, geometries: np.ndarray, crs: object) -> np.ndarray:
        """(N,) bool, geometries whose centroid lies inside or on the edge.

        Raises:
            LabelError: If only one side has a CRS.
        """
        inside = np.zeros(len(geometries), bool)
        if not len(geometries):
            return inside
        check_both_crs('the objects', crs, self.name, self.gdf.crs)
        tree = STRtree(in_crs(np.asarray(self.gdf.geometry.array), self.gdf.crs, crs))
        found, _ = tree.query(shapely.centroid(geometries), predicate='intersects')
        inside[found] = True
        return inside


def is_raster(source: str | os.PathLike) -> bool:
    """Whether GDAL opens a file as pixels; False if it is missing or a vector layer."""
    try:
        with rasterio.open(source) as dataset:
            return dataset.count > 0
    except RasterioError:
        return False
