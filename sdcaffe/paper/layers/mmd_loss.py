"""MMDLoss: how far apart two branches' mean features lie. It makes no branches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe.collectives import averaged
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class MeanDiscrepancy(torch.autograd.Function):
    """Eq. 1, `|| mean_i a_i - mean_i b_i ||_2^2`, and its gradient as the paper writes it out."""

    @staticmethod
    def forward(ctx: Any, feature_a: Tensor, feature_b: Tensor) -> Tensor:
        # of several processes, each has an equal part of the batch: the means of all are the mean of theirs
        difference = averaged(feature_a.mean(0) - feature_b.mean(0))
        ctx.save_for_backward(difference)
        ctx.samples = feature_a.shape[0]
        return difference.square().sum()

    @staticmethod
    def backward(ctx: Any, top_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(2/n^2) (sum_i a_i - sum_i b_i) for every sample of a, its negative for every sample of b.

        One process's n, also among several: they average their gradients, which divides by their number.
        """
        (difference,) = ctx.saved_tensors
        gradient = (difference * (2 / ctx.samples) * top_gradient).expand(ctx.samples, -1)
        return gradient, -gradient


def check_branches(layer: Layer, first: Shape, second: Shape) -> None:
    """Raise LayerError unless the features of both branches have one shape (N, ...)."""
    if first != second or len(first) < 2:
        raise layer.error(
            f"both branches must have the same shape (N, ...), but the bottoms are "
            f"{show_shape(first)} and {show_shape(second)}"
        )


@register("MMDLoss")
class MMDLoss(Layer):
    """Maximum mean discrepancy between two bottoms (N, ...): branch a's features and branch b's.

    Every sample is taken as one flat vector; the top is a scalar. Where several processes train together, the
    means are over the batch of all. The backward is the gradient the
    paper derives by hand, which is the exact one.
    """

    bottoms = 2
    loss = True
    knobs = {"mu": "loss_weight"}

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        check_branches(self, *bottom_shapes)
        return [()]

    def forward(self, feature_a: Tensor, feature_b: Tensor) -> Tensor:
        loss: Tensor = MeanDiscrepancy.apply(feature_a.flatten(1), feature_b.flatten(1))
        return loss
