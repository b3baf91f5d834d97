"""The processes that train together: how they join and fail as one. One process needs none of it.

Each computes its own part of the global batch. Started by torchrun, by `launch`, or by whoever called
`torch.distributed.init_process_group`; it starts none itself.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from sdcaffe.collectives import rank_and_world, summed
from sdcaffe.errors import SdcaffeError, told
from sdcaffe.run import starter
from sdcaffe.solver.devices import in_a_job, own_device

TIMEOUT = timedelta(minutes=10)  # for a process that neither answers nor ends; a dead one is noticed at once

_notes: dist.Store | None = None  # what the processes of a group that `launched` joined tell each other


class Ended(SystemExit):
    """This process ends because another one failed, and has said why: exit code 1, and not a word more."""

    def __init__(self, why: str) -> None:
        super().__init__(1)
        self.why = why

    def __str__(self) -> str:
        return self.why


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
    starter.watch_torchrun()
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
        cause = _told(_LOST if lost else told(error) or f"{type(error).__name__}: {error}")
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
