"""What :func:`geo_mm.doctor` is told about data that no config describes."""

from dataclasses import dataclass

from geo_mm.options import option


@dataclass(frozen=True)
class DoctorOptions:
    """What a folder or table does not say; a config says all but the last itself."""

    labels: str | None = option(
        None, 'labels of images; {stem} stands for the name of an image', metavar='FILE'
    )
    aoi: str | None = option(
        None, 'polygons outside which nothing is learnt or scored', metavar='FILE'
    )
    class_column: str | None = option(
        None, 'attribute of the labels that holds the class', metavar='COLUMN'
    )
    gsd: float | None = option(
        None, 'metres per pixel that will be trained at (default: of each scene)', metavar='METRES'
    )
    chip_size: int = option(256, 'side of a chip', metavar='PIXELS')
    most: int = option(
        64, 'scenes of a split to look at; of more, evenly spread ones', metavar='SCENES'
    )
