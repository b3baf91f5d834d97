"""A plugin: a warm-up that then falls as a cosine, and Adam with decoupled decay, its second moment not corrected."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from sdcaffe import Policy, UpdateRule, register_policy, register_update
from sdcaffe.errors import SolverError


@register_policy("falling_cosine")
class Cosine(Policy):
    class Fields:
        warmup: Annotated[int, 1901] = 0

    @classmethod
    def check(cls, param):
        if param.warmup < 0:
            raise SolverError(f"warmup is {param.warmup}; it counts iterations", field="warmup")

    def rate(self, iteration, steps):
        p = self.param
        if iteration < p.warmup:
            return p.base_lr * (iteration + 1) / p.warmup
        return p.base_lr * (1 + math.cos(math.pi * (iteration - p.warmup) / (p.max_iter - p.warmup))) / 2


@register_update("DecoupledAdam")
class DecoupledAdam(UpdateRule):
    histories = 2

    class Fields:
        decoupled_decay: Annotated[float, 1902] = 0.0

    def correction(self, iteration):
        return 1 / (1 - self.param.momentum ** (iteration + 1))

    def step(self, params, grads, history, rate):
        p, (mean, square) = self.param, history
        torch._foreach_lerp_(mean, grads, 1 - p.momentum)
        torch._foreach_mul_(square, p.momentum2)
        torch._foreach_addcmul_(square, grads, grads, value=1 - p.momentum2)
        scale = torch._foreach_sqrt(square)
        torch._foreach_add_(scale, p.delta)
        change = torch._foreach_div(mean, scale)
        torch._foreach_add_(change, params, alpha=p.decoupled_decay)
        torch._foreach_mul_(change, rate)
        torch._foreach_sub_(params, change)


@register_policy("mistaken")
class MistakenPolicy(Policy):
    def rate(self, iteration, steps):
        return "high" if iteration else self.param.base_rate


@register_update("Mistaken")
class MistakenRule(UpdateRule):
    def step(self, params, grads, history, rate):
        raise KeyError("velocity")
