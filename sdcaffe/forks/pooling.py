"""Synopsys' dialect of Pooling: ceil_mode, padding of four sides, averages that leave the padding out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.forks import same_padding, source_parts
from sdcaffe.layers import pooling_written
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, Tops, call, pair, register
from sdcaffe.layers.places import Places
from sdcaffe.layers.pooling import Pooling
from sdcaffe.layers.windows import Pair, Windows


class SynopsysPoolingParameter:
    """What Synopsys' Caffe adds to PoolingParameter; its pad_type is 13 there, which is BVLC's round_mode."""

    ceil_mode: Annotated[bool, 14] = True
    pad_l: Annotated[int, 16] = 0
    pad_r: Annotated[int, 17] = 0
    pad_t: Annotated[int, 18] = 0
    pad_b: Annotated[int, 19] = 0
    pad_type: Annotated[int, 1013] = 0


proto.schema.extend("PoolingParameter", SynopsysPoolingParameter)
proto.schema.add_values("PoolingParameter", "PoolMethod", {"AVE_EXC_PAD": 3, "AVE_TF": 3})


def inside_ave_pool(bottom: Tensor, windows: Windows) -> Tensor:
    """The average of each window's part within the image."""
    if not windows.wide:
        return F.avg_pool2d(bottom, windows.kernel, windows.stride, windows.pad, windows.ceil, count_include_pad=False)
    sums, areas = (
        F.avg_pool2d(windows.padded(values, 0.0), windows.kernel, windows.stride, ceil_mode=True, divisor_override=1)
        for values in (bottom, torch.ones_like(bottom[:1, :1]))
    )
    return windows.crop(sums) / windows.crop(areas)


def is_synopsys(layer_param: proto.LayerParameter) -> bool:
    """Whether a Pooling has a field or a value of the fork's."""
    param: Any = layer_param.pooling_param
    return bool(same_padding.is_sided(param) or param.HasField("ceil_mode") or param.pool == param.AVE_EXC_PAD)


@register("Pooling", field="pooling_param", when=is_synopsys)
class SynopsysPooling(Pooling):
    """Pooling as in Synopsys' Caffe (foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36, its CPU source).

    ceil_mode: false rounds the number of windows down, as round_mode: FLOOR does. pad_l, pad_r, pad_t and pad_b take
    the place of pad where one of them is not 0; pad_type 1 is TensorFlow's SAME, which has ceil(size / stride)
    windows. AVE_EXC_PAD, or AVE_TF, averages over the part of a window that lies within the image.

    The gradient of an average is the true one: the fork's, on a CPU, takes pad_b for pad_l. Raises LayerError where
    ceil_mode and round_mode contradict each other, where padding is given twice, and as Pooling does.
    """

    origin = "Synopsys Caffe"

    def pads(self, bottom: Shape, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
        return same_padding.sided(self) or super().pads(bottom, kernel, stride)

    def rounds_up(self) -> bool:
        param = self.param
        up = super().rounds_up()
        if not param.HasField("ceil_mode"):
            return up
        if param.HasField("round_mode") and up != param.ceil_mode:
            word = "true" if param.ceil_mode else "false"
            mode = param.RoundMode.Name(param.round_mode)
            raise self.error(f"ceil_mode: {word} and round_mode: {mode} contradict each other; keep one", "ceil_mode")
        return bool(param.ceil_mode)

    def method(self) -> Callable[[Tensor, Windows], Tensor]:
        return inside_ave_pool if self.param.pool == self.param.AVE_EXC_PAD else super().method()

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        if self.pool is not inside_ave_pool:
            return super().to_onnx(builder, *bottoms)
        windows, (bottom,) = self.windows, bottoms
        if self.param.global_pooling:
            return bottom.mean((2, 3), keepdim=True)
        sums, areas = (
            F.avg_pool2d(pooling_written.exactly(values, windows, 0.0), windows.kernel, windows.stride)
            for values in (bottom, torch.ones_like(bottom[:1, :1]))
        )
        return sums / areas

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.pool is not inside_ave_pool:
            return super().to_source(builder, *bottoms)
        windows = self.windows
        if windows.wide:
            given = [str(sizes) for sizes in (windows.kernel, windows.stride, windows.sides, windows.pooled)]
            return Source(f"{builder.part(source_parts.inside_average)}({{0}}, {', '.join(given)})")
        text = call(
            "F.avg_pool2d",
            "{0}",
            pair(windows.kernel),
            stride=pair(windows.stride),
            padding=pair(windows.pad) if any(windows.pad) else None,
            ceil_mode="True" if windows.ceil else None,
            count_include_pad="False",
        )
        return Source(text)

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [*super().settings(layer_param), *same_padding.settings(layer_param.pooling_param)]

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        own, moved = super().places(layer_param), same_padding.before(layer_param.pooling_param)
        return None if own is None or moved is None else replace(own, shift=own.shift + moved.shift * own.scale)


@register("Pooling", field="pooling_param", when=lambda layer_param: bool(layer_param.pooling_param.pad_type))
class SamePooling(SynopsysPooling):
    """Pooling with pad_type, which Synopsys' Caffe calls deprecated; see SynopsysPooling. Rounding plays no part."""

    origin = "Synopsys Caffe"
    fixes = "size"

    def pads(self, bottom: Shape, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
        same_padding.check_same(self)
        return same_padding.same((bottom[2], bottom[3]), kernel, stride)

    def rounds_up(self) -> bool:
        return True
