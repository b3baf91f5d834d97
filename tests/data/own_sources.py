"""A plugin: images whose pixels say which image it is, of any length and kind, and sources with mistakes."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from sdcaffe import Source, register_source


@register_source("ramp")
class Ramp(Source):
    """`ramp:N`: N images (1, 2, 3), image i all i; with `kind: "double"` they are i + 0.25."""

    class Fields:
        kind: Annotated[str, 1901] = "bytes"

    def __init__(self, where, param, color):
        super().__init__(where, param, color)
        self.count, self.kind, self.closed = int(where), param.kind, False

    def __len__(self):
        return self.count

    def read(self, index):
        if self.kind == "late":
            return [index], 0
        if self.kind == "broken" and index == 5:
            raise KeyError(index)
        dtype = np.float64 if self.kind == "double" else np.uint8
        return np.full((1, 2, 3), index + (0.25 if self.kind == "double" else 0), dtype), index % 4

    def close(self):
        self.closed = True
