"""Runs one layer alone on what was recorded of Caffe, and compares. Holds no expectations of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from sdcaffe import layers, proto
from sdcaffe.layers.base import Layer, class_of

FOLDER = Path(__file__).parents[1] / "goldens"
LAYERS = FOLDER / "layers"
TOLERANCE = 1e-5  # of the largest absolute value of what is compared
DATA_SHAPED = {"Filter"}  # types whose top shape depends on the bottoms' values
SHARED_DIFF = {"Parameter"}  # top and blob have one diff in Caffe: clearing the blob's cleared the top's


@dataclass
class Recording:
    """One layers/NAME.npz; `record.py` beside it says what each field is."""

    name: str
    arrays: dict[str, np.ndarray]
    passes: int

    def text(self, field: str) -> str:
        return str(self.arrays[field])

    def all(self, stem: str) -> dict[int, np.ndarray]:
        """Index -> array of every STEM_index."""
        fields = {key: key.removeprefix(f"{stem}_") for key in self.arrays if key.startswith(f"{stem}_")}
        return {int(rest): self.arrays[key] for key, rest in fields.items() if rest.isdigit()}

    @property
    def has_backward(self) -> bool:
        return any("_diff_" in key for key in self.arrays)


@cache
def _cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_cases", FOLDER / "cases.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(folder: Path = LAYERS) -> list[str]:
    """Every recording there is."""
    return sorted(path.stem for path in folder.glob("*.npz"))


def read(name: str, folder: Path = LAYERS) -> Recording:
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    passes = [case.get("passes", 1) for case in _cases().CASES if case["name"] == name and folder == LAYERS]
    return Recording(name, arrays, passes[0] if passes else 1)


def layer_param(text: str, name: str = "x") -> Any:
    """The LayerParameter called `name` of a net given as prototxt."""
    net = proto.NetParameter()
    proto.text.parse(text, net, "recording.prototxt")
    (found,) = [layer for layer in net.layer if layer.name == name]
    return found


def build(text: str, bottom_shapes: Iterable[tuple[int, ...]], phase: str = "TRAIN") -> Layer:
    """Layer "x" of a net given as prototxt, set up for bottoms of these shapes; its shapes are in `top_shapes`."""
    layers.discover()
    param = layer_param(text)
    layer = class_of(param)(param, getattr(proto, phase))
    layer.top_shapes = layer.setup([tuple(shape) for shape in bottom_shapes])
    return layer


def one_layer(type_name: str, body: str = "", *, bottoms: int = 1, tops: int = 1) -> str:
    """Prototxt of a net of one layer "x" with bottoms b0, b1 ... and tops t0, t1 ..."""
    blobs = [f'bottom: "b{i}"' for i in range(bottoms)] + [f'top: "t{i}"' for i in range(tops)]
    return f'layer {{ name: "x" type: "{type_name}" {" ".join(blobs)} {body} }}'


def run(layer: Layer, bottoms: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    tops = layer(*bottoms)
    return (tops,) if isinstance(tops, torch.Tensor) else tuple(tops)


def check(name: str, folder: Path = LAYERS, *, channels_last: bool, passes: int | None = None) -> None:
    """Forward, state, backward: each recorded array against ours. 4-D bottoms in either memory order.

    `passes` forward passes were recorded; None: as many as the recording's case says.
    """
    recording = read(name, folder)
    recorded = recording.all("bottom")
    layer = build(recording.text("prototxt"), [recorded[i].shape for i in sorted(recorded)], recording.text("phase"))
    with torch.no_grad():
        for i, values in recording.all("param").items():
            assert tuple(layer.blobs[i].shape) == values.shape, f"param_{i}"
            layer.blobs[i].copy_(torch.from_numpy(values))
    with_diff = recording.all("bottom_diff")
    bottoms = [_bottom(recorded[i], i in with_diff, channels_last) for i in sorted(recorded)]
    for _ in range(passes or recording.passes):
        tops = run(layer, bottoms)
    for i, bottom in enumerate(bottoms):
        assert np.array_equal(bottom.detach().numpy(), recorded[i]), f"the layer wrote into bottom {i}"
    _compare_tops(recording, layer, tops)
    _compare(layer.blobs, recording.all("param_after"), "param_after")
    if recording.has_backward:
        _backward(recording, layer, bottoms, tops)


def _bottom(values: np.ndarray, with_diff: bool, channels_last: bool) -> torch.Tensor:
    bottom = torch.from_numpy(values.copy())
    if channels_last and bottom.dim() == 4:
        bottom = bottom.contiguous(memory_format=torch.channels_last)
    return bottom.requires_grad_(with_diff)


def _compare_tops(recording: Recording, layer: Layer, tops: tuple[torch.Tensor, ...]) -> None:
    expected = recording.all("top")
    assert len(tops) == len(expected)
    if layer.type not in DATA_SHAPED and not layer.dynamic:
        assert [tuple(shape) for shape in layer.top_shapes] == [expected[i].shape for i in sorted(expected)]
    _compare(tops, expected, "top")


def _backward(recording: Recording, layer: Layer, bottoms: list[torch.Tensor], tops: tuple[torch.Tensor, ...]) -> None:
    top_diffs = recording.all("top_diff")
    if top_diffs:
        gradients = [torch.from_numpy(top_diffs[i]) for i in range(len(tops))]
        if layer.type in SHARED_DIFF:
            gradients = [torch.zeros_like(gradient) for gradient in gradients]
    else:  # a loss makes its own: its loss weight
        weights = list(layer.layer_param.loss_weight) or [float(layer.loss)]
        tops = tops[: len(weights)]
        gradients = [torch.full_like(top, weight) for top, weight in zip(tops, weights, strict=True)]
    reached = [(top, gradient) for top, gradient in zip(tops, gradients, strict=True) if top.requires_grad]
    if reached:
        torch.autograd.backward(*zip(*reached, strict=True))
    _compare([_gradient(bottom) for bottom in bottoms], recording.all("bottom_diff"), "bottom_diff")
    _compare([_gradient(blob) for blob in layer.blobs], recording.all("param_diff"), "param_diff")


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _compare(ours: Any, expected: dict[int, np.ndarray], what: str) -> None:
    for i, values in expected.items():
        close(ours[i], values, f"{what}_{i}")


def close(ours: torch.Tensor, expected: np.ndarray, what: str = "value", tolerance: float = TOLERANCE) -> None:
    """Same shape, and nowhere further apart than `tolerance` times the largest absolute value expected."""
    values = ours.detach().numpy()
    assert values.shape == expected.shape, what
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    difference = float(np.abs(values.astype(np.float64) - expected).max(initial=0.0))
    assert difference <= tolerance * scale, f"{what}: {difference:g} apart, largest value {scale:g}"
