"""Options of an export, called as those of ArcGIS' "Export Training Data For Deep Learning"."""

from dataclasses import dataclass
from typing import Literal

from geo_mm.errors import ConfigError
from geo_mm.options import option


@dataclass(frozen=True)
class ExportOptions:
    """Which chips are cut, and how they are written.

    What each field means stands in its help text, which ``geo-mm export-chips
    --help`` prints. Names and defaults are those of ArcGIS.

    Raises:
        ConfigError: If a value makes no sense.
    """

    metadata_format: Literal[
        'PASCAL_VOC_rectangles',
        'KITTI_rectangles',
        'RCNN_Masks',
        'Classified_Tiles',
        'Labeled_Tiles',
        'COCO',
        'YOLO',
        'YOLO_polygons',
        'Pascal_VOC',
        'Masks',
    ] = option(
        'PASCAL_VOC_rectangles',
        'the first five as ArcGIS writes them, with its metadata; COCO with polygons, YOLO with '
        'boxes or polygons, Pascal VOC with names of classes, or images and masks',
    )
    image_chip_format: Literal['TIFF', 'PNG', 'JPEG'] = option(
        'TIFF', 'format of the chips; PNG and JPEG take at most 3 bands of 8 bits'
    )
    tile_size_x: int = option(256, 'columns of a chip')
    tile_size_y: int = option(256, 'rows of a chip')
    stride_x: int = option(128, 'columns from one chip to the next')
    stride_y: int = option(128, 'rows from one chip to the next')
    output_nofeature_tiles: Literal['ONLY_TILES_WITH_FEATURES', 'ALL_TILES'] = option(
        'ONLY_TILES_WITH_FEATURES', 'whether chips without any labelled object are written'
    )
    min_polygon_overlap_ratio: float = option(
        0.0, 'least share of an object inside a chip, 0 to 1; others are left out of its labels'
    )
    rotation_angle: float = option(
        0.0, 'degrees: every chip is written again at each multiple of it; 0 does not rotate'
    )
    workers: int = option(1, 'threads that cut chips, without a cluster')
    cluster: str | None = option(
        None,
        'cut chips on the workers of a Dask cluster: the address of its scheduler, or '
        'local, or local:N for N processes',
        flag='--dask',
        metavar='CLUSTER',
    )

    def __post_init__(self) -> None:
        sides = (self.tile_size_x, self.tile_size_y, self.stride_x, self.stride_y, self.workers)
        if min(sides) < 1:
            raise ConfigError(
                f'tile size {sides[0]} x {sides[1]}, stride {sides[2]} x {sides[3]}, '
                f'{sides[4]} workers',
                'positive numbers',
            )
        if not 0 <= self.min_polygon_overlap_ratio <= 1:
            raise ConfigError(
                f'min_polygon_overlap_ratio={self.min_polygon_overlap_ratio}', 'a share from 0 to 1'
            )
        if not 0 <= self.rotation_angle < 360:
            raise ConfigError(
                f'rotation_angle={self.rotation_angle}', 'degrees from 0 to below 360'
            )

    @property
    def of_pixels(self) -> bool:
        """Whether the labels are classes of pixels, not objects."""
        return self.metadata_format in ('Classified_Tiles', 'Masks')

    @property
    def is_arcgis(self) -> bool:
        """Whether ArcGIS' metadata are written beside the chips."""
        return self.metadata_format.endswith(('_rectangles', '_Masks', '_Tiles'))

    @property
    def suffix(self) -> str:
        """Of the chips' files."""
        return {'TIFF': '.tif', 'PNG': '.png', 'JPEG': '.jpg'}[self.image_chip_format]
