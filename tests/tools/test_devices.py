from __future__ import annotations

import ctypes
import io
from typing import Any

import pytest

from sdcaffe.cli import main
from sdcaffe.log import setup
from sdcaffe.tools import devices

# What `caffe device_query -gpu 0` prints, as its users show it.
CAFFES = """\
Querying GPUs 0
Device id:                     0
Major revision number:         6
Minor revision number:         0
Name:                          Tesla P100-SXM2-16GB
Total global memory:           17071669248
Total shared memory per block: 49152
Total registers per block:     65536
Warp size:                     32
Maximum memory pitch:          2147483647
Maximum threads per block:     1024
Maximum dimension of block:    1024, 1024, 64
Maximum dimension of grid:     2147483647, 65535, 65535
Clock rate:                    1480500
Total constant memory:         65536
Texture alignment:             512
Concurrent copy and execution: Yes
Number of multiprocessors:     56
Kernel execution timeout:      No
"""
# The same by the numbers that cuda.h gives the attributes.
ATTRIBUTES = {
    **{1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2147483647, 6: 65535, 7: 65535, 8: 49152, 9: 65536, 10: 32},
    **{11: 2147483647, 12: 65536, 13: 1480500, 14: 512, 15: 1, 16: 56, 17: 0, 75: 6, 76: 0},
}


class Driver:
    """A CUDA driver of `count` equal GPUs."""

    def __init__(self, count: int) -> None:
        self.count = count

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = 70 + index
        return 0 if index < self.count else 101

    def cuDeviceGetName(self, name: Any, length: int, device: ctypes.c_int) -> int:
        name.value = b"Tesla P100-SXM2-16GB"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: ctypes.c_int) -> int:
        memory._obj.value = 17071669248
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: ctypes.c_int) -> int:
        value._obj.value = ATTRIBUTES[attribute]
        return 0 if device.value >= 70 else 101


def said(which: str) -> str:
    stream = io.StringIO()
    with setup(stream=stream):
        devices.query(which)
    return "".join(f"{line.partition('] ')[2]}\n" for line in stream.getvalue().splitlines())


def test_the_lines_are_caffes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_driver", lambda: Driver(2))
    assert said("0") == CAFFES
    second = CAFFES.replace("id:                     0", "id:                     1")
    both = CAFFES.replace("GPUs 0", "GPUs {}") + second.partition("\n")[2]
    assert said("all") == both.format("all")
    assert said("0,1") == both.format("0,1")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("2", "there is no GPU 2 on this machine: the last one is 1"),
        ("0,7", "there is no GPU 7"),
        ("first", '"first" is no number of a GPU'),
        ("", '"" is no number of a GPU'),
    ],
)
def test_a_gpu_that_is_not_there(
    which: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "_driver", lambda: Driver(2))
    with pytest.raises(devices.SdcaffeError, match=message):
        devices.query(which)
    if which:
        assert main(["device_query", "-gpu", which]) == 1
        assert message in capsys.readouterr().err


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    for arguments in ([], ["all"], ["-gpu", "0"]):
        assert main(["device-query", *arguments]) == 1
        assert "this machine has no NVIDIA driver" in capsys.readouterr().err.splitlines()[-1]


def test_a_driver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(1)
    monkeypatch.setattr(driver, "cuDeviceGetCount", lambda count: 3)
    monkeypatch.setattr(devices, "_driver", lambda: driver)
    with pytest.raises(devices.SdcaffeError, match="the NVIDIA driver cannot count the GPUs: error 3"):
        devices.query("all")


def test_the_gpus_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device_query", "all", "-gpu", "0"]) == 2
    assert "name the GPUs once" in capsys.readouterr().err
