"""Layers of YOLO's ports to Caffe: MobileNet-YOLO's (eric612/MobileNet-YOLO) and Intel Caffe's."""

from __future__ import annotations

ORIGIN = "MobileNet-YOLO (eric612/MobileNet-YOLO)"
