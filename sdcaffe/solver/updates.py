"""Update rules: Caffe's six, AdamW, and those that plugins bring; `type` in the solver names one.

The history of Caffe's holds the learning rate (h = lr * g + m * h), unlike torch.optim's.

Parameters with the same (lr_mult, decay_mult) are updated together with `torch._foreach_*`. A rate may be a number or
a 0-dim tensor on the parameters' device, which a recorded step reads anew each time; both give the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import SolverError, unknown
from sdcaffe.net.parameters import Learnable
from sdcaffe.plugins import Kind

Tensors = list[Tensor]
Rate = float | Tensor

REGULARIZATIONS = ("L1", "L2")


class UpdateRule:
    """One rule over all learnable parameters of a net: a class says in `step` how a group of them is updated.

    `param` is a SolverParameter that `check` accepts, with the fields that the class declares in a class `Fields`.

    - `histories`: how many tensors of its shape a rule keeps for a parameter; they begin as zeros
    - `history`: all of them, those of the first kind first, then those of the second, as in Caffe; a state keeps them
    - `takes_momentum`: whether `momentum` means anything to the rule
    - `yields`: a plugin that registers the same name takes its place
    """

    histories: ClassVar[int] = 1
    takes_momentum: ClassVar[bool] = True
    yields: ClassVar[bool] = False

    def __init__(self, param: proto.SolverParameter, learnable: Sequence[Learnable]) -> None:
        self.param = param
        self.history: Tensors = [
            torch.zeros_like(item.tensor, requires_grad=False) for _ in range(self.histories) for item in learnable
        ]
        self.learnable = learnable
        groups: dict[tuple[float, float], list[int]] = {}
        for i, item in enumerate(learnable):
            if item.lr_mult:  # a rate of zero keeps the parameter and its history as they are
                groups.setdefault((item.lr_mult, item.decay_mult), []).append(i)
        self._groups = groups

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        """Raise SolverError for settings the rule has no meaning for."""
        if not cls.takes_momentum and param.momentum:
            raise SolverError(f"{param.type} takes no momentum; remove momentum: {param.momentum:g}", field="momentum")

    def begin(self, iteration: int) -> None:
        """Called before the update of each iteration, counted from 0: what depends on it goes into tensors in place."""

    def correction(self, iteration: int) -> float:
        """The factor of the learning rate at `iteration`, counted from 0."""
        return 1.0

    @torch.no_grad()
    def apply(self, rate: Rate, grad_scale: Rate = 1.0) -> None:
        """Update every parameter from its `.grad` times `grad_scale`; the gradients are used up.

        `rate` is the learning rate times `correction`.
        """
        count = len(self.learnable)
        for (lr_mult, decay_mult), indices in self._groups.items():
            params: Tensors = [self.learnable[i].tensor for i in indices]
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
            if isinstance(grad_scale, Tensor) or grad_scale != 1:
                torch._foreach_mul_(grads, grad_scale)
            decay, own_rate = self.param.weight_decay * decay_mult, _scalar(rate * lr_mult, params[0])
            if decay:
                check_regularization(self.param)
                self.regularize(params, grads, decay, own_rate)
            history = [[self.history[i + k * count] for i in indices] for k in range(self.histories)]
            self.step(params, grads, history, own_rate)

    def regularize(self, params: Tensors, grads: Tensors, decay: float, rate: Tensor) -> None:
        """Apply a weight decay before the step: as in Caffe it is added to the gradients."""
        l2 = self.param.regularization_type == "L2"
        torch._foreach_add_(grads, params if l2 else [p.sign() for p in params], alpha=decay)

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        """The rule itself, on the parameters of one group: change `params` and `history[k]` where they are.

        `grads` hold the gradient with weight decay, and may be written over; `rate` is the group's learning rate, 0-dim
        and on their device. Lists for `torch._foreach_*`, an entry a parameter. A step that asks for no value (`item`)
        is recorded on a GPU.
        """
        raise SolverError(f"{type(self).__name__} does not define step")


RULES = Kind("solver type", UpdateRule, "SolverParameter", SolverError)
register_update = RULES.register


def _scalar(value: Rate, like: Tensor) -> Tensor:
    """A number as a 0-dim tensor: torch makes one of a number for each parameter, which takes as long as its part."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=like.dtype, device=like.device)


@register_update("SGD")
class SGD(UpdateRule):
    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        (velocity,) = history
        torch._foreach_mul_(grads, rate)
        torch._foreach_mul_(velocity, self.param.momentum)
        torch._foreach_add_(velocity, grads)
        torch._foreach_sub_(params, velocity)


@register_update("Nesterov")
class Nesterov(UpdateRule):
    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        # Caffe steps by (1 + m) h_new - m h_old, which is lr g + m h_new
        (velocity,) = history
        momentum = self.param.momentum
        torch._foreach_mul_(grads, rate)
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, grads)
        torch._foreach_sub_(params, grads)
        torch._foreach_sub_(params, velocity, alpha=momentum)


@register_update("AdaGrad")
class AdaGrad(UpdateRule):
    takes_momentum = False

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        (squares,) = history
        torch._foreach_addcmul_(squares, grads, grads)
        _descend(params, grads, squares, rate, self.param.delta)


@register_update("RMSProp")
class RMSProp(UpdateRule):
    takes_momentum = False

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        super().check(param)
        if not 0 <= param.rms_decay < 1:
            raise SolverError(f"rms_decay must lie in [0, 1), not {param.rms_decay:g}", field="rms_decay")

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        (squares,) = history
        _decay_squares(squares, grads, self.param.rms_decay)
        _descend(params, grads, squares, rate, self.param.delta)


@register_update("AdaDelta")
class AdaDelta(UpdateRule):
    histories = 2

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        squares, moved = history
        momentum, delta = self.param.momentum, self.param.delta
        _decay_squares(squares, grads, momentum)
        ratio = torch._foreach_add(moved, delta)
        torch._foreach_div_(ratio, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(grads, ratio)
        _decay_squares(moved, grads, momentum)
        torch._foreach_mul_(grads, rate)
        torch._foreach_sub_(params, grads)


@register_update("Adam")
class Adam(UpdateRule):
    histories = 2

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        super().check(param)
        _check_moments(param)

    def correction(self, iteration: int) -> float:
        beta1, beta2, t = self.param.momentum, self.param.momentum2, iteration + 1
        return float((1 - beta2**t) ** 0.5 / (1 - beta1**t))

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        mean, squares = history
        beta1, beta2 = self.param.momentum, self.param.momentum2
        torch._foreach_mul_(mean, beta1)
        torch._foreach_add_(mean, grads, alpha=1 - beta1)
        _decay_squares(squares, grads, beta2)
        _descend(params, mean, squares, rate, self.param.delta)


@register_update("AdamW")
class AdamW(UpdateRule):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, Algorithm 2), as torch.optim.AdamW.

    The weights lose rate * weight_decay of themselves, the gradients gain nothing. Unlike in Caffe's Adam, `delta` is
    added to the root of the corrected second moment. Not BVLC Caffe's.
    """

    origin = "sdcaffe"
    histories = 2
    yields = True

    def __init__(self, param: proto.SolverParameter, learnable: Sequence[Learnable]) -> None:
        super().__init__(param, learnable)
        device = learnable[0].tensor.device if learnable else None
        self._mean_part, self._root_part = torch.ones((), device=device), torch.ones((), device=device)

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        super().check(param)
        _check_moments(param)
        if param.weight_decay and param.regularization_type != "L2":
            raise SolverError("AdamW's weight decay is L2's; remove regularization_type", field="regularization_type")

    def begin(self, iteration: int) -> None:
        self._mean_part.fill_(1 - self.param.momentum ** (iteration + 1))
        self._root_part.fill_((1 - self.param.momentum2 ** (iteration + 1)) ** 0.5)

    def regularize(self, params: Tensors, grads: Tensors, decay: float, rate: Tensor) -> None:
        torch._foreach_mul_(params, 1 - rate * decay)

    def step(self, params: Tensors, grads: Tensors, history: list[Tensors], rate: Tensor) -> None:
        mean, squares = history
        torch._foreach_mul_(mean, self.param.momentum)
        torch._foreach_add_(mean, grads, alpha=1 - self.param.momentum)
        _decay_squares(squares, grads, self.param.momentum2)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_div_(scale, self._root_part)
        torch._foreach_add_(scale, self.param.delta)
        step = torch._foreach_div(mean, scale)
        torch._foreach_mul_(step, rate / self._mean_part)
        torch._foreach_sub_(params, step)


def _check_moments(param: proto.SolverParameter) -> None:
    for field in ("momentum", "momentum2"):
        if not 0 <= getattr(param, field) < 1:
            raise SolverError(f"{param.type} needs a {field} in [0, 1), not {getattr(param, field):g}", field=field)


def _decay_squares(squares: Tensors, values: Tensors, decay: float) -> None:
    """squares = decay * squares + (1 - decay) * values^2"""
    torch._foreach_mul_(squares, decay)
    torch._foreach_addcmul_(squares, values, values, value=1 - decay)


def _descend(params: Tensors, direction: Tensors, squares: Tensors, rate: Tensor, delta: float) -> None:
    """params -= rate * direction / (sqrt(squares) + delta)"""
    scale = torch._foreach_sqrt(squares)
    torch._foreach_add_(scale, delta)
    step = torch._foreach_div(direction, scale)
    torch._foreach_mul_(step, rate)
    torch._foreach_sub_(params, step)


def rule_class(param: proto.SolverParameter) -> type[UpdateRule]:
    """The rule that a SolverParameter names. Raises SolverError for one that nobody brought."""
    found = RULES.get(param.type)
    if found is None:
        raise SolverError(unknown("solver type", param.type, RULES.names()), field="type")
    return found


def check_regularization(param: proto.SolverParameter) -> None:
    """Raise SolverError for a regularization_type that is unknown and, with a weight_decay, needed."""
    if param.weight_decay and param.regularization_type not in REGULARIZATIONS:
        what = unknown("regularization_type", param.regularization_type, REGULARIZATIONS)
        raise SolverError(what, field="regularization_type")


def clip_scale(learnable: Sequence[Learnable], limit: float) -> tuple[Tensor, Tensor] | None:
    """(L2 norm over all gradients, factor that brings it down to `limit`), 0-dim: Caffe's clip_gradients.

    None where nothing has a gradient. Waits for no device.
    """
    grads = [item.tensor.grad for item in learnable if item.tensor.grad is not None]
    if not grads:
        return None
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    return norm, torch.where(norm > limit, limit / norm, 1.0)
