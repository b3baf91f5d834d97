"""Unpooling, of CAFFE-DACH: what a Pooling over channels, height and width took together, set apart again."""

from __future__ import annotations

import enum
from typing import Any

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import windows
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, register, show_shape


class UnpoolMethod(enum.IntEnum):
    AVE = 0
    MAX = 1
    TILE = 2


class Engine(enum.IntEnum):
    DEFAULT = 0
    CAFFE = 1


class UnpoolingParameter:
    unpool: UnpoolMethod = UnpoolMethod.MAX
    kernel3d: int
    kernel2d: int
    kernel_c: int
    kernel_h: int
    kernel_w: int
    stride3d: int = 1
    stride2d: int
    stride_c: int
    stride_h: int
    stride_w: int
    pad3d: int = 0
    pad2d: int
    pad_c: int
    pad_h: int
    pad_w: int
    cutext3d: int = 0
    cutext2d: int
    cutext_c: int
    cutext_h: int
    cutext_w: int
    ceil3d: bool = True
    ceil2d: bool
    ceil_c: bool
    ceil_h: bool
    ceil_w: bool
    engine: Engine = Engine.DEFAULT


@register("Unpooling", field="unpooling_param", number=1249)  # theirs is 149, where other forks have upsample_param
class Unpooling(Layer):
    """(n, c, h, w) to the volume whose windows it could have come from (JiahaoLi-gdut/CAFFE-DACH@388c826).

    With MAX, and a second bottom that is the mask of a MAX Pooling of channels, each value goes where its maximum was;
    those that meet add up. With AVE each is shared by its window, with TILE repeated in it, and overlaps add up too.
    TILE's gradient is AVE's, as there.

    A top has (size - 1) * stride + kernel - pad - cutext on each axis; with ceil: false, + cutext. Windows begin pad
    before it. Sizes are given for all axes (kernel3d), for height and width (kernel2d) or each (kernel_c, ...).
    Raises LayerError where the top would have another number of windows than the bottom has values: there the fork
    reads past its numbers.
    """

    param: proto.UnpoolingParameter
    Param = UnpoolingParameter
    origin = "CAFFE-DACH"
    bottoms = (1, 2)
    index_bottoms = (1,)
    fixes = "size"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, param = bottom_shapes[0], self.param
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        masked = param.unpool == UnpoolMethod.MAX
        if len(bottom_shapes) != 1 + masked:
            needs = "two bottoms, the second a Pooling's mask" if masked else "one bottom"
            raise self.error(f"unpool: {UnpoolMethod(param.unpool).name} takes {needs}", "bottom")
        if masked and bottom_shapes[1] != bottom:
            shapes = f"{show_shape(bottom)} and {show_shape(bottom_shapes[1])}"
            raise self.error(f"the mask must have the shape of the values, not {shapes}", "bottom")
        kernel, stride, pads, cuts, ceils = map(self._sizes, ("kernel", "stride", "pad", "cutext", "ceil"))
        tops = tuple(map(self._top_size, "chw", bottom[1:], kernel, stride, pads, cuts, ceils))
        self.windows = kernel, stride, pads, tops
        return [(bottom[0], *tops)]

    def _sizes(self, stem: str) -> tuple[int, ...]:
        """The field `stem` of the three axes. Raises LayerError where it is missing, or told differently twice."""
        param: Any = self.param
        found = []
        for axis in "chw":
            fields = [f"{stem}3d", *([f"{stem}2d"] if axis != "c" else []), f"{stem}_{axis}"]
            given = [field for field in fields if param.HasField(field)]
            values = {getattr(param, field) for field in given}
            if len(values) > 1:
                raise self.error(f"{' and '.join(given)} differ; give one of them", given[-1])
            if not given and stem == "kernel":
                raise self.error(f"needs kernel_{axis}, or kernel3d", "unpooling_param")
            found.append(values.pop() if values else getattr(param, f"{stem}3d"))
        return tuple(found)

    def _top_size(self, axis: str, size: int, kernel: int, stride: int, pad: int, cut: int, ceil: int) -> int:
        if stride < 1 or kernel <= pad:
            raise self.error(
                f"stride_{axis} (={stride}) must be at least 1, kernel_{axis} (={kernel}) above pad_{axis} (={pad})",
                f"kernel_{axis}",
            )
        limit = min(kernel, stride) if ceil else stride
        if cut >= limit:
            raise self.error(
                f"cutext_{axis} (={cut}) must be less than {limit}, of stride and kernel", f"cutext_{axis}"
            )
        top = (size - 1) * stride + kernel - pad + (-cut if ceil else cut)
        whole, rest = divmod(max(0, top + 2 * pad - kernel), stride)
        count = whole + 1 + bool(ceil and rest and (whole + 1) * stride < top + pad)
        if count != size or top < 1:
            raise self.error(
                f"a top of {top} on axis {axis} has {count} windows, not the bottom's {size}; pad_{axis} (={pad}) "
                f"does not go with stride_{axis} (={stride})",
                f"pad_{axis}",
            )
        return top

    def forward(self, bottom: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None and self.param.unpool == UnpoolMethod.TILE and bottom.requires_grad:
            bottom = bottom.view_as(bottom)
            bottom.register_hook(lambda gradient: gradient / windows.covered(gradient, *self.windows))
        return self._apart(bottom, mask)

    def _apart(self, bottom: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            return windows.put_back(bottom, mask, *self.windows)
        if self.param.unpool == UnpoolMethod.AVE:
            bottom = bottom / windows.covered(bottom, *self.windows)
        return windows.spread(bottom, *self.windows)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return self._apart(*bottoms)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        given = ", ".join(map(str, self.windows))
        if len(bottoms) > 1:
            return Source(f"{builder.part(windows.put_back)}({{0}}, {{1}}, {given})", nests=False)
        share = f" / {builder.part(windows.covered)}({{0}}, {given})" if self.param.unpool == UnpoolMethod.AVE else ""
        return Source(f"{builder.part(windows.spread)}({{0}}{share}, {given})", nests=False)
