"""Plug-in of QGIS: geo_mm as Processing algorithms."""


def classFactory(iface):  # noqa: N802
    """What QGIS calls to load the plug-in."""
    from .provider import GeoMMPlugin

    return GeoMMPlugin()
