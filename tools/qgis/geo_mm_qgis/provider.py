"""The plug-in and its provider of Processing algorithms."""

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithms import ALGORITHMS


class GeoMMProvider(QgsProcessingProvider):
    """The algorithms, under the name geo_mm."""

    def loadAlgorithms(self):  # noqa: N802
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def id(self):
        return 'geo_mm'

    def name(self):
        return 'geo_mm'


class GeoMMPlugin:
    """Adds the provider to Processing, and takes it away."""

    def __init__(self):
        self.provider = None

    def initProcessing(self):  # noqa: N802
        self.provider = GeoMMProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):  # noqa: N802
        self.initProcessing()

    def unload(self):
        QgsApplication.processingRegistry().removeProvider(self.provider)
