"""Training logs beside the paper's published values: read, recognised, grouped and shown."""

from __future__ import annotations

from sdcaffe.paper.compare.comparison import (
    Comparison,
    Gain,
    Group,
    Row,
    Spread,
    compare,
    gains,
    read_runs,
)

__all__ = ["Comparison", "Gain", "Group", "Row", "Spread", "compare", "gains", "read_runs"]
