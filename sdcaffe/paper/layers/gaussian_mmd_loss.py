"""GaussianMMDLoss: how far apart the distributions of two branches' features lie, by Gaussian kernels.

MMDLoss compares their means alone.
"""

from __future__ import annotations

import enum
import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register
from sdcaffe.paper.layers.mmd_loss import check_branches

_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the heuristic's distance, where none are given
_SMALLEST = 1e-15  # a bandwidth, where all features are the same


class Unit(enum.IntEnum):
    """What `bandwidth` is counted in: the median or the mean distance between two of the batch's features, or 1.

    The median of an even number of distances is the lower of the middle two.
    """

    MEDIAN = 0
    MEAN = 1
    ONE = 2


@register("GaussianMMDLoss", field="gaussian_mmd_param", number=1011)
class GaussianMMDLoss(Layer):
    """Squared maximum mean discrepancy (Gretton et al., 2012) of two bottoms (N, ...): features a and b of branches.

        MMD^2 = 1/n^2 sum_ij k(a_i, a_j) + 1/n^2 sum_ij k(b_i, b_j) - 2/n^2 sum_ij k(a_i, b_j)
        k(x, y) = 1/Q sum_q exp(-||x - y||^2 / (2 sigma_q^2))

    the biased estimator, never negative. With `unbiased` the first two sums leave out i = j and are divided by
    n (n - 1). Each `bandwidth` in `unit`s is a sigma_q; without any they are 0.25, 0.5, 1, 2 and 4 of them. A unit
    that is taken from the batch, over all pairs of its 2n features, is a constant to the gradient. Every sample is
    one flat vector; the top is a scalar. Of several processes each compares its own part of the batch.
    """

    param: proto.GaussianMmdParameter
    bottoms = 2
    loss = True
    knobs = {"mu": "loss_weight"}

    class Param:
        bandwidth: list[float]
        unit: Unit = Unit.MEDIAN
        unbiased: bool = False

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        check_branches(self, *bottom_shapes)
        if self.param.unbiased and bottom_shapes[0][0] < 2:
            raise self.error("the unbiased estimator needs a batch of 2 or more", "unbiased")
        self.bandwidths = list(self.param.bandwidth)
        if not self.bandwidths and self.param.unit == Unit.ONE:
            raise self.error("give a bandwidth or more, or another unit than ONE", "unit")
        if not all(0 < sigma < math.inf for sigma in self.bandwidths):
            raise self.error(f"each bandwidth must be a positive number, not {self.bandwidths}", "bandwidth")
        return [()]

    def forward(self, feature_a: Tensor, feature_b: Tensor) -> Tensor:
        squared = _squared_distances(torch.cat([feature_a, feature_b]).flatten(1))
        unit = self._unit(squared.detach())
        kernels = [torch.exp(squared / (-2 * (sigma * unit) ** 2)) for sigma in self.bandwidths or _MULTIPLES]
        kernel = torch.stack(kernels).mean(0)
        n = len(feature_a)
        aa, bb, ab = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
        if self.param.unbiased:
            return (aa.sum() - aa.trace() + bb.sum() - bb.trace()) / (n * (n - 1)) - 2 * ab.mean()
        return aa.mean() + bb.mean() - 2 * ab.mean()

    def _unit(self, squared: Tensor) -> Tensor | float:
        if self.param.unit == Unit.ONE:
            return 1.0
        m = len(squared)
        distances = squared.flatten()[1:].reshape(m - 1, m + 1)[:, :-1].sqrt()  # all but the diagonal
        typical = distances.mean() if self.param.unit == Unit.MEAN else distances.median()
        return typical.clamp(min=_SMALLEST)


def _squared_distances(features: Tensor) -> Tensor:
    """(m, m) of the rows of (m, d), which are centred first: so little is lost between large squares."""
    features = features - features.detach().mean(0)
    squares = features.square().sum(1)
    return (squares.unsqueeze(1) + squares - 2 * features @ features.t()).clamp(min=0)
