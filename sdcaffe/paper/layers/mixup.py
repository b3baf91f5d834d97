"""Mixup: blends each image of a batch with another, and its label; MixupLoss learns from both. Zhang et al., 2018."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape
from sdcaffe.layers.loss import class_labels


@register("Mixup", field="mixup_param", number=1013)
class Mixup(Layer):
    """lambda x_i + (1 - lambda) x_j, with j a random permutation of the batch and lambda from Beta(alpha, alpha).

    Bottoms are one or more blobs of images (N, ...), then N labels. Tops are the blended images, then (N, 3) for
    MixupLoss: the label of i, the label of j, lambda. There is one lambda and one permutation a batch, the same for
    all blobs: branches of the same images stay branches of the same images. In the TEST phase nothing is blended and
    lambda is 1.
    """

    param: proto.MixupParameter
    bottoms = (2, None)
    tops = (2, None)
    same_tops = True

    class Param:
        alpha: float = 1.0

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if not 0.01 <= self.param.alpha <= 1e6:
            raise self.error(f"alpha must be from 0.01 to 1e6, not {self.param.alpha:g}", "alpha")
        *images, labels = bottom_shapes
        n = torch.Size(labels).numel()
        for shape in images:
            if shape[:1] != (n,):
                raise self.error(
                    f"there must be one label for each image, but there are {n} labels "
                    f"and a bottom of shape {show_shape(shape)}"
                )
        return [*images, (n, 3)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        *images, labels = bottoms
        labels = labels.flatten().to(images[0].dtype)
        if self.phase != proto.TRAIN:
            return *images, torch.stack([labels, labels, torch.ones_like(labels)], 1)
        alpha = torch.full((), self.param.alpha, device=labels.device, dtype=torch.float64)
        weight = Beta(alpha, alpha, validate_args=False).sample().to(labels.dtype)
        other = torch.rand(len(labels), device=labels.device).argsort()
        mixed = (torch.lerp(image.index_select(0, other), image, weight) for image in images)
        return *mixed, torch.stack([labels, labels.index_select(0, other), weight.expand_as(labels)], 1)


@register("MixupLoss")
class MixupLoss(Layer):
    """lambda CE(z, label of i) + (1 - lambda) CE(z, label of j), a mean over the batch, CE the softmax loss.

    Bottoms: logits (N, K) or (N, K, 1, 1), and (N, 3) from Mixup; the top is a scalar. Raises DataError on a CPU for
    a label out of range; elsewhere the loss is then nan.
    """

    bottoms = 2
    loss = True
    index_bottoms = (1,)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        logits, mixed = bottom_shapes
        if len(logits) < 2 or any(n != 1 for n in logits[2:]) or mixed != (logits[0], 3):
            raise self.error(
                f"needs logits (N, K) or (N, K, 1, 1) and Mixup's last top (N, 3), not {show_shape(logits)} "
                f"and {show_shape(mixed)}"
            )
        return [()]

    def forward(self, logits: Tensor, mixed: Tensor) -> Tensor:
        log_p = logits.flatten(1).log_softmax(1)
        labels = class_labels(self, mixed[:, :2], log_p.shape[1])
        first, second = log_p.gather(1, labels.index).unbind(1)
        loss = -torch.lerp(second, first, mixed[:, 2].to(log_p.dtype)).mean()
        return labels.mark(loss)
