"""Interp: a feature map resized, its corners kept in place."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, check_size, register, show_shape

_BILINEAR, _NEAREST = "bilinear", "nearest_neighbor"


class InterpParameter:
    height: int = 0
    width: int = 0
    zoom_factor: int = 1
    shrink_factor: int = 1
    pad_beg: int = 0
    pad_end: int = 0
    interp_type: str = _BILINEAR
    use_blob_size: Annotated[bool, 1000] = False  # of soeaver/caffe-model's nets, whose schema is not published


@register("Interp", field="interp_param", number=163)
class Interp(Layer):
    """A bottom (n, c, h, w) resized so that its corner pixels become the top's, as in DeepLab and PSPNet.

    The size: shrink_factor s, (h - 1) / s + 1, or zoom_factor z, (h - 1) * z + 1; else height and width; else both
    factors, z after s. That order is the fork's (hszhao/PSPNet@798bdc9), which looks at no other field. Or a second
    bottom, whose h and w are taken (use_blob_size may say so), with none of these. pad_beg and pad_end are 0, or less:
    rows and columns cut off the bottom first, at its beginning and end.
    interp_type is "bilinear" or "nearest_neighbor".
    """

    param: proto.InterpParameter
    origin = "DeepLab, PSPNet"

    Param = InterpParameter
    bottoms = (1, 2)
    index_bottoms = (1,)
    yields = True

    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, param = bottom_shapes[0], self.param
        for shape in bottom_shapes:
            if len(shape) != 4:
                raise self.error(f"needs bottoms (n, c, h, w), not {show_shape(shape)}")
        if param.interp_type not in (_BILINEAR, _NEAREST):
            raise self.error(f'interp_type is "{_BILINEAR}" or "{_NEAREST}", not "{param.interp_type}"', "interp_type")
        for field in ("pad_beg", "pad_end"):
            if getattr(param, field) > 0:
                raise self.error(f"{field} (={getattr(param, field)}) only cuts off: it must be 0 or less", field)
        sizes = [n + param.pad_beg + param.pad_end for n in bottom[2:]]
        if min(sizes) < 1:
            raise self.error(f"pad_beg and pad_end leave nothing of {show_shape(bottom)}", "pad_beg")
        self.window = [slice(-param.pad_beg, size - param.pad_beg) for size in sizes]
        self.size = self._top_size(sizes, bottom_shapes)
        if min(self.size) < 1:
            raise self.error(f"the top's height and width must be at least 1, not {self.size}", "interp_param")
        top = (*bottom[:2], *self.size)
        check_size(self, "the top", top)
        self.nearest = param.interp_type == _NEAREST
        self.sources = [_nearest(size, wanted) for size, wanted in zip(sizes, self.size, strict=True)]
        return [top]

    def _top_size(self, sizes: list[int], bottom_shapes: list[Shape]) -> tuple[int, int]:
        param = self.param
        given = [field for field in ("zoom_factor", "shrink_factor") if param.HasField(field)]
        size = param.HasField("height") and param.HasField("width")
        if param.use_blob_size and len(bottom_shapes) == 1:
            raise self.error("use_blob_size needs a second bottom, whose size it takes", "use_blob_size")
        if len(bottom_shapes) == 1 and not given and not size:
            missing = "; one of these two is missing" if param.HasField("height") or param.HasField("width") else ""
            raise self.error(
                "takes its size from zoom_factor, shrink_factor, height and width, or a second bottom, and has none "
                f"of them{missing}",
                "interp_param",
            )
        if len(bottom_shapes) > 1 and (given or size):
            raise self.error(
                f"takes its size from a second bottom or from {(given or ['height and width'])[0]}, not from both",
                "interp_param",
            )
        for field in given:
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        self.sized = size and len(given) != 1
        if len(bottom_shapes) > 1:
            h, w = bottom_shapes[1][2:]
        elif self.sized:
            h, w = param.height, param.width
        else:
            h, w = ((size - 1) // param.shrink_factor * param.zoom_factor + 1 for size in sizes)
        return h, w

    def forward(self, bottom: Tensor, like: Tensor | None = None) -> Tensor:
        window = bottom[:, :, self.window[0], self.window[1]]
        if not self.nearest:
            return F.interpolate(window, self.size, mode="bilinear", align_corners=True)
        rows, columns = (torch.tensor(source, device=bottom.device) for source in self.sources)
        return window.index_select(2, rows).index_select(3, columns)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        """For bottoms of any height and width, unless the layer's own fields are a height and a width."""
        param, like = self.param, len(bottoms) > 1
        inner = f"(n - {1 - param.pad_beg - param.pad_end})"
        if like:
            size = "{1}.shape[2:]"
        elif self.sized:
            size = f"[{param.height}, {param.width}]"
        else:
            shrink = f" // {param.shrink_factor}" if param.shrink_factor > 1 else ""
            zoom = f" * {param.zoom_factor}" if param.zoom_factor > 1 else ""
            size = f"[{inner}{shrink}{zoom} + 1 for n in {{0}}.shape[2:]]"
        span = f"{-param.pad_beg or ''}:{param.pad_end or ''}"
        window = "{0}" if span == ":" else f"{{0}}[:, :, {span}, {span}]"
        if self.nearest:
            return Source(f"{builder.part(source_parts.nearest)}({window}, {size})", nests=False)
        return Source(f'F.interpolate({window}, {size}, mode="bilinear", align_corners=True)', nests=False)


def _nearest(size: int, top: int) -> list[int]:
    """The nearest of `size` places for each of `top`; a half goes up, in float32 as in the forks."""
    step = np.float32(size - 1) / np.float32(top - 1) if top > 1 else np.float32(0)
    places = (step * np.arange(top, dtype=np.float32)).astype(np.float64)
    return [int(place) for place in np.floor(places + 0.5)]
