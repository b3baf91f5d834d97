"""The processes that train together: which one this is, and what they agree on. One process needs none of it.

Each computes its own part of the global batch; gradients are averaged while backward still runs. Started by
torchrun, or by whoever called `torch.distributed.init_process_group`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def is_root() -> bool:
    """Whether this is the process that logs, tests aloud and snapshots."""
    return rank_and_world()[0] == 0


@contextmanager
def launched(device: torch.device) -> Iterator[None]:
    """Join the group that torchrun started this process for, while the context lasts; alone, do nothing."""
    asked = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if not asked or os.environ["WORLD_SIZE"] == "1" or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        dist.barrier()  # nobody leaves while another still talks to it
    finally:
        gc.collect()  # what refers to the group would outlive it
        dist.destroy_process_group()


def from_root(value: Any) -> Any:
    """The root's `value`, on every process."""
    box = [value]
    if rank_and_world()[1] > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: Any) -> list[Any]:
    """Every process's `value`, in the order of their ranks."""
    _, world = rank_and_world()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def summed(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes; without gradient."""
    if rank_and_world()[1] == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def averaged(tensor: Tensor) -> Tensor:
    """The mean of `tensor` over all processes; without gradient."""
    return summed(tensor) / rank_and_world()[1] if rank_and_world()[1] > 1 else tensor


@torch.no_grad()
def spread(tensors: list[Tensor]) -> None:
    """Overwrite `tensors` with the root's."""
    if rank_and_world()[1] > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


class Trainee:
    """A net whose `compute` averages gradients over all processes, while backward is still under way.

    Its parameters start as the root's. `accumulating` is the context for passes whose gradients are to be
    summed up on this process alone, before the pass that shares them (iter_size).
    """

    def __init__(self, net: Any) -> None:
        self._net = net
        self._shared: DistributedDataParallel | None = None
        if rank_and_world()[1] > 1:
            self._shared = DistributedDataParallel(
                _Compute(net),
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=not net.all_trained(),
            )

    def __call__(self, batch: Any) -> Any:
        return self._net.compute(batch) if self._shared is None else self._shared(batch)

    def close(self) -> None:
        """Let go of the process group."""
        self._shared = None

    def accumulating(self) -> AbstractContextManager[None]:
        return nullcontext() if self._shared is None else self._shared.no_sync()


class _Compute(nn.Module):
    """`compute` under the name that DistributedDataParallel calls."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Any) -> Any:
        return self.net.compute(batch)
