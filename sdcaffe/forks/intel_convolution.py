"""The first convolution of Intel's nets of 8 bits that take bytes: force_u8_input of quantization_param, in float32."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.convolution import Sided
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register


def takes_bytes(layer_param: proto.LayerParameter) -> bool:
    """Whether a convolution's bottom is in units of scale_in."""
    return bool(layer_param.quantization_param.force_u8_input)


@register("Convolution", field="convolution_param", when=takes_bytes)
class BytesConvolution(Sided):
    """A convolution whose bottom is scale_in times what its weights are for; in the test phase it is divided by that.

    As in intel/caffe@44d5363, whose mkldnn_convolution_layer.cpp takes such a bottom for bytes as it is, and divides
    what it sums up by scale_in, in the test phase alone. Its scripts/first_conv_force_u8.py writes these nets: the data
    layer's scale is scale_in times the old one, bytes begin at -128, which the bias takes back, and the zeros round
    pictures are the data layer's pad. Numbers are float32, not 8 bits. Raises LayerError without a scale_in above 0.
    """

    origin = "Intel Caffe"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(bottom_shapes)
        scales = list(self.layer_param.quantization_param.scale_in)
        if not scales or not (scales[0] > 0 and math.isfinite(scales[0])):
            raise self.error("force_u8_input needs a scale_in above 0", "quantization_param")
        self.unit = scales[0] if self.phase == proto.TEST else 1.0
        return tops

    def compute(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super().compute(bottom if self.unit == 1 else bottom / self.unit, weight, bias)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        source = super().to_source(builder, *bottoms)
        if self.unit == 1:
            return source
        return replace(source, text=source.text.replace("{0}", f"{{0}} / {number(self.unit)}"))
