"""What the NVIDIA driver says of the GPUs, in the lines of `caffe device_query`. Needs no torch and no CUDA toolkit."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from typing import Any

from sdcaffe.errors import SdcaffeError
from sdcaffe.log import glog

# Caffe's labels in its order (common.cpp:178 on), and the driver's attribute numbers that answer each (cuda.h).
_NAME, _MEMORY = "Name:", "Total global memory:"
_LINES: list[tuple[str, tuple[int, ...]]] = [
    ("Major revision number:", (75,)),
    ("Minor revision number:", (76,)),
    (_NAME, ()),
    (_MEMORY, ()),
    ("Total shared memory per block:", (8,)),
    ("Total registers per block:", (12,)),
    ("Warp size:", (10,)),
    ("Maximum memory pitch:", (11,)),
    ("Maximum threads per block:", (1,)),
    ("Maximum dimension of block:", (2, 3, 4)),
    ("Maximum dimension of grid:", (5, 6, 7)),
    ("Clock rate:", (13,)),
    ("Total constant memory:", (9,)),
    ("Texture alignment:", (14,)),
    ("Concurrent copy and execution:", (15,)),
    ("Number of multiprocessors:", (16,)),
    ("Kernel execution timeout:", (17,)),
]
_YES_OR_NO = (15, 17)
_FIRST_LINE = 178


def query(which: str) -> None:
    """Log the properties of GPU `which`: "all", or numbers with commas.

    Raises SdcaffeError where there is no driver, no GPU, or not the one asked for.
    """
    glog("caffe.cpp:138", f"Querying GPUs {which}")
    driver = _driver()
    count = ctypes.c_int()
    _check(driver.cuDeviceGetCount(ctypes.byref(count)), "count the GPUs")
    for index in _indices(which, count.value):
        glog(f"common.cpp:{_FIRST_LINE}", f"{'Device id:':<31}{index}")
        for number, (label, value) in enumerate(properties(driver, index), _FIRST_LINE + 1):
            glog(f"common.cpp:{number}", f"{label:<31}{value}")


def properties(driver: ctypes.CDLL, index: int) -> Iterable[tuple[str, str]]:
    """Caffe's label and the value of each property of one GPU; `driver` is libcuda, initialised."""
    device = ctypes.c_int()
    _check(driver.cuDeviceGet(ctypes.byref(device), index), f"open GPU {index}")
    for label, attributes in _LINES:
        if label == _NAME:
            name = ctypes.create_string_buffer(256)
            _check(driver.cuDeviceGetName(name, len(name), device), "read a GPU's name")
            yield label, name.value.decode(errors="replace")
        elif label == _MEMORY:
            memory = ctypes.c_size_t()
            _check(driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device), "read a GPU's memory")
            yield label, str(memory.value)
        else:
            yield label, ", ".join(_attribute(driver, device, attribute) for attribute in attributes)


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, attribute: int) -> str:
    value = ctypes.c_int()
    _check(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), f"read attribute {attribute}")
    if attribute in _YES_OR_NO:
        return "Yes" if value.value else "No"
    return str(value.value)


def _driver() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        raise SdcaffeError(f"this machine has no NVIDIA driver ({name} is not there), so no CUDA GPU") from None
    _check(driver.cuInit(0), "start")
    return driver


def _indices(which: str, count: int) -> list[int]:
    if which == "all":
        return list(range(count))
    indices = []
    for part in which.split(","):
        if not part.isdecimal() or len(part) > 9:
            raise SdcaffeError(f'"{part}" is no number of a GPU; give numbers with commas, or all')
        if int(part) >= count:
            last = f"the last one is {count - 1}" if count else "the driver finds none"
            raise SdcaffeError(f"there is no GPU {part} on this machine: {last}")
        indices.append(int(part))
    return indices


def _check(code: int, what: str) -> None:
    if code:
        raise SdcaffeError(f"the NVIDIA driver cannot {what}: error {code} (100 is: no GPU)")
