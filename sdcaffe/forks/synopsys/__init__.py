"""Layers of Synopsys' Caffe, for nets that came from TensorFlow, ONNX and darknet."""

from __future__ import annotations

ORIGIN = "Synopsys' Caffe (foss-for-synopsys-dwc-arc-processors/synopsys-caffe)"
