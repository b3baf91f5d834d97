"""Where a solver computes: the device asked for, or that of this process among those started with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import torch

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SolverError
from sdcaffe.log import glog

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


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


def say_devices(devices: Sequence[str]) -> None:
    """Caffe's lines on what it computes on: "cpu" alone, or GPUs, where "cuda" is the first; their names."""
    if devices[0] == "cpu":
        glog("caffe.cpp:197", "Use CPU.")
        return
    indices = [_device(device).index or 0 for device in devices]
    glog("caffe.cpp:218", f"Using GPUs {', '.join(map(str, indices))}")
    for index in indices if torch.cuda.is_available() else ():
        glog("caffe.cpp:223", f"GPU {index}: {torch.cuda.get_device_name(index)}")


def _device(name: str | torch.device) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError:
        raise SolverError(f'device "{name}" is none of cpu, cuda, cuda:N') from None


def choose_device(param: proto.SolverParameter, device: str | torch.device | None) -> torch.device:
    """The device asked for, else what solver_mode and device_id say; without CUDA, solver_mode GPU runs on the CPU.

    Raises SolverError for a device asked for that is not there, or is none.
    """
    if device is not None:
        chosen = _device(device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise SolverError(f"--device {device}: this PyTorch sees no CUDA device; use --device cpu")
        if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
            raise SolverError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices")
        return chosen
    gpu = proto.SolverParameter.GPU
    if param.solver_mode == gpu and torch.cuda.is_available():
        chosen = torch.device((own_device(["cuda"]) if in_a_job() else None) or f"cuda:{param.device_id}")
        say_devices([str(chosen)])
        return chosen
    if param.solver_mode == gpu and param.HasField("solver_mode"):
        glog("caffe.cpp:197", "solver_mode is GPU but there is no CUDA device: using the CPU", logging.WARNING)
    say_devices(["cpu"])
    return torch.device("cpu")
