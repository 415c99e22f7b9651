"""Which scenes belong with which labels, and how both are opened."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.catalog.audit import Audit as Audit
    from geo_mm.catalog.audit import AuditedScene as AuditedScene
    from geo_mm.catalog.audit import audit_splits as audit_splits
    from geo_mm.catalog.entries import CatalogEntry as CatalogEntry
    from geo_mm.catalog.entries import read_catalog as read_catalog
    from geo_mm.catalog.entries import write_catalog as write_catalog
    from geo_mm.catalog.labelled_scene import Coverage as Coverage
    from geo_mm.catalog.labelled_scene import LabelledScene as LabelledScene
    from geo_mm.catalog.labelled_scene import SceneOptions as SceneOptions
    from geo_mm.catalog.labelled_scene import TurnedScene as TurnedScene
    from geo_mm.catalog.labelled_scene import area_window as area_window
    from geo_mm.catalog.labelled_scene import open_labelled as open_labelled
    from geo_mm.catalog.labelled_scene import read_aoi as read_aoi
    from geo_mm.catalog.split_options import SplitOptions as SplitOptions
    from geo_mm.catalog.splits import SplitCatalog as SplitCatalog
    from geo_mm.catalog.splits import split_entries as split_entries
    from geo_mm.catalog.training_sets import TrainingSet as TrainingSet
    from geo_mm.catalog.training_sets import is_training_set as is_training_set
    from geo_mm.catalog.training_sets import read_training_set as read_training_set

# The options must be known without numpy, to `geo-mm split --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'audit': ('Audit', 'AuditedScene', 'audit_splits'),
        'entries': ('CatalogEntry', 'read_catalog', 'write_catalog'),
        'labelled_scene': (
            'Coverage',
            'LabelledScene',
            'TurnedScene',
            'SceneOptions',
            'area_window',
            'open_labelled',
            'read_aoi',
        ),
        'split_options': ('SplitOptions',),
        'splits': ('SplitCatalog', 'split_entries'),
        'training_sets': ('TrainingSet', 'is_training_set', 'read_training_set'),
    },
)
