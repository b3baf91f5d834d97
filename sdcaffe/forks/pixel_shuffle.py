"""Reshape with pixelshuffler: channels become pixels, in squares."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class PixelShuffleParameter:
    """What Synopsys' and Intel's Caffe add to ReshapeParameter."""

    pixelshuffler: Annotated[int, 4] = 1


proto.schema.extend("ReshapeParameter", PixelShuffleParameter)


@register("Reshape", field="reshape_param", when=lambda layer_param: layer_param.reshape_param.pixelshuffler != 1)
class PixelShuffle(Layer):
    """(n, c, h, w) to (n, c / r^2, r h, r w): r^2 channels in turn are the rows of an r x r square of pixels.

    r is pixelshuffler; the other fields are not looked at, as in foss-for-synopsys-dwc-arc-processors/
    synopsys-caffe@977ba36. Raises LayerError where r is below 1 or r^2 does not divide the channels.
    """

    param: proto.ReshapeParameter
    origin = "Synopsys Caffe, Intel Caffe"
    keeps_values = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.side: int = self.param.pixelshuffler
        if self.side < 1:
            raise self.error(f"pixelshuffler must be at least 1, not {self.side}", "pixelshuffler")
        if len(bottom) != 4:
            raise self.error(f"pixelshuffler needs a bottom (n, c, h, w), not {show_shape(bottom)}", "pixelshuffler")
        n, channels, height, width = bottom
        if channels % self.side**2:
            raise self.error(f"{channels} channels are no multiple of {self.side}^2", "pixelshuffler")
        return [(n, channels // self.side**2, height * self.side, width * self.side)]

    def forward(self, bottom: Tensor) -> Tensor:
        return F.pixel_shuffle(bottom, self.side)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.pixel_shuffle({{0}}, {self.side})")
