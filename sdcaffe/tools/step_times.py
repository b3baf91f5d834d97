"""How long an iteration of training takes here: measured for small nets, estimated for what would take too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import Tick, no_tick
from sdcaffe.solver import Solver
from sdcaffe.tools.costs import costs

STEPS = 3  # timed ones; the first ever is not


@dataclass
class StepTime:
    """Of one net: seconds an iteration; None where the net cannot be trained here, `problem` says why.

    `measured` is False for an estimate: multiply-adds at the rate of the largest net that was measured.
    """

    seconds: float | None = None
    measured: bool = False
    problem: str = ""


def step_times(
    params: Iterable[Any],
    budget: float,
    device: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    tick: Tick = no_tick,
) -> dict[str, StepTime]:
    """The time of an iteration of each solver, by the path of its net; solvers of one net count once.

    Nets are built first, then the cheapest run first, until the next one would exceed `budget` seconds. The first
    is always run. `tick` counts the nets that are done with.
    """
    distinct = {param.net: _plain(param) for param in params}
    found: dict[str, StepTime] = {}
    sizes: dict[str, int] = {}
    for name, param in distinct.items():
        try:
            sizes[name] = _size(param, device)
        except SdcaffeError as error:
            found[name] = StepTime(problem=error.summary)
    end = clock() + budget
    rate: float | None = None  # seconds a multiply-add
    for name in sorted(sizes, key=sizes.__getitem__):
        expected = rate * sizes[name] if rate is not None else 0.0
        if (1 + STEPS) * expected > end - clock():
            found[name] = StepTime(expected)
        else:
            found[name] = _measured(distinct[name], device, clock)
            if (seconds := found[name].seconds) is not None:
                rate = seconds / max(sizes[name], 1)
        tick(len(found), len(distinct))
    return found


def _plain(param: Any) -> Any:
    """The solver without tests, snapshots and weights to start from."""
    plain = proto.SolverParameter()
    plain.CopyFrom(param)
    for name in ("test_iter", "test_state", "test_interval", "weights", "snapshot", "display"):
        plain.ClearField(name)
    return plain


def _size(param: Any, device: str | None) -> int:
    """Multiply-adds of a forward pass."""
    solver = Solver(param, device=device)
    try:
        return costs(solver.net).total("multiply_adds") * param.iter_size
    finally:
        solver.close()


def _measured(param: Any, device: str | None, clock: Callable[[], float]) -> StepTime:
    try:
        solver = Solver(param, device=device)
        try:
            solver.step(1)
            _settle(solver)
            start = clock()
            solver.step(STEPS)
            _settle(solver)
            return StepTime((clock() - start) / STEPS, measured=True)
        finally:
            solver.close()
    except torch.OutOfMemoryError:
        return StepTime(problem="it does not fit into the memory of the GPU")
    except SdcaffeError as error:
        return StepTime(problem=error.summary)


def _settle(solver: Solver) -> None:
    if solver.device.type == "cuda":
        torch.cuda.synchronize(solver.device)
