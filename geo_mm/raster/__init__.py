"""Scenes, tiles, band statistics and raster output. Imports neither torch nor mm*."""

from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.scene import Scene
from geo_mm.raster.statistics import BandStatistics, band_statistics
from geo_mm.raster.tiling import Tile, tile_plan, tile_starts
from geo_mm.raster.writer import RasterMetadata, RasterWriter, write_cog

__all__ = [
    'BandStatistics',
    'Grid',
    'RasterMetadata',
    'RasterWriter',
    'Scene',
    'Tile',
    'Window',
    'band_statistics',
    'tile_plan',
    'tile_starts',
    'write_cog',
]
