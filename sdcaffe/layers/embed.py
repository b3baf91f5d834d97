"""Embed: a learned vector for each index."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, register


@register("Embed", field="embed_param")
class Embed(Layer):
    """A bottom (...) of indices in [0, input_dim) to (..., num_output). No gradient goes to the bottom.

    Blob 0 is the weight (input_dim, num_output), blob 1 the bias (num_output,).
    Raises LayerError for an index out of range.
    """

    param: proto.EmbedParameter
    index_bottoms = (0,)

    torch_names = (("weight", "bias"), ("weight",))
    blob_axes = {"weight": 2}

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        for field in ("num_output", "input_dim"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1", field)
        self.blob(0, (param.input_dim, param.num_output), param.weight_filler)
        if param.bias_term:
            self.blob(1, (param.num_output,), param.bias_filler)
        return [(*bottom_shapes[0], param.num_output)]

    def forward(self, bottom: Tensor) -> Tensor:
        index = bottom.long()
        self._check(index)
        top = F.embedding(index, self.blobs[0])
        return top + self.blobs[1] if len(self.blobs) > 1 else top

    def _check(self, index: Tensor) -> None:
        if not index.numel():
            return
        if index.is_cuda and torch.cuda.is_current_stream_capturing():
            return  # reading a value back is impossible while a graph is recorded; torch's own check remains
        low, high = torch.aminmax(index)
        size = self.blobs[0].shape[0]
        if low < 0 or high >= size:
            raise self.error(f"index {int(low if low < 0 else high)} is not in [0, {size})", "input_dim")

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        weight, *bias = builder.blobs
        top = F.embedding(bottoms[0].long(), weight)
        return top + bias[0] if bias else top

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        count, outputs = self.blobs[0].shape
        bias = None if len(self.blobs) > 1 else "False"
        return Source("{self}({0})", call(builder.part(source_parts.Embed), str(count), str(outputs), bias=bias))

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, self.param.input_dim, shapes[0])
