"""Layers of transfer learning: domain-adversarial nets, and thuml's losses between two domains."""

from __future__ import annotations

ORIGIN = "thuml's Xlearn and transfer-caffe"
