"""Data, layers and measures of the segmentation forks: SegNet's, DeepLab's and PSPNet's."""

from __future__ import annotations

ORIGIN = "SegNet (alexgkendall/caffe-segnet)"
