"""What is wrong with data, before a model is trained on them: ``geo_mm.doctor``."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.data_checks.diagnosis import Diagnosis as Diagnosis
    from geo_mm.data_checks.diagnosis import doctor as doctor
    from geo_mm.data_checks.findings import Finding as Finding
    from geo_mm.data_checks.findings import Severity as Severity
    from geo_mm.data_checks.options import DoctorOptions as DoctorOptions

# The options must be known without numpy, to `geo-mm doctor --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'diagnosis': ('Diagnosis', 'doctor'),
        'findings': ('Finding', 'Severity'),
        'options': ('DoctorOptions',),
    },
)
