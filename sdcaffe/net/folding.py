"""Convolution, BatchNorm and Scale of the test phase as one convolution, by the statistics that are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer
from sdcaffe.layers.batch_norm import BatchNorm, per_weight


def foldable(convolution: Any, batch_norm: Layer) -> bool:
    """Whether stored statistics can go into the weights: in the test phase, but for a dialect's own BatchNorm."""
    stored = type(batch_norm) is BatchNorm and batch_norm.use_global_stats
    return stored and convolution.phase == proto.TEST and convolution.axis == 1


class Folding:
    """What the weights of several convolutions are to be multiplied by, and their biases then: (c, 1, ...) and (c,).

    Worked out in each pass, as parameters may be written to in ways that nothing notices; and for all convolutions at
    once, as an operation on few numbers takes as long as one on many. These have the same `kind`.
    """

    def __init__(self) -> None:
        self._chains: list[tuple[Layer, Any, Layer]] = []
        self._slots: list[tuple[int, int]] = []

    @staticmethod
    def kind(convolution: Layer, batch_norm: Any, scale: Layer) -> tuple[Any, ...]:
        return batch_norm.eps, len(scale.blobs), len(convolution.blobs), convolution.blobs[0].dim()

    def add(self, convolution: Layer, batch_norm: Layer, scale: Layer, slots: tuple[int, int]) -> None:
        """One more chain; `slots` are to hold its factor and its bias."""
        self._chains.append((convolution, batch_norm, scale))
        self._slots.append(slots)

    @property
    def layers(self) -> list[Layer]:
        return [layer for chain in self._chains for layer in chain]

    @property
    def tops(self) -> list[int]:
        """The slots of what a call gives."""
        factors, biases = zip(*self._slots, strict=True)
        return [*factors, *biases]

    def __call__(self) -> tuple[Tensor, ...]:
        """The factors of all convolutions, then the biases of all."""
        convolutions, batch_norms, scales = zip(
            *([list(layer.blobs) for layer in chain] for chain in self._chains), strict=True
        )
        mean_sum, variance_sum = (torch.cat([blobs[i] for blobs in batch_norms]) for i in (0, 1))
        average = per_weight(torch.cat([blobs[2].expand(blobs[0].shape) for blobs in batch_norms]))
        eps = self._chains[0][1].eps
        factor = torch.cat([blobs[0] for blobs in scales]) * (variance_sum * average + eps).rsqrt_()
        offset = -mean_sum * average
        if len(convolutions[0]) > 1:
            offset = offset + torch.cat([blobs[1] for blobs in convolutions])
        bias = offset * factor
        if len(scales[0]) > 1:
            bias = bias + torch.cat([blobs[1] for blobs in scales])
        channels = [len(blobs[0]) for blobs in convolutions]
        shape = (-1, *[1] * (convolutions[0][0].dim() - 1))
        return (*factor.reshape(shape).split(channels), *bias.split(channels))


def folded(convolution: Any, relu: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The three as one convolution: of a bottom, what to multiply the weight by, and the bias."""

    def run(x: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        out = convolution.compute(x, convolution.blobs[0] * factor, bias)
        return F.relu_(out) if relu else out

    return run
