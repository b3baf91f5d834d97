"""InnerProduct, the fully connected layer."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, canonical_axis, register


@register("InnerProduct", field="inner_product_param")
class InnerProduct(Layer):
    """Flattens the bottom from `axis` (1 by default) on to K values and maps them to num_output values N.

    Blob 0 is the weight (N, K), or (K, N) with `transpose`; blob 1 the bias (N,).
    """

    param: proto.InnerProductParameter
    lends_top = True

    @property
    def linear(self) -> bool:
        return self.axis == 1

    torch_names = (("weight", "bias"), ("weight",))
    blob_axes = {"weight": 2, "bias": 1}
    drawn_as = "product"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if param.num_output < 1:
            raise self.error("num_output must be at least 1", "num_output")
        self.axis = canonical_axis(self, param.axis, len(bottom))
        self.transpose: bool = param.transpose
        weight = param.num_output, math.prod(bottom[self.axis :])
        self.blob(0, weight[::-1] if self.transpose else weight, param.weight_filler)
        if param.bias_term:
            self.blob(1, (param.num_output,), param.bias_filler)
        return [(*bottom[: self.axis], param.num_output)]

    def forward(self, bottom: Tensor) -> Tensor:
        return self.compute(bottom, self.blobs[0], self.blobs[1] if len(self.blobs) > 1 else None)

    def compute(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(bottom.flatten(self.axis), weight.t() if self.transpose else weight, bias)

    def times(self, weight: Tensor, factor: Tensor) -> Tensor:
        return weight * (factor if self.transpose else factor.unsqueeze(1))

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        (bottom,), (weight, *bias) = bottoms, builder.blobs
        if self.axis == 1 and bottom.dim() != 2:  # by an operator that no batch size has to be computed for
            bottom = builder.operator("Flatten", [bottom], (bottom.shape[0], bottom.shape[1:].numel()), axis=1)
        return self.compute(bottom, weight, bias[0] if bias else None)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        inputs, outputs = self.blobs[0].shape if self.transpose else tuple(self.blobs[0].shape)[::-1]
        cls = builder.part(source_parts.TransposedLinear) if self.transpose else "nn.Linear"
        module = call(cls, str(inputs), str(outputs), bias=None if len(self.blobs) > 1 else "False")
        if self.axis == len(bottoms[0]) - 1:
            return Source("{self}({0})", module, nests=False)
        if self.axis == len(bottoms[0]):
            raise self.unwritten("an inner product behind the last axis")
        return Source(f"{{self}}(torch.flatten({{0}}, {self.axis}))", module, nests=False)

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        return math.prod(bottoms[0][: self.axis]) * self.blobs[0].numel()

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [str(layer_param.inner_product_param.num_output)]

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.inner_product_param.axis == 0
