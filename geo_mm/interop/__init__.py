"""Other people's formats for models and results."""

from geo_mm.interop.stac import stac_item, write_stac_item

__all__ = ['stac_item', 'write_stac_item']
