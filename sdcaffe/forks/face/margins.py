"""What inner products with a margin share: the margin of an angle, its weight in training. Registers no type."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from sdcaffe.layers.base import Count, Layer, Shape, canonical_axis, show_shape
from sdcaffe.layers.loss import class_labels

LEAST = 1e-30  # a length below it is taken for this one


def margin(cosine: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """(-1)^k cos(times * angle) - 2 k, with k whole pi in times * angle, and its derivative by the cosine.

    `times` is 2, 3 or 4. At the angles where k changes the signs in its formula are 0, as in both forks.
    """
    sign = cosine.detach().sign()
    if times == 2:
        return 2 * sign * cosine.square() - 1, 4 * sign * cosine
    if times == 3:
        outer = (cosine.detach().abs() - 0.5).sign()
        value = outer * (4 * cosine**3 - 3 * cosine) + sign * (1 + outer) - 2
        return value, outer * (12 * cosine.square() - 3)
    outer = sign * (2 * cosine.detach().square() - 1).sign()
    value = outer * (8 * cosine**4 - 8 * cosine.square() + 1) + 2 * sign + outer - 3
    return value, outer * (32 * cosine**3 - 16 * cosine)


class MarginProduct(Layer):
    """Inner products with num_output vectors, that of an item's own class made smaller by a margin.

    Blob 0 is the vectors (num_output, k). Tops: the products, and lambda = max(base * (1 + gamma * i)^-power,
    lambda_min) in pass i from `iteration` + 1 on. The product with the own class is (own + lambda * plain) /
    (1 + lambda).
    """

    bottoms: ClassVar[Count] = 2
    tops: ClassVar[Count] = (1, 2)
    index_bottoms = (1,)
    drawn_as = "product"
    not_exported = "it compares with labels"
    yields = True

    passes: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, label = bottom_shapes
        param: Any = self.param
        if param.num_output < 1:
            raise self.error("num_output must be at least 1", "num_output")
        self.axis = canonical_axis(self, param.axis, len(bottom))
        rows = math.prod(bottom[: self.axis])
        if math.prod(label) != rows:
            raise self.error(f"needs {rows} labels, one a product, not a blob of shape {show_shape(label)}")
        self.blob(0, (param.num_output, math.prod(bottom[self.axis :])), param.weight_filler)
        self.multiple: int = param.type + 1
        if "passes" not in self._buffers:
            self.register_buffer("passes", torch.tensor(float(param.iteration), device=self.blobs[0].device))
        return [(*bottom[: self.axis], param.num_output), (1,)][: max(1, len(self.layer_param.top))]

    def forward(self, bottom: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        param: Any = self.param
        self.passes.add_(1)
        weight = (param.base * (1 + param.gamma * self.passes) ** -param.power).clamp(min=param.lambda_min)
        rows = bottom.reshape(-1, self.blobs[0].shape[1])
        vectors = self.vectors()
        top = rows @ vectors.t()
        if self.multiple > 1:
            labels = class_labels(self, label.reshape(-1, 1), top.shape[1])
            own = top.gather(1, labels.index).squeeze(1)
            moved = self.moved(rows, own, vectors[labels.index.squeeze(1)], weight.to(rows.dtype))
            top = labels.mark(top + torch.zeros_like(top).scatter(1, labels.index, moved.unsqueeze(1)))
        top = top.reshape(*bottom.shape[: self.axis], -1)
        return (top, weight.reshape(1).to(top.dtype).clone()) if len(self.layer_param.top) == 2 else top

    def vectors(self) -> Tensor:
        """The vectors that the products are with."""
        vectors: Tensor = self.blobs[0]
        return vectors

    def moved(self, rows: Tensor, own: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """What is added to the products `own` (n,) of rows (n, k) with the vectors (n, k) of their classes."""
        raise self.error("must define moved")

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        return math.prod(bottoms[0][: self.axis]) * self.blobs[0].numel()
