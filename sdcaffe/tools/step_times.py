"""How long an iteration of training takes here, and what it needs: measured, or counted in multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv2d

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.net import Net
from sdcaffe.solver import Solver
from sdcaffe.tools.costs import costs

STEPS = 3  # timed ones; the first ever is not
_PROBE = 0.3  # seconds


@dataclass
class StepTime:
    """Of one net: seconds an iteration; None where the net cannot be trained here, `problem` says why.

    `measured` is False for an estimate. `memory` is the most bytes of a GPU that it took, 0 where that is not known.
    """

    seconds: float | None = None
    measured: bool = False
    problem: str = ""
    memory: int = 0


def measured(param: proto.SolverParameter, device: str | None, clock: Callable[[], float] = time.monotonic) -> StepTime:
    """The time of an iteration of a solver, over a few of them."""
    try:
        solver = Solver(_plain(param), device=device)
        try:
            cuda = solver.device.type == "cuda"
            if cuda:
                torch.cuda.reset_peak_memory_stats(solver.device)
            solver.step(1)
            _settle(solver)
            start = clock()
            solver.step(STEPS)
            _settle(solver)
            memory = torch.cuda.max_memory_reserved(solver.device) if cuda else 0
            return StepTime((clock() - start) / STEPS, measured=True, memory=memory)
        finally:
            solver.close()
    except torch.OutOfMemoryError:
        return StepTime(problem="it does not fit into the memory of the GPU")
    except SdcaffeError as error:
        return StepTime(problem=error.summary)


def training_multiply_adds(net: Net) -> int:
    """Of one iteration: those of the pass forward, and twice as many again where gradients go back.

    So what is frozen, such as a teacher, counts once, and what learns three times.
    """
    forward = {layer.name: layer.multiply_adds for layer in costs(net).layers}
    learning: set[int] = set()
    total = 0
    for step in net.graph.steps:
        if any(blob.requires_grad for blob in net.layers[step.key].blobs) or learning.intersection(step.bottoms):
            learning.update(step.tops)
            total += 2 * forward.get(step.layer.name, 0)
    return total + sum(forward.values())


def rate(device: str | None, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds a multiply-add, as a convolution of a middling size takes them here: good for a first guess."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    images, weights = torch.randn(16, 32, 32, 32, device=place), torch.randn(32, 32, 3, 3, device=place)
    images = images.to(memory_format=torch.channels_last)
    products = 16 * 32 * 32 * 32 * 32 * 9
    conv2d(images, weights, padding=1)
    start, count = clock(), 0
    while clock() - start < _PROBE:
        conv2d(images, weights, padding=1)
        count += 1
        if place.type == "cuda":
            torch.cuda.synchronize(place)
    return (clock() - start) / (count * products)


def _plain(param: proto.SolverParameter) -> Any:
    """The solver without tests, snapshots and weights to start from."""
    plain = proto.SolverParameter()
    plain.CopyFrom(param)
    for name in ("test_iter", "test_state", "test_interval", "weights", "snapshot", "display"):
        plain.ClearField(name)
    return plain


def _settle(solver: Solver) -> None:
    if solver.device.type == "cuda":
        torch.cuda.synchronize(solver.device)
