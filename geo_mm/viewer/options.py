"""How results are shown."""

from dataclasses import dataclass

from geo_mm.options import option


@dataclass(frozen=True)
class ViewOptions:
    """Fields are options of ``geo-mm view``."""

    class_column: str = option('class', 'attribute with the class of a layer')
    truth_class_column: str | None = option(
        None, 'attribute with the class in the ground truth, if it has another name'
    )
    score_column: str = option('score', 'attribute with the confidence')
    port: int = option(0, 'port of this machine (default: any that is free)')
