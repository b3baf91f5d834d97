"""An affine map of each channel, which a net and an exporter make part of the weights before it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Affine(NamedTuple):
    """y = (x - mean) * factor + bias for each channel, axis 1. Each is (c,); None where there is none."""

    factor: Tensor
    mean: Tensor | None = None
    bias: Tensor | None = None

    def then(self, other: Affine) -> Affine:
        """This, and `other` of what comes out."""
        return Affine(other.factor * self.factor, self.mean, other.moved(self.bias))

    def moved(self, bias: Tensor | None) -> Tensor | None:
        """What becomes of a bias (c,) of x; None stands for zeros."""
        if self.mean is not None:
            bias = -self.mean if bias is None else bias - self.mean
        bias = None if bias is None else bias * self.factor
        return bias if self.bias is None else self.bias if bias is None else bias + self.bias
