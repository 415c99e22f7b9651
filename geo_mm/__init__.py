"""Deep learning on georeferenced imagery with MMDetection and MMSegmentation."""

__version__ = '0.1.0'
