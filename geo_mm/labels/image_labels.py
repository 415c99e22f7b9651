"""Labels in the pixels of an image file, as the formats of training data hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.labels.classification import IGNORED_NAME, LabelOptions, numbers_of_names
from geo_mm.labels.label_raster import LabelRaster, file_grid
from geo_mm.labels.layer import Extent, LabelLayer
from geo_mm.labels.reading import made_valid
from geo_mm.raster.grid import Grid, to_map
from geo_mm.raster.projection import proj_crs


@dataclass(frozen=True, eq=False)
class ImageObjects:
    """Objects labelled in the pixels of an image.

    Attributes:
        image: The image file; it may be georeferenced or not.
        geometries: (N,) Polygons or MultiPolygons in its pixels, ``(x, y)`` from
            the upper left corner of the upper left pixel.
        names: (N,) class names, None for ignored regions.
        source: Where they are from, for messages.
        relative: Whether the coordinates are fractions of its width and height.
        grid: Where the pixels of the image are; None to look into its file.
    """

    image: str
    geometries: np.ndarray
    names: Sequence[str | None]
    source: str
    relative: bool = False
    grid: Grid | None = None

    def on_map(self) -> tuple[np.ndarray, CRS | None]:
        """The objects made valid and in map coordinates, and their CRS.

        Raises:
            LabelError: If the image cannot be opened.
        """
        grid = self.grid or file_grid(self.image)
        transform = grid.transform
        if self.relative:
            transform = transform @ Affine.scale(grid.width, grid.height)
        valid, _ = made_valid(self.geometries)
        return shapely.transform(valid, lambda xy: to_map(xy, transform)), grid.crs

    def layer(self, numbers: Mapping[str, int], options: LabelOptions) -> LabelLayer:
        """The objects in map coordinates of the image, with their class numbers.

        Args:
            numbers: Class number by name.
            options: ``class_map`` may rename, drop or ignore classes.

        Raises:
            LabelError: If a name is no class, or the image cannot be opened.
        """
        names = [IGNORED_NAME if name is None else name for name in self.names]
        kept, found = numbers_of_names(names, numbers, options, self.source)
        placed, crs = replace(self, geometries=self.geometries[kept]).on_map()
        bounds = shapely.total_bounds(placed) if len(placed) else np.full(4, np.nan)
        return LabelLayer(
            placed,
            found,
            np.flatnonzero(kept),
            None if crs is None else proj_crs(crs),
            self.source,
            replace(options, point_size=None, line_width=None),
            Extent(len(placed), bounds),
        )


@dataclass(frozen=True)
class ImageClasses:
    """A class for each pixel of an image, in a file of the same size.

    Attributes:
        image: The image file.
        path: Raster of class values, which need not be georeferenced.
        names: Class name of each value, None to ignore its pixels. Value 0
            without a name is what nothing was drawn on: the background. Where
            that is no class, its pixels are ignored.
        grid: Where the pixels of the image are; None to look into its file.
    """

    image: str
    path: str
    names: Mapping[int, str | None]
    grid: Grid | None = None

    def onto(self, classes: Sequence[str], options: LabelOptions, grid: Grid) -> LabelRaster:
        """The classes in another grid, such as that of the image at another GSD.

        Args:
            classes: Class names; the position is the class number.
            options: ``class_map`` may rename or ignore classes, by name or by value.
            grid: Grid of the scene.

        Raises:
            LabelError: If a value has no class, or the raster is of another size
                than the image.
        """
        own = self.grid or file_grid(self.image)
        ground = options.background
        values: dict[int, str | None] = {0: ground, **self.names}
        if ground not in classes:
            values = {value: None if name == ground else name for value, name in values.items()}
        renamed = {str(key): name for key, name in (options.class_map or {}).items()}
        class_map = {
            value: renamed.get(str(value), name if name is None else renamed.get(name, name))
            for value, name in values.items()
        }
        return LabelRaster.read(self.path, classes, grid, class_map, own=own)


ImageLabels = ImageObjects | ImageClasses
