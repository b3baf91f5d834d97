"""Pooling over channels too, of CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826)."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import source_parts
from sdcaffe.forks.dach import windows
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, Tops, register, show_shape


class ChannelPoolingParameter:
    """What CAFFE-DACH adds to PoolingParameter; there they are 4, 9 and 14."""

    kernel_c: Annotated[int, 1004]
    stride_c: Annotated[int, 1009]
    pad_c: Annotated[int, 1014]


proto.schema.extend("PoolingParameter", ChannelPoolingParameter)
_FIELDS = ("kernel_c", "stride_c", "pad_c")


def has_channels(layer_param: proto.LayerParameter) -> bool:
    """Whether a Pooling has a size for its channels."""
    return any(layer_param.pooling_param.HasField(field) for field in _FIELDS)


@register("Pooling", field="pooling_param", when=has_channels)
class ChannelPooling(Layer):
    """(n, c, h, w) to windows of kernel_c x kernel_h x kernel_w values, MAX or AVE.

    On each axis as many windows as begin within the image or the padding before it, rounded up. Unlike Caffe's, AVE
    is over the part of a window that lies within the image. A kernel larger than the image sees all of it. A second top
    is where each maximum was: (channel * h + row) * w + column, for Unpooling. Raises LayerError for a kernel that is
    missing, a pad that reaches its kernel, and fields that CAFFE-DACH lacks.
    """

    param: proto.PoolingParameter
    origin = "CAFFE-DACH"
    tops = (1, 2)
    drawn_as = "pooling"
    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if len(bottom) != 4:
            raise self.error(f"the bottom must have 4 axes (n, c, h, w), not {len(bottom)}: {show_shape(bottom)}")
        param: Any = self.param
        for field in ("global_pooling", "round_mode", "kernel_size", "stride", "pad"):
            if param.HasField(field):
                raise self.error(f"a Pooling with kernel_c has no {field}; give sizes as _c, _h and _w", field)
        if param.pool not in (param.MAX, param.AVE):
            raise self.error("a Pooling with kernel_c is MAX or AVE", "pool")
        self.maximum = param.pool == param.MAX
        self.masked = len(self.layer_param.top) > 1
        if self.masked and not self.maximum:
            raise self.error("a second top needs pool: MAX, whose places it tells", "pool")
        self.kernel = self._sizes("kernel", 0)
        self.stride = self._sizes("stride", 1)
        pads = self._sizes("pad", 0)
        tops: list[int] = []
        sides: list[int] = []
        for name, n, k, s, p in zip("chw", bottom[1:], self.kernel, self.stride, pads, strict=True):
            if k < 1 or s < 1:
                raise self.error(f"kernel_{name} (={k}) and stride_{name} (={s}) must be at least 1", f"kernel_{name}")
            if p >= k:
                raise self.error(f"pad_{name} (={p}) must be less than kernel_{name} (={k})", f"pad_{name}")
            whole, rest = divmod(max(0, n + 2 * p - k), s)
            tops.append(whole + 1 + (rest > 0 and (whole + 1) * s < n + p))
            sides[:0] = [p, (tops[-1] - 1) * s + k - p - n]
        self.sides = tuple(sides)
        return [(bottom[0], *tops)] * (1 + self.masked)

    def _sizes(self, stem: str, default: int) -> tuple[int, ...]:
        fields = [f"{stem}_{axis}" for axis in "chw"]
        return tuple(getattr(self.param, field) if self.param.HasField(field) else default for field in fields)

    def forward(self, bottom: Tensor) -> Tops:
        top = source_parts.pool_channels(bottom, self.kernel, self.stride, self.sides, self.maximum)
        if not self.masked:
            return top
        return top, windows.maxima_places(bottom.detach(), self.kernel, self.stride, self.sides)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        given = f"{self.kernel}, {self.stride}, {self.sides}"
        top = f"{builder.part(source_parts.pool_channels)}({{0}}, {given}, {self.maximum})"
        if not self.masked:
            return Source(top)
        return Source(f"({top}, {builder.part(windows.maxima_places)}({{0}}, {given}))", nests=False)
