"""How far a trained net relies on single directions: its accuracy as more and more of its units are clamped."""

from __future__ import annotations

from sdcaffe.paper.directions.clamps import Clamps
from sdcaffe.paper.directions.reliance import Reliance, lines, measure, plot, pooled, to_csv, to_json

__all__ = ["Clamps", "Reliance", "lines", "measure", "plot", "pooled", "to_csv", "to_json"]
