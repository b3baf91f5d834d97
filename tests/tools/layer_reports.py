"""Nets from text for the tests of reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdcaffe import layers, proto
from sdcaffe.net import Net

PROTOTXT = Path(__file__).parents[2] / "prototxt"


def net_param(text: str) -> Any:
    """A NetParameter from text."""
    layers.load_builtin()
    param = proto.NetParameter()
    proto.text.parse(text, param, "net.prototxt")
    return param


def build(text: str, phase: int = proto.TEST) -> Net:
    return Net(net_param(text), phase)


def convolution(name: str, bottom: str, outputs: int, kernel: int, extra: str = "") -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
      convolution_param {{ num_output: {outputs} kernel_size: {kernel} {extra} }} }}"""


def data(*sizes: int, name: str = "data") -> str:
    dims = " ".join(f"dim: {n}" for n in sizes)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'
