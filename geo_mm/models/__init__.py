"""Registered model parts that MMDetection and MMSegmentation lack, and pretrained weights.

:mod:`geo_mm.registry` lists the modules with registered parts. They are not imported
here, since what pretrained weights there are is told without PyTorch.
"""
