"""Caffe's seven learning-rate policies: the rate as a function of the iteration and of the steps taken before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sdcaffe.errors import SolverError, unknown


def steps_taken(param: Any, iteration: int, before: int) -> int:
    """Caffe's current_step at `iteration`, which was `before` an iteration earlier, or in the state resumed from.

    `step` counts anew; `multistep` climbs, by one step an iteration at most; other policies leave it.
    """
    if param.lr_policy == "step":
        return iteration // param.stepsize
    if param.lr_policy == "multistep" and before < len(param.stepvalue) and iteration >= param.stepvalue[before]:
        return before + 1
    return before


def _dropped(param: Any, iteration: int, steps: int) -> float:
    return param.base_lr * param.gamma**steps


def _poly(param: Any, iteration: int, steps: int) -> float:
    # beyond max_iter Caffe takes a power of a negative number; the rate stays at zero instead
    left = 1 - iteration / param.max_iter
    return param.base_lr * left**param.power if left > 0 else 0.0


def _sigmoid(param: Any, iteration: int, steps: int) -> float:
    exponent = -param.gamma * (iteration - param.stepsize)
    return param.base_lr / (1 + math.exp(exponent)) if exponent < 700 else 0.0


POLICIES: dict[str, Callable[[Any, int, int], float]] = {
    "fixed": lambda p, i, s: p.base_lr,
    "step": _dropped,
    "multistep": _dropped,
    "exp": lambda p, i, s: p.base_lr * p.gamma**i,
    "inv": lambda p, i, s: p.base_lr * (1 + p.gamma * i) ** -p.power,
    "poly": _poly,
    "sigmoid": _sigmoid,
}


def check(param: Any) -> None:
    """Raise SolverError unless the SolverParameter's policy exists and has what it needs."""
    policy = param.lr_policy
    if policy not in POLICIES:
        raise SolverError(unknown("lr_policy", policy, POLICIES), field="lr_policy")
    if policy in ("step", "sigmoid") and param.stepsize <= 0:
        raise SolverError(f'lr_policy "{policy}" needs a stepsize above 0, not {param.stepsize}', field="stepsize")
    if policy not in ("fixed", "poly") and param.gamma < 0:
        raise SolverError(f'lr_policy "{policy}" needs a gamma of at least 0, not {param.gamma:g}', field="gamma")
    if policy == "poly" and param.max_iter <= 0:
        raise SolverError(f'lr_policy "poly" needs a max_iter above 0, not {param.max_iter}', field="max_iter")


def learning_rate(param: Any, iteration: int, before: int) -> float:
    """The rate of `iteration` (counted from 0) after `before` steps; inf past a float's range.

    Raises SolverError for a policy that `check` refuses.
    """
    check(param)
    try:
        return POLICIES[param.lr_policy](param, iteration, steps_taken(param, iteration, before))
    except (OverflowError, ZeroDivisionError):
        return math.inf
