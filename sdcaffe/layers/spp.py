"""SPP, spatial pyramid pooling: poolings into 1, 4, 16 ... bins side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import pooling_written
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, register
from sdcaffe.layers.windows import Pair, check_4d, expected_pool, place_windows, pooling_of


@register("SPP", field="spp_param")
class SPP(Layer):
    """(n, c, h, w) to (n, values): level i pools into 2^i by 2^i bins, flattened, then concatenated (He et al. 2014).

    A pyramid of height 1 is a global pooling and stays (n, c, 1, 1), as in Caffe. Raises LayerError where
    the bins are too many for the image.
    """

    param: proto.SPPParameter
    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        check_4d(self, bottom)
        height = self.param.pyramid_height
        if height < 1:
            raise self.error(f"pyramid_height (={height}) must be at least 1", "pyramid_height")
        self.pool = pooling_of(self, self.param.pool, self.phase)
        self.levels = []
        for level in range(height):
            kernel, pad = _bins(bottom, 2**level)
            if any(p >= k for p, k in zip(pad, kernel, strict=True)):
                raise self.error(
                    f"{2**level} by {2**level} bins are too many for an image of {bottom[2]} by {bottom[3]}",
                    "pyramid_height",
                )
            self.levels.append(place_windows(self, bottom, kernel, kernel, pad))
        if height == 1:
            return [(*bottom[:2], *self.levels[0].pooled)]
        return [(bottom[0], bottom[1] * sum(w.pooled[0] * w.pooled[1] for w in self.levels))]

    def forward(self, bottom: Tensor) -> Tensor:
        return _side_by_side([self.pool(bottom, windows) for windows in self.levels])

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return _side_by_side([pooling_written.pool(bottoms[0], windows, self.pool) for windows in self.levels])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        levels = [pooling_written.source(self, self.pool, windows) for windows in self.levels]
        if len(levels) == 1:
            return Source(levels[0], nests=False)
        return Source(f"torch.cat(({', '.join(f'torch.flatten({level}, 1)' for level in levels)}), 1)", nests=False)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.uniform(0.05, 1, shapes[0]) if self.pool is expected_pool else None


def _side_by_side(pooled: list[Tensor]) -> Tensor:
    return pooled[0] if len(pooled) == 1 else torch.cat([level.flatten(1) for level in pooled], 1)


def _bins(bottom: Shape, count: int) -> tuple[Pair, Pair]:
    """Kernel and padding that spread `count` windows over each axis: ceil(n / count), half of what is missing."""
    kernel = -(-bottom[2] // count), -(-bottom[3] // count)
    pad = (kernel[0] * count - bottom[2] + 1) // 2, (kernel[1] * count - bottom[3] + 1) // 2
    return kernel, pad
