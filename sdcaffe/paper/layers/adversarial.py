"""Adversarial: the fast gradient sign method (Goodfellow et al., 2015) as a layer, against the net as it is now.

It attacks; the second branch that learns from what it makes is the prototxt's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


@register("Adversarial", field="adversarial_param", number=1012)
class Adversarial(Layer):
    """x + epsilon sign(d loss / d x), for a blob x (N, C, ...) and a loss that depends on it.

    Bottoms: x and the loss, one value or more, which count as their sum; the top is like x. The loss comes from the
    pass that is under way, by the weights and, in training, the batch statistics of now: nothing is run twice. No
    weight gets a gradient from the attack, and none goes back from the top. `epsilon` is in units of the pixels where
    `std_value` is what x was divided by: none, one for all channels, or one a channel, as in Distort. Results are
    not cut to the range of pixels.
    """

    param: proto.AdversarialParameter
    bottoms = 2
    gradient_bottoms = (0,)
    stops_gradient = True

    class Param:
        epsilon: float = 0.0
        std_value: list[float]

    step: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        images, _ = bottom_shapes
        if len(images) < 2:
            raise self.error(f"needs a blob (N, C, ...) to attack, not {show_shape(images)}")
        epsilon, std = self.param.epsilon, list(self.param.std_value) or [1.0]
        if not 0 < epsilon < math.inf:
            raise self.error(f"epsilon must be a positive number, not {epsilon:g}", "epsilon")
        if len(std) not in (1, images[1]):
            raise self.error(
                f"has {len(std)} of std_value for {images[1]} channels; give none, one, or one a channel", "std_value"
            )
        if not all(0 < s < math.inf for s in std):
            raise self.error(f"std_value must be positive, not {std}", "std_value")
        step = torch.tensor([epsilon / s for s in std]).reshape(-1, *[1] * (len(images) - 2))
        device = self.step.device if "step" in self._buffers else None
        self.register_buffer("step", step.to(device), persistent=False)
        return [images]

    def forward(self, images: Tensor, loss: Tensor) -> Tensor:
        gradient: Any = None
        if loss.requires_grad and images.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), images, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise self.error(
                f'its loss "{self.layer_param.bottom[1]}" does not depend on "{self.layer_param.bottom[0]}" in this '
                "pass; where layers run one by one, as when they are timed, none depends on another"
            )
        return torch.addcmul(images.detach(), gradient.sign(), self.step.to(images.dtype))
