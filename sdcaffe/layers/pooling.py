"""Pooling: windows of an image to one number each. The windows are windows.py's. Bottoms are 4-D, as in Caffe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import places, pooling_written, spatial
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, Tops, register
from sdcaffe.layers.places import Places
from sdcaffe.layers.windows import (
    Pair,
    Windows,
    ave_pool,
    check_4d,
    draw_pool,
    expected_pool,
    max_pool,
    max_pool_with_mask,
    place_windows,
    pooling_of,
)


@register("Pooling", field="pooling_param")
class Pooling(Layer):
    """(n, c, h, w) to (n, c, pooled h, pooled w); MAX takes a second top, the mask (no gradient goes there).

    STOCHASTIC draws in the train phase and takes the expectation in the test phase.
    Raises LayerError for sizes given twice or not at all, and for what `place_windows` refuses.
    """

    param: proto.PoolingParameter
    tops = (1, 2)

    drawn_as = "pooling"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        check_4d(self, bottom)
        param = self.param
        stride = self._pair(param, "stride", "stride", 1)
        kernel = self._kernel(param, bottom)
        pad, behind = self.pads(bottom, kernel, stride)
        if param.global_pooling and (stride != (1, 1) or any((*pad, *behind))):
            raise self.error(
                f"global_pooling needs pad 0 (={pad[0]}, {pad[1]}) and stride 1 (={stride[0]}, {stride[1]})",
                "global_pooling",
            )
        self.pool = self.method()
        if any((*pad, *behind)) and self.pool in (draw_pool, expected_pool):
            raise self.error(f"only MAX and AVE pooling take a pad (={pad[0]}, {pad[1]})", "pad")
        self.with_mask = len(self.layer_param.top) > 1
        if self.with_mask and self.pool is not max_pool:
            raise self.error("only MAX pooling has a second top (the mask)", "top")
        ceil = self.rounds_up()
        self.windows = place_windows(self, bottom, kernel, stride, pad, behind=behind, ceil=ceil)
        if self.with_mask and self.windows.wide:
            self.fixes = "size"
        return [(*bottom[:2], *self.windows.pooled)] * (1 + self.with_mask)

    def pads(self, bottom: Shape, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
        """The padding before and behind the image, in height and width each."""
        pad = self._pair(self.param, "pad", "pad", 0)
        return pad, pad

    def rounds_up(self) -> bool:
        """Whether a last window may reach over the padding behind."""
        return bool(self.param.round_mode == proto.PoolingParameter.CEIL)

    def method(self) -> Callable[[Tensor, Windows], Tensor]:
        """What becomes of the values of each window."""
        return pooling_of(self, self.param.pool, self.phase)

    def _kernel(self, param: Any, bottom: Shape) -> Pair:
        given = [name for name in ("kernel_size", "kernel_h", "kernel_w") if param.HasField(name)]
        if param.global_pooling:
            if given:
                raise self.error(f"global_pooling takes no {given[0]}: the kernel is the whole image", given[0])
            return bottom[2], bottom[3]
        if not given:
            raise self.error("kernel_size, or kernel_h and kernel_w, is required", "pooling_param")
        return self._pair(param, "kernel_size", "kernel", 0)

    def _pair(self, param: Any, field: str, stem: str, default: int) -> Pair:
        """A size given once, or as _h and _w; never both, and never one of the two alone."""
        sides = [param.HasField(f"{stem}_{side}") for side in "hw"]
        if any(sides) and param.HasField(field):
            raise self.error(f"give {field} or {stem}_h and {stem}_w, not both", field)
        if any(sides) and not all(sides):
            raise self.error(f"{stem}_h and {stem}_w go together; one is missing", f"{stem}_{'hw'[sides[1]]}")
        if all(sides):
            return getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")
        size = getattr(param, field) if param.HasField(field) else default
        return size, size

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        (bottom,) = bottoms
        if self.with_mask:
            return max_pool_with_mask(bottom, self.windows)
        if self.param.global_pooling and self.pool is ave_pool:
            return bottom.mean((2, 3), keepdim=True)
        if self.param.global_pooling and self.pool is max_pool:
            return bottom.amax((2, 3), keepdim=True)
        return pooling_written.pool(bottom, self.windows, self.pool)

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.with_mask:
            return max_pool_with_mask(bottom, self.windows)
        return self.pool(bottom, self.windows)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.with_mask:
            return pooling_written.source_with_mask(builder, self.windows)
        if self.param.global_pooling and self.pool in (max_pool, ave_pool):
            return Source(
                f"torch.{'amax' if self.pool is max_pool else 'mean'}({{0}}, (2, 3), keepdim=True)", nests=False
            )
        return Source(pooling_written.source(self, self.pool, self.windows), nests=False)

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        param = layer_param.pooling_param
        method = param.PoolMethod.Name(param.pool)
        if param.global_pooling:
            return [f"{method} of all"]
        kernel, stride, pad = (
            _sides(param, *names) for names in (("kernel_size", "kernel"), ("stride",) * 2, ("pad",) * 2)
        )
        kernel = kernel if "x" in kernel else f"{kernel}x{kernel}"
        return [f"{method} {kernel}", spatial.unless(stride, "stride", "1"), spatial.unless(pad, "pad", "0")]

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        return places.pooled(layer_param.pooling_param)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.uniform(0.05, 1, shapes[0]) if self.pool is expected_pool else None  # sums of weights, not near 0


def _sides(param: Any, field: str, stem: str) -> str:
    """A size in a drawing: once, or as _h and _w."""
    if param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w"):
        return f"{getattr(param, f'{stem}_h')}x{getattr(param, f'{stem}_w')}"
    return str(getattr(param, field))
