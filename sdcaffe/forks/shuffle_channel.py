"""ShuffleChannel: the channels of groups dealt out in turn."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class ShuffleChannelParameter:
    group: int = 1


@register("ShuffleChannel", field="shuffle_channel_param", number=164)
class ShuffleChannel(Layer):
    """Channel j of group i of a bottom (n, c, ...) becomes channel j * group + i, as in ShuffleNet."""

    param: proto.ShuffleChannelParameter
    origin = "ShuffleNet"

    Param = ShuffleChannelParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.group: int = self.param.group
        if len(bottom) < 2 or self.group < 1 or bottom[1] % self.group:
            raise self.error(f"group (={self.group}) must divide the channels of {show_shape(bottom)}", "group")
        return [bottom]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        dealt = f"torch.unflatten({{0}}, 1, ({self.group}, {bottoms[0][1] // self.group})).transpose(1, 2)"
        return Source(f"torch.flatten({dealt}, 1, 2)")

    def forward(self, bottom: Tensor) -> Tensor:
        n, c, *sizes = bottom.shape
        return bottom.reshape(n, self.group, c // self.group, *sizes).transpose(1, 2).reshape(bottom.shape)
