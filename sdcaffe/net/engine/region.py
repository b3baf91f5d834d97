"""Which layers of a net go into one ONNX model, and that model. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdcaffe.layers.base import DataLayer, Layer
from sdcaffe.net.assembly import Assembled
from sdcaffe.net.engine import operators, sums  # noqa: F401 (they fill the table)
from sdcaffe.net.engine.recorder import RecordedStage, Recorder, Unsupported
from sdcaffe.net.engine.table import OPERATORS
from sdcaffe.net.stages import Stages
from sdcaffe.plugins import is_plugin

_MOST_TRIES = 12  # layers that turn out to be none for the model, one at a time


@dataclass
class Region:
    """The layers at `places`: they read the slots `inputs`, and the slots `outputs` are all that is left of them.

    `after` are the places that hang on them. `model` and the constants `beside` it make a session, whose further inputs
    are the parameters `read_in_place`; of these the `unseen` come into it in no other way.
    """

    places: list[int]
    after: set[int]
    inputs: list[int]
    outputs: list[int]
    model: bytes
    beside: dict[str, Any]
    read_in_place: dict[str, Tensor]
    unseen: list[Tensor]


def region_of(made: Assembled, wanted: set[int], *, watched: bool = False) -> Region:
    """The region of an assembled net whose shapes are set, where the blobs in the slots `wanted` are asked for.

    With `watched` as few parameters as can be go into the model itself.

    Raises Unsupported for a net without one.
    """
    barred = {place: reason for place, layer in enumerate(made.layers) if (reason := _reason(layer))}
    for _ in range(_MOST_TRIES):
        places, after = _places(made, set(barred))
        if not any(made.layers[place].linear for place in places):
            break
        found = _recorded(made, places, after, wanted, watched)
        if isinstance(found, Region):
            return found
        barred.update(found)
    words = [f'"{made.layers[place].name}" {reason}' for place, reason in barred.items() if reason != _ELSEWHERE]
    raise Unsupported(f"layers that ONNX Runtime cannot run: {', '.join(words)}" if words else "it has no such layers")


_ELSEWHERE = "stays outside"


def _reason(layer: Layer) -> str:
    """Why a layer stays outside, whatever it computes; "" where it may go in."""
    cls = type(layer)
    if isinstance(layer, DataLayer) or layer.given or layer.loss or layer.judges or not layer.layer_param.top:
        return _ELSEWHERE
    if layer.not_exported:
        return layer.not_exported
    if layer.dynamic or layer.chooses or layer.gradient_bottoms or cls.forget is not Layer.forget:
        return "keeps or chooses more than an operator does"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "has hooks"
    if is_plugin(cls) and cls.to_onnx is Layer.to_onnx:
        return "is a plugin's without to_onnx"
    return ""


def _places(made: Assembled, barred: set[int]) -> tuple[list[int], set[int]]:
    """What goes in: whatever may and hangs on nothing that hangs on it. And what hangs on it."""
    inside, behind = set[int](), set[int]()  # slots
    places, after = [], set()
    for place, step in enumerate(made.graph.steps):
        bottoms = set(step.bottoms)
        if bottoms & behind or (place in barred and bottoms & inside):
            behind.update(step.tops)
            after.add(place)
        elif place not in barred and (not made.layers[place].copies or bottoms & inside):
            inside.update(step.tops)
            places.append(place)
    return places, after


def _recorded(
    made: Assembled, places: list[int], after: set[int], wanted: set[int], watched: bool
) -> Region | dict[int, str]:
    """The region of these places; where one of them cannot be recorded, that and why."""
    steps, chosen = made.graph.steps, set(places)
    makes = {slot for place in places for slot in steps[place].tops}
    read = {slot for place, step in enumerate(steps) if place not in chosen for slot in step.bottoms}
    outputs = sorted(makes & (read | wanted | set(made.graph.outputs.values()) | made.loss_weights.keys()))
    stages = Stages(made, outputs, places=chosen)
    place_of = {id(made.layers[place]): place for place in places}
    recorder = Recorder(OPERATORS, _own(made), watched=watched)
    values: dict[int, Tensor] = {}
    with torch.no_grad():
        for stage in stages.stages:
            for slot in stage.bottoms:
                if slot not in values:
                    values[slot] = recorder.given(f"in{slot}", made.shapes[slot])
            try:
                with recorder:
                    bottoms = [values[slot] for slot in stage.bottoms]
                    tops = stage.layer.to_onnx(RecordedStage(stage, recorder), *bottoms)
                tops = (tops,) if isinstance(tops, Tensor) else tops
                for top, slot in zip(tops, stage.tops, strict=True):
                    if tuple(top.shape) != made.shapes[slot] or top.dtype != torch.float32:
                        raise Unsupported("its tops have other shapes than setup said")
            except Exception as error:  # torch's and ours: what cannot be recorded runs in torch
                return {place_of[id(stage.layer)]: _line(error)}
            values.update(zip(stage.tops, tops, strict=True))
    inputs = {slot: value for slot, value in values.items() if slot not in makes}
    given = {f"in{slot}": value for slot, value in inputs.items()}
    results = {f"out{slot}": values[source] for slot, source in zip(outputs, stages.outputs, strict=True)}
    model, beside = recorder.model(given, results)
    return Region(places, after, list(inputs), outputs, model, beside, recorder.read_in_place, recorder.unseen)


def _own(made: Assembled) -> list[Tensor]:
    """The blobs that one layer alone reads, and no plugin's: others may come into the model changed."""
    readers: dict[int, list[Layer]] = {}
    blobs = {}
    for layer in made.layers:
        for blob in layer.parameters():
            readers.setdefault(blob.data_ptr(), []).append(layer)
            blobs[blob.data_ptr()] = blob
    return [blobs[at] for at, layers in readers.items() if len(layers) == 1 and not is_plugin(type(layers[0]))]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def differ(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference of a blob over its largest finite value; what is not finite is so in both, or inf."""
    worst = 0.0
    for ours, theirs in zip(got, expected, strict=True):
        finite = torch.isfinite(theirs)
        if ours.shape != theirs.shape or not torch.equal(torch.isfinite(ours), finite):
            return float("inf")
        if not torch.equal(ours[~finite].nan_to_num(nan=7.0), theirs[~finite].nan_to_num(nan=7.0)):
            return float("inf")
        apart = (ours[finite].double() - theirs[finite].double()).abs()
        if apart.numel() and float(apart.max()):
            worst = max(worst, float(apart.max()) / max(float(theirs[finite].abs().max()), 1e-30))
    return worst
