"""Caffe's process-wide settings: CPU or GPU, the device, the seed, the solvers' count. Blobs stay on the CPU."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import torch

from sdcaffe.errors import SdcaffeError

_CPU = torch.device("cpu")


@dataclass
class _State:
    gpu: bool = False
    index: int = 0
    told: bool = False
    computed: bool = False
    solver_count: int = 1
    solver_rank: int = 0


_state = _State()


def set_mode_cpu() -> None:
    """Compute on the processor."""
    _state.gpu = False


def set_mode_gpu() -> None:
    """Compute on the GPU; without one, on the processor, with a warning at the first layer that runs."""
    _state.gpu = True


def set_device(index: int) -> None:
    """Choose the GPU. Raises SdcaffeError where there are GPUs, but not this one."""
    count = torch.cuda.device_count()
    if index < 0 or (count and index >= count):
        raise SdcaffeError(f"there is no GPU {index}: the last one is {count - 1}")
    _state.index = index


def device() -> torch.device:
    """Where layers compute now."""
    if not _state.gpu:
        return _CPU
    if torch.cuda.is_available():
        return torch.device("cuda", _state.index)
    if not _state.told:
        _state.told = True
        logging.getLogger("sdcaffe").warning("set_mode_gpu: this PyTorch sees no CUDA device; computing on the CPU")
    return _CPU


def note_computing() -> None:
    """Say that this process computes, and so may have threads that a forked child would lack."""
    _state.computed = True


def _after_fork() -> None:
    if _state.computed:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_random_seed(seed: int) -> None:
    """Seed what fillers, Dropout and the like draw from; the draws are torch's, not Caffe's."""
    torch.manual_seed(seed)


def solver_count() -> int:
    return _state.solver_count


def set_solver_count(count: int) -> None:
    """Note how many solvers a script trains with; each of its processes trains on its own."""
    _state.solver_count = count


def solver_rank() -> int:
    return _state.solver_rank


def set_solver_rank(rank: int) -> None:
    """Note which solver this process is."""
    _state.solver_rank = rank


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted, and changes nothing: data layers read alone in any case."""


def has_nccl() -> bool:
    """False: several GPUs are not trained through this interface."""
    return False


class NCCL:
    """What joins several GPUs in Caffe's scripts. Raises SdcaffeError, made or asked for an id: see `has_nccl`."""

    def __init__(self, solver: object, uid: str) -> None:
        raise SdcaffeError("a script trains on one device; sdcaffe train --gpu 0,1 trains on several")

    @staticmethod
    def new_uid() -> str:
        raise SdcaffeError("a script trains on one device; sdcaffe train --gpu 0,1 trains on several")
