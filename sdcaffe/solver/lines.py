"""Caffe's lines of a training iteration and of a test, and the values of output blobs that they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.log import glog, number

Scores = list[tuple[str, float]]  # values by name; a blob of n values stands there n times


def flat(blobs: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
    """The values of some blobs in one float64 vector, and the name of the blob of each."""
    names = [name for name, blob in blobs.items() for _ in range(blob.numel())]
    values = [blob.detach().flatten().double() for blob in blobs.values()]
    return names, torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)


def log_outputs(tag: str, kind: str, scores: Sequence[tuple[str, float]], weights: Mapping[str, float]) -> None:
    """`Train net output #0: loss = 2.3 (* 1 = 2.3 loss)` for each value; `weights` are the blobs' loss weights."""
    for j, (name, value) in enumerate(scores):
        line = f"    {kind} net output #{j}: {name} = {number(value)}"
        if name in weights:
            line += f" (* {number(weights[name])} = {number(weights[name] * value)} loss)"
        glog(tag, line)


def log_iteration(iteration: int, speed: tuple[int, float], display: int, loss: float) -> None:
    """The line of a displayed iteration; `speed` is (iterations, seconds) since the last one."""
    iterations, seconds = speed
    text = f"{number(iterations / seconds)} iter/s, {number(seconds)}s/{display} iters"
    glog("solver.cpp:239", f"Iteration {iteration} ({text}), loss = {number(loss)}")


def log_clipping(clipped: tuple[Tensor, Tensor], param: proto.SolverParameter) -> None:
    """What clip_gradients did, (norm, factor), if it did anything. Waits for the device."""
    norm, scale = map(float, clipped)
    if scale != 1:
        glog(
            "sgd_solver.cpp:93",
            f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > {number(param.clip_gradients)}) "
            f"by scale factor {number(scale)}",
        )
