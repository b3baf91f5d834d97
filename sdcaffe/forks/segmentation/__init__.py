"""Data, layers and measures of the segmentation forks: SegNet's, DeepLab's and PSPNet's."""

from __future__ import annotations

from sdcaffe.forks.known import SEGNET

ORIGIN = SEGNET
