"""Upsample, which two families of forks have: by the places of a pooling's maxima, and by repeating pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, register, show_shape


class UpsampleParameter:
    scale: int = 2
    scale_h: int
    scale_w: int
    pad_out_h: bool = False
    pad_out_w: bool = False
    upsample_h: int
    upsample_w: int


class Unpool(torch.autograd.Function):
    """Values to their places in a larger map. Of several with one place the last counts; all get its gradient.

    Autograd would give it to the last alone, and its scatter would choose which that is.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, size: int) -> Tensor:
        """`values` and `places` (n, c, m), the result (n, c, size)."""
        ctx.save_for_backward(places)
        order = torch.arange(values.shape[2], device=values.device).expand_as(places)
        last = places.new_full((*values.shape[:2], size), -1).scatter_reduce_(2, places, order, "amax")
        return values.gather(2, last.clamp(min=0)).masked_fill(last < 0, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return grad.gather(2, places), None, None


@register("Upsample", field="upsample_param", number=149)
class Upsample(Layer):
    """With two bottoms, values (n, c, h, w) and a MAX Pooling's mask, each value goes where its maximum was (SegNet).

    The top is upsample_h by upsample_w, or h * scale_h - pad_out_h by w * scale_w - pad_out_w, where scale
    (2 where nothing is given) stands for both scales, and pad_out_h and pad_out_w need a scale of 2.
    What no value goes to is 0. No gradient goes to the mask.

    With one bottom every pixel becomes a square of scale by scale (the YOLO forks); scale is 1 if not given.
    """

    param: proto.UpsampleParameter
    origin = "SegNet, YOLO's forks"

    Param = UpsampleParameter
    bottoms = (1, 2)
    index_bottoms = (1,)
    yields = True

    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom = bottom_shapes[0]
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        if len(bottom_shapes) == 1:
            self.size = self._repeated(bottom)
        elif bottom_shapes[1] != bottom:
            shapes = f"{show_shape(bottom)} and {show_shape(bottom_shapes[1])}"
            raise self.error(f"the mask must have the shape of the values, not {shapes}", "bottom")
        else:
            self.size = self._unpooled(bottom)
        return [(*bottom[:2], *self.size)]

    def _repeated(self, bottom: Shape) -> tuple[int, int]:
        param = self.param
        for field in ("scale_h", "scale_w", "pad_out_h", "pad_out_w", "upsample_h", "upsample_w"):
            if param.HasField(field):
                raise self.error(f"{field} needs a second bottom, the mask of a MAX Pooling", field)
        self.scale = param.scale if param.HasField("scale") else 1
        if self.scale < 1:
            raise self.error(f"scale must be at least 1, not {self.scale}", "scale")
        return bottom[2] * self.scale, bottom[3] * self.scale

    def _unpooled(self, bottom: Shape) -> tuple[int, int]:
        param = self.param
        for one, other in (("upsample_h", "upsample_w"), ("scale_h", "scale_w")):
            if param.HasField(one) != param.HasField(other):
                raise self.error(f"{one} and {other} go together; one is missing", "upsample_param")
        if param.HasField("upsample_h"):
            sizes = param.upsample_h, param.upsample_w
            if min(sizes) < 2:
                raise self.error(f"upsample_h (={sizes[0]}) and upsample_w (={sizes[1]}) must be above 1", "upsample_h")
            return sizes
        if param.HasField("scale") and param.HasField("scale_h"):
            raise self.error("give scale or scale_h and scale_w, not both", "scale")
        scales = self._scales()
        for side, scale, pad in zip("hw", scales, (param.pad_out_h, param.pad_out_w), strict=True):
            if scale < 2:
                raise self.error(f"scale must be above 1, not {scale}", "upsample_param")
            if pad and scale != 2:
                raise self.error(f"pad_out_{side} needs a scale of 2, not {scale}", f"pad_out_{side}")
        return bottom[2] * scales[0] - param.pad_out_h, bottom[3] * scales[1] - param.pad_out_w

    def _scales(self) -> tuple[int, int]:
        param = self.param
        return (param.scale_h, param.scale_w) if param.HasField("scale_h") else (param.scale, param.scale)

    def forward(self, bottom: Tensor, mask: Tensor | None = None) -> Tensor:
        n, c, h, w = bottom.shape
        if mask is None:
            square = (n, c, h, self.scale, w, self.scale)
            return bottom[:, :, :, None, :, None].expand(square).reshape(n, c, *self.size)
        places, size = mask.reshape(n, c, -1).long(), self.size[0] * self.size[1]
        if ((places < 0) | (places >= size)).any():
            low, high = int(places.min()), int(places.max())
            raise self.error(
                f"the mask has places {low} to {high}, but the top, {self.size[0]} by {self.size[1]}, has 0 to "
                f"{size - 1}; give upsample_h and upsample_w the size of that Pooling's bottom"
            )
        top: Tensor = Unpool.apply(bottom.reshape(n, c, -1), places, size)
        return top.reshape(n, c, *self.size)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        """The mask's places are taken as they come: a model says nothing of those that lie outside."""
        if len(bottoms) == 1:
            return self.forward(bottoms[0])
        return source_parts.unpool(bottoms[0], bottoms[1], list(self.size))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms) == 1:
            return Source(f'F.interpolate({{0}}, scale_factor={float(self.scale)}, mode="nearest")')
        if self.param.HasField("upsample_h"):
            size = str(list(self.size))
        else:
            scales, pads = self._scales(), (self.param.pad_out_h, self.param.pad_out_w)
            sides = zip((2, 3), scales, pads, strict=True)
            size = f"[{', '.join(f'{{0}}.shape[{i}] * {scale}' + ' - 1' * pad for i, scale, pad in sides)}]"
        return Source(f"{builder.part(source_parts.unpool)}({{0}}, {{1}}, {size})", nests=False)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, self.size[0] * self.size[1], shapes[1]) if index == 1 else None
