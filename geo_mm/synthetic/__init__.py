"""The embedded default: believable aerial scenes with labels, any size, seeded."""

from geo_mm.synthetic.scene import make_town

__all__ = ['make_town']
