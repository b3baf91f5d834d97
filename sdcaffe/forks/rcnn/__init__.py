"""Layers of Fast R-CNN, Faster R-CNN, R-FCN and PVANet: what their nets have that BVLC Caffe lacks."""

from __future__ import annotations

ORIGIN = "Faster R-CNN and R-FCN"
