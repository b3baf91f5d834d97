"""Learning-rate policies: the rate as a function of the iteration and of the steps taken before it.

Caffe's seven, a cosine, and those that plugins bring; `lr_policy` in the solver names one. Before any of them a solver
may warm up.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import ClassVar

from sdcaffe import proto
from sdcaffe.errors import SolverError, unknown
from sdcaffe.plugins import Kind


class Policy:
    """The learning rate of a run.

    `param` is the SolverParameter, with the fields that the class declares in a class `Fields`. What `rate` gives
    depends on its arguments and on `param` alone: a run that goes on from a state has what an unstopped one has.

    - `status`: where it is set, a line `STATUS: Iteration 8, step = 2` tells each step that is taken.
    - `follows_loss`: the rate of an iteration depends on losses, its own included: `observe` is told them
    - `yields`: a plugin that registers the same name takes its place
    """

    status: ClassVar[str | None] = None
    follows_loss: ClassVar[bool] = False
    yields: ClassVar[bool] = False

    def __init__(self, param: proto.SolverParameter) -> None:
        self.param = param

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        """Raise SolverError for settings that the policy has no meaning for."""

    def steps(self, iteration: int, before: int) -> int:
        """Caffe's current_step at `iteration`, which was `before` an iteration earlier, or in the state resumed from.

        A state keeps it. Left as it is, unless the policy counts steps.
        """
        return before

    def observe(self, iteration: int, steps: int, loss: float, memory: dict[str, float]) -> int:
        """The steps taken once the smoothed `loss` of `iteration` is known, `steps` before: of one that `follows_loss`.

        Called between the gradients and the update. `memory` is what it keeps of former iterations; a state keeps it.
        """
        return steps

    def rate(self, iteration: int, steps: int) -> float:
        """The rate of `iteration`, counted from 0, after `steps` steps."""
        raise SolverError(f"{type(self).__name__} does not define rate")


POLICIES = Kind("lr_policy", Policy, "SolverParameter", SolverError)
register_policy = POLICIES.register


@register_policy("fixed")
class Fixed(Policy):
    """base_lr"""

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr


class _Decaying(Policy):
    """What takes a gamma."""

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        if param.gamma < 0:
            raise _refusal(param, "gamma", f"of at least 0, not {param.gamma:g}")


@register_policy("step")
class Step(_Decaying):
    """base_lr * gamma^(iteration / stepsize, rounded down)"""

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        _check_stepsize(param)
        super().check(param)

    def steps(self, iteration: int, before: int) -> int:
        return iteration // self.param.stepsize

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr * self.param.gamma**steps


@register_policy("multistep")
class MultiStep(_Decaying):
    """base_lr * gamma^steps: a step at each stepvalue, one an iteration at most"""

    status = "MultiStep Status"

    def steps(self, iteration: int, before: int) -> int:
        values = self.param.stepvalue
        return before + (before < len(values) and iteration >= values[before])

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr * self.param.gamma**steps


@register_policy("exp")
class Exp(_Decaying):
    """base_lr * gamma^iteration"""

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr * self.param.gamma**iteration


@register_policy("inv")
class Inv(_Decaying):
    """base_lr * (1 + gamma * iteration)^-power"""

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr * (1 + self.param.gamma * iteration) ** -self.param.power


@register_policy("poly")
class Poly(Policy):
    """base_lr * (1 - iteration / max_iter)^power, and 0 from max_iter on, where Caffe raises a negative number"""

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        if param.max_iter <= 0:
            raise _refusal(param, "max_iter", f"above 0, not {param.max_iter}")

    def rate(self, iteration: int, steps: int) -> float:
        left = 1 - iteration / self.param.max_iter
        return self.param.base_lr * left**self.param.power if left > 0 else 0.0


@register_policy("sigmoid")
class Sigmoid(_Decaying):
    """base_lr / (1 + exp(-gamma * (iteration - stepsize)))"""

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        _check_stepsize(param)
        super().check(param)

    def rate(self, iteration: int, steps: int) -> float:
        exponent = -self.param.gamma * (iteration - self.param.stepsize)
        return self.param.base_lr / (1 + math.exp(exponent)) if exponent < 700 else 0.0


@register_policy("cosine")
class Cosine(Policy):
    """base_lr * (1 + cos(pi * t / T)) / 2 (Loshchilov and Hutter, 2017, Eq. 5): from base_lr down to 0.

    With a stepsize it restarts: T is the stepsize, t the iterations since the last restart. Without one T is max_iter.
    Not BVLC Caffe's.
    """

    origin = "sdcaffe"
    yields = True

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        if not param.HasField("stepsize") and param.max_iter <= 0:
            raise _refusal(param, "max_iter", f"above 0, not {param.max_iter}, or a stepsize")
        if param.HasField("stepsize"):
            _check_stepsize(param)

    def rate(self, iteration: int, steps: int) -> float:
        period = self.param.stepsize or self.param.max_iter
        done = iteration % period if self.param.stepsize else min(iteration, period)
        return self.param.base_lr * (1 + math.cos(math.pi * done / period)) / 2


def _check_stepsize(param: proto.SolverParameter) -> None:
    if param.stepsize <= 0:
        raise _refusal(param, "stepsize", f"above 0, not {param.stepsize}")


def _refusal(param: proto.SolverParameter, field: str, what: str) -> SolverError:
    return SolverError(f'lr_policy "{param.lr_policy}" needs a {field} {what}', field=field)


def policy_of(param: proto.SolverParameter) -> Policy:
    """The policy that a SolverParameter names. Raises SolverError for one that is unknown or lacks what it needs."""
    cls = POLICIES.get(param.lr_policy)
    if cls is None:
        raise SolverError(unknown("lr_policy", param.lr_policy, POLICIES.names()), field="lr_policy")
    with POLICIES.blamed(cls):
        cls.check(param)
        return cls(param)


def warming_up(param: proto.SolverParameter, iteration: int) -> bool:
    """Whether the rate of `iteration` is not the policy's yet. As in Intel Caffe, no steps are taken then."""
    return iteration < param.warmup_iter


def observed(param: proto.SolverParameter, iteration: int, before: int, loss: float, memory: dict[str, float]) -> int:
    """The steps taken once a policy that follows the loss knows that of `iteration`. A warm-up tells it nothing."""
    policy = policy_of(param)
    if warming_up(param, iteration):
        return before
    with POLICIES.blamed(policy):
        return policy.observe(iteration, before, loss, memory)


def learning_rate(param: proto.SolverParameter, iteration: int, before: int) -> float:
    """The rate of `iteration` (counted from 0), `before` steps taken an iteration earlier; inf past a float's range.

    During a warm-up it is the line from warmup_start, at iteration 0, to base_lr, at warmup_iter. The policy behind it
    sees all iterations, those of the warm-up too (intel/caffe@44d5363). Raises SolverError for a policy that is unknown
    or lacks what it needs.
    """
    policy = policy_of(param)
    if warming_up(param, iteration):
        return param.warmup_start + (param.base_lr - param.warmup_start) * iteration / param.warmup_iter
    with POLICIES.blamed(policy):
        try:
            rate = policy.rate(iteration, policy.steps(iteration, before))
        except OverflowError:
            rate = math.inf
    if not isinstance(rate, Real):
        raise SolverError(f'lr_policy "{param.lr_policy}" gave {rate!r}, which is no rate', field="lr_policy")
    return float(rate)
