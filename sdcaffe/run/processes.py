"""The processes that train together: how they join and fail as one. One process needs none of it.

Each computes its own part of the global batch; gradients are averaged while backward still runs. Started by
torchrun, by `launch`, or by whoever called `torch.distributed.init_process_group`; it starts none itself.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from sdcaffe.collectives import rank_and_world, sharing_statistics_of_all, summed
from sdcaffe.errors import SdcaffeError, one_line

TIMEOUT = timedelta(minutes=10)  # for a process that neither answers nor ends; a dead one is noticed at once

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_notes: dist.Store | None = None  # what the processes of a group that `launched` joined tell each other


class Ended(SystemExit):
    """This process ends because another one failed, and has said why: exit code 1, and not a word more."""

    def __init__(self, why: str) -> None:
        super().__init__(1)
        self.why = why

    def __str__(self) -> str:
        return self.why


# ---------------------------------------------------------------- the group


def in_a_job() -> bool:
    """Whether this process was started as one of several, as torchrun does it."""
    return all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def own_device(devices: list[str]) -> str | None:
    """Of the devices that this machine's processes were given, the one of this process; None where none were.

    `cpu` alone is everybody's, and `cuda` the GPU of the process's number. Raises SdcaffeError where there are
    too few.
    """
    local = int(os.environ.get("LOCAL_RANK", 0)) if in_a_job() else 0
    if devices in (["cpu"], []):
        return devices[0] if devices else None
    if devices == ["cuda"]:
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if local < len(devices):
        return devices[local]
    raise SdcaffeError(
        f"this is process {local + 1} on this machine, but there is a device for {len(devices)}: start one process "
        "a GPU, and name all of them (--gpu all)"
    )


@contextmanager
def launched(device: str | None = None) -> Iterator[None]:
    """Join the group that this process was started for, while the context lasts; alone, do nothing.

    Tensors travel by gloo on a CPU and by NCCL on a GPU; what is no tensor goes by gloo, and no GPU waits for it.
    `device` is where this process is going to compute; None: it is not settled yet.
    """
    global _notes
    if not in_a_job() or dist.is_initialized():
        yield
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(device or own_device(["cuda"]))
    store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
    _notes = notes_in(store)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    failed = True
    try:
        yield
        summed(torch.zeros(1))  # nobody leaves while another still talks to it
        failed = False
    finally:
        gc.collect()  # what refers to the group would outlive it
        if not (cuda and failed):  # NCCL would wait for those that are gone
            dist.destroy_process_group()
        _notes = None


def notes_in(store: dist.Store) -> dist.Store:
    """The part of a group's store that holds what its processes say when they fail."""
    return dist.PrefixStore(f"sdcaffe/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


@contextmanager
def failing_as_one() -> Iterator[None]:
    """Of several processes that fail, the first raises why, and the others Ended with what it said.

    One that lost its connection to another is a failure with the words for that.
    """
    try:
        yield
    except Exception as error:
        if _notes is None:
            raise
        lost = _is_lost_connection(error)
        cause = _told(_LOST if lost else one_line(error) or f"{type(error).__name__}: {error}")
        if cause is not None:
            raise Ended(cause) from None
        if lost:
            raise SdcaffeError(_LOST) from None
        raise


_LOST = (
    "another process of this job ended without a word, or cannot be reached. The snapshots are as they were: "
    "go on from the last with --snapshot auto, with as many processes as you like"
)


def _told(why: str) -> str | None:
    """Note why this process fails; where another was first, what that one said."""
    assert _notes is not None
    try:
        if _notes.add("failures", 1) == 1:
            _notes.set("why", f"process {rank_and_world()[0]}: {why}")
            return None
        _notes.wait(["why"], timedelta(seconds=5))
        return str(_notes.get("why").decode())
    except (dist.DistError, RuntimeError):  # whoever kept the notes is gone
        return None


def _is_lost_connection(error: Exception) -> bool:
    """gloo has no error class of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


# ---------------------------------------------------------------- training


class Trainee:
    """A net whose `compute` averages gradients over all processes, while backward is still under way.

    Its parameters start as the root's. `accumulating` is the context for passes whose gradients are to be
    summed up on this process alone, before the pass that shares them (iter_size). With `shares_statistics`,
    batch statistics are those of all processes' batches.
    """

    def __init__(self, net: Any, *, shares_statistics: bool = False) -> None:
        self._net = net
        self._shared: DistributedDataParallel | None = None
        self._statistics = sharing_statistics_of_all if shares_statistics else nullcontext
        if rank_and_world()[1] > 1 and any(parameter.requires_grad for parameter in net.parameters()):
            self._shared = DistributedDataParallel(
                _Compute(net),
                gradient_as_bucket_view=True,
                find_unused_parameters=not net.all_trained(),
            )

    def __call__(self, batch: Any) -> Any:
        """`net.compute(batch)`; of its blobs, which no gradient comes back through, the values alone."""
        with self._statistics():
            return self._net.compute(batch) if self._shared is None else self._shared(batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to the parameters'; where none is wanted, do nothing."""
        if loss.requires_grad:
            with self._statistics():  # for layers that compute their forward once more
                loss.backward()

    def close(self) -> None:
        """Let go of the process group."""
        self._shared = None

    def accumulating(self) -> AbstractContextManager[None]:
        return nullcontext() if self._shared is None else self._shared.no_sync()


class _Compute(nn.Module):
    """`compute` under the name that DistributedDataParallel calls; without the net's buffers, which are each one's."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self._net = (net,)  # in a tuple it is no module of this one
        self.of_net = nn.ParameterList(net.parameters())

    def forward(self, batch: Any) -> Any:
        result = self._net[0].compute(batch)
        # DistributedDataParallel waits for a gradient of whatever stands under an output, and only the loss gives one
        return result._replace(blobs={name: blob.detach() for name, blob in result.blobs.items()})
