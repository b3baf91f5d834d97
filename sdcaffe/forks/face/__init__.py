"""Layers that train nets for faces: margins between classes, and classes drawn to their centres."""

from __future__ import annotations

ORIGIN = "L-Softmax, SphereFace (wy1iu) and caffe-face (ydwen)"
