"""Layers of Multitask Network Cascades (MNC, daijifeng001/caffe-mnc): regions and masks of instances."""

from __future__ import annotations

ORIGIN = "MNC (daijifeng001/caffe-mnc)"
