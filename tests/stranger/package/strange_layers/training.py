"""What trains and what tests, of the same stranger's: a policy, an update rule, a source of data, a measure."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch

from sdcaffe import (
    Measure,
    Policy,
    Source,
    UpdateRule,
    register_measure,
    register_policy,
    register_source,
    register_update,
)


@register_policy("strange_wave")
class Wave(Policy):
    """base_lr * (1 + depth * sin(iteration)); every fifth iteration is a step, which halves it."""

    class Fields:
        wave_depth: Annotated[float, 4712] = 0.5

    status = "Wave Status"

    def steps(self, iteration, before):
        return before + (iteration > 0 and iteration % 5 == 0)

    def rate(self, iteration, steps):
        return self.param.base_lr * (1 + self.param.wave_depth * math.sin(iteration)) / 2**steps


@register_update("StrangeSign")
class Sign(UpdateRule):
    """Lion (Chen et al. 2023): h' = b2 h + (1 - b2) g after a step by the sign of b1 h + (1 - b1) g."""

    class Fields:
        sign_beta: Annotated[float, 4713] = 0.9

    def step(self, params, grads, history, rate):
        (momentum,) = history
        direction = torch._foreach_lerp(momentum, grads, 1 - self.param.sign_beta)
        torch._foreach_sign_(direction)
        torch._foreach_mul_(direction, rate)
        torch._foreach_sub_(params, direction)
        torch._foreach_lerp_(momentum, grads, 1 - self.param.momentum)


@register_source("strange_clock")
class Clock(Source):
    """`strange_clock:N`: N images (1, 4, 4), bytes; image i has a bright pixel at place i % 16, and the label i % 4."""

    class Fields:
        clock_bright: Annotated[int, 4714] = 200

    def __init__(self, where, param, color):
        super().__init__(where, param, color)
        self.count, self.bright = int(where), param.clock_bright

    def __len__(self):
        return self.count

    def read(self, index):
        image = np.zeros((1, 16), np.uint8)
        image[0, index % 16] = self.bright
        return image.reshape(1, 4, 4), index % 4


@register_measure("strange_worst")
class Worst(Measure):
    """The largest loss of a batch, and the number of the batch that has it."""

    def __init__(self, param, net):
        super().__init__(param, net)
        self.losses = []

    def update(self, batch):
        self.losses.append(float(batch.blobs["loss"]))

    def scores(self):
        worst = max(self.losses)
        return [("worst_loss", worst), ("worst_batch", float(self.losses.index(worst)))]
