"""Layers of DeepDetect's Caffe, for sequences of labels."""

from __future__ import annotations

ORIGIN = "DeepDetect (jolibrain/caffe)"
