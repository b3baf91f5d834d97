"""What processes that train together agree on: their ranks, sums and means. Starts and joins no group.

Alone, a process is the root of a world of one, and each of these costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

if dist.is_available():
    # DistributedDataParallel imports it: after a group was made, defaults of its functions would keep that group, whose
    # threads then outlive the interpreter, and one that still holds a tensor aborts the process (SIGABRT)
    import torch.distributed.nn.functional

T = TypeVar("T")
_sharing = 1
_apart = False


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def is_root() -> bool:
    """Whether this is the process that logs, tests aloud and snapshots."""
    return rank_and_world()[0] == 0


def from_root(value: T) -> T:
    """The root's `value`, on every process."""
    box = [value]
    if rank_and_world()[1] > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def at_root(value: T) -> list[T]:
    """On the root every process's `value`, in the order of their ranks; nothing on the others."""
    rank, world = rank_and_world()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world if rank == 0 else []
    dist.gather_object(value, values or None, dst=0)
    return values


@contextmanager
def apart() -> Iterator[None]:
    """Let this process compute by itself while the context lasts: sums and means are then of its own alone.

    For passes that not all processes make, such as those of a test they share out.
    """
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def _together() -> int:
    return 1 if _apart else rank_and_world()[1]


def summed(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes; without gradient."""
    if _together() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def averaged(tensor: Tensor) -> Tensor:
    """The mean of `tensor` over all processes; without gradient."""
    return summed(tensor) / _together() if _together() > 1 else tensor


def largest(number: int) -> int:
    """The largest `number` of all processes."""
    if rank_and_world()[1] == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


@torch.no_grad()
def spread(tensors: list[Tensor]) -> None:
    """Overwrite float `tensors` of one device with the root's, in one message."""
    if rank_and_world()[1] == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.broadcast(flat, src=0)
    for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))


def sharing_statistics() -> int:
    """Over how many processes' batches a layer takes its batch statistics now: 1, or those that train together."""
    return _sharing


@contextmanager
def sharing_statistics_of_all() -> Iterator[None]:
    """Let layers take batch statistics over all processes' batches, while the context lasts."""
    global _sharing
    before, _sharing = _sharing, rank_and_world()[1]
    try:
        yield
    finally:
        _sharing = before
