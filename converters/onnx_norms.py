"""Batch norms in the form that is exported: stored statistics as constants, or a batch's own. Same numbers."""

from __future__ import annotations

from typing import Any

from sdcaffe.converters.onnx_layers import Form, form_of
from torch import Tensor
from torch.nn import functional as F

from sdcaffe.forks.bn import SEGNET_EPS, PSPNetBN, SegNetBN
from sdcaffe.layers.batch_norm import BatchNorm


def statistics(layer: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance that a BatchNorm stores, in float64."""
    weight = float(layer.blobs[2].detach())
    per_weight = 0.0 if weight == 0 else 1 / weight
    return layer.blobs[0].detach().double() * per_weight, layer.blobs[1].detach().double() * per_weight


@form_of(BatchNorm)
class BatchNormForm(Form):
    """The stored statistics as two constants; a batch's own where the prototxt says so, and nothing is kept."""

    mean: Tensor
    variance: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        if layer.use_global_stats:
            mean, variance = statistics(layer)
            self.register_buffer("mean", mean.float())
            self.register_buffer("variance", variance.float())

    def forward(self, bottom: Tensor) -> Tensor:
        layer = self.layer
        x = bottom.unsqueeze(1) if layer.one_channel else bottom
        if layer.use_global_stats:
            top = F.batch_norm(x, self.mean, self.variance, None, None, eps=layer.eps)
        else:
            top = _by_its_own(x, layer.eps)[0]
        return top.squeeze(1) if layer.one_channel else top


@form_of(SegNetBN)
class SegNetBNForm(Form):
    def forward(self, bottom: Tensor) -> Any:
        layer = self.layer
        if not layer.learns:
            return bottom * self.blob(0) + self.blob(1)
        top, *of_batch = _by_its_own(bottom, SEGNET_EPS)
        top = top * self.blob(0) + self.blob(1)
        return (top, *of_batch[: layer.extra]) if layer.extra else top


@form_of(PSPNetBN)
class PSPNetBNForm(Form):
    def forward(self, bottom: Tensor) -> Tensor:
        layer = self.layer
        x = bottom.transpose(1, layer.axis)
        scale, shift, mean, variance = (self.blob(i).flatten() for i in range(4))
        if layer.running:
            top = F.batch_norm(x, mean, variance, scale, shift, eps=layer.eps)
        else:
            view = (-1, *[1] * (x.dim() - 2))
            top = _by_its_own(x, layer.eps)[0] * scale.reshape(view) + shift.reshape(view)
        return top.transpose(1, layer.axis)


def _by_its_own(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """A blob (n, c, ...) normalised by its own statistics, then their mean and biased variance."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return (x - mean) / (variance + eps).sqrt(), mean, variance
