"""Holds an exported model against the Net it came from, on random inputs. Changes neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_pixels import Preprocess
from sdcaffe.converters.onnx_runtime import give, open_session
from sdcaffe.layers.base import Layer, Shape
from sdcaffe.net import Net

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4  # of the largest absolute value of an output

Arrays = dict[str, NDArray[Any]]


@dataclass
class Agreement:
    """The largest difference of any output, relative to that output's largest value, and where it is.

    `infinite`: the outputs of which some numbers are not finite, in the model and the net alike.
    """

    difference: float = 0.0
    output: str = ""
    shapes: tuple[Shape, ...] = ()  # of the first input, one for each run
    infinite: tuple[str, ...] = ()


def check(
    model: bytes,
    net: Net,
    outputs: Mapping[str, str],
    runs: list[Mapping[str, Shape]],
    preprocess: Preprocess | None = None,
) -> Agreement:
    """Run a model in ONNX Runtime and the net in torch on each of `runs`, the shapes of the net's inputs.

    `outputs` are blobs and what the model calls them. What each Softmax reads is compared too.
    Raises ModelError where the model does not run, where an output has another shape than the net's, and where the net
    itself gives an output without a finite number.
    """
    own, choosers = list(outputs), _choosers(net)
    model, extra = _with_more(model, net, [name for one in choosers for name in (*one.reads(), *one.tops)])
    outputs = {**outputs, **{name: name for name in extra}}
    session = open_session(model, "the exported model")
    generator = np.random.default_rng(1)
    worst = Agreement(shapes=tuple(next(iter(shapes.values()), ()) for shapes in runs))
    for shapes in runs:
        kept = [*outputs, *(name for one in choosers for name in one.reads())]
        given, images, expected = _one_pass(net, shapes, kept, generator, preprocess)
        found = _not_finite({name: expected[name] for name in own})
        worst.infinite = tuple(dict.fromkeys((*worst.infinite, *found)))
        first = {net.inputs[0]: images} if images is not None else {}
        try:
            got = dict(zip(outputs, session.run(list(outputs.values()), {**given, **first}), strict=True))
        except Exception as error:
            raise ModelError(f"the exported model does not run: {_line(error)}") from None
        if choosers:
            expected.update(_chosen(net, choosers, given, got, expected))
        for name, array in got.items():
            difference = relative_difference(array, expected[name])
            if array.shape != expected[name].shape:
                raise ModelError(
                    f'output "{name}" of the exported model has shape {array.shape}, the net\'s {expected[name].shape}'
                )
            if not difference <= worst.difference:
                worst.difference, worst.output = difference, name
    return worst


def _not_finite(expected: Arrays) -> list[str]:
    """The outputs that have numbers that are not finite. Raises ModelError for one that has no others."""
    found = [name for name, array in expected.items() if not np.isfinite(array).all()]
    for name in found:
        if not np.isfinite(expected[name]).any():
            raise ModelError(
                f'the net itself gives no finite number in "{name}", so no model can be held against it: nothing was '
                "written"
            )
    return found


@dataclass
class _Chooser:
    """A layer that `chooses`, with the names of what it reads and makes.

    It is held against what it makes of what the model gives it, and what follows against what follows from that: what
    the model and the net differ by, by rounding, may change a choice altogether. Of rows, which a rounding within the
    layer may exchange or replace by others, those of the model are taken where nearly all are the layer's.
    A bottom has several names where the model may lack it: those of the blobs that it is a view of come behind it.
    """

    layer: Layer
    bottoms: list[list[str]]
    tops: list[str]

    def reads(self) -> list[str]:
        return [name for names in self.bottoms for name in names]


def _choosers(net: Net) -> list[_Chooser]:
    found = []
    for layer, step in zip(net.assembled.layers, net.graph.steps, strict=True):
        slots = [*step.bottoms, *step.tops]
        names = [net.graph.slots[slot] for slot in slots]
        if layer.chooses and all(net.graph.latest[name] == slot for name, slot in zip(names, slots, strict=True)):
            found.append(_Chooser(layer, [_sources(net, slot) for slot in step.bottoms], names[len(step.bottoms) :]))
    return found


def judged(model: ModelProto, net: Net, outputs: Mapping[str, str]) -> list[str]:
    """The values of a model by which another precision is held against it: `outputs`, blobs and their names in it.

    A rounding may choose otherwise, so in the place of what follows from a choice stands what is chosen among.
    """
    made = {name for node in model.graph.node for name in node.output}
    choosers = {id(one.layer): one for one in _choosers(net)}
    read: list[str] = []
    chosen: set[int] = set()
    for layer, step in zip(net.assembled.layers, net.graph.steps, strict=True):
        bottoms = choosers[id(layer)].bottoms if id(layer) in choosers else []
        found = [name for names in bottoms if (name := next((name for name in names if name in made), ""))]
        if (found and len(found) == len(bottoms)) or chosen.intersection(step.bottoms):
            chosen.update(step.tops)
            read += found
    kept = [name for blob, name in outputs.items() if net.graph.latest[blob] not in chosen]
    return list(dict.fromkeys([*kept, *read]))


def _sources(net: Net, slot: int) -> list[str]:
    """The blob in a slot, and those before it that have its values in another shape."""
    names = []
    makers = {top: number for number, step in enumerate(net.graph.steps) for top in step.tops}
    while net.graph.latest[net.graph.slots[slot]] == slot:
        names.append(net.graph.slots[slot])
        if slot not in makers or not net.assembled.layers[makers[slot]].views:
            break
        slot = net.graph.steps[makers[slot]].bottoms[0]
    return names


@torch.no_grad()
def _chosen(
    net: Net, choosers: list[_Chooser], given: Arrays, got: Mapping[str, NDArray[Any]], expected: Arrays
) -> Arrays:
    """What the net gives where each chooser reads what the model `got`: of the values that `expected` has."""
    made: Arrays = {}
    for one in choosers:
        seen = []
        for names in one.bottoms:
            values = next((got[name] for name in names if name in got), expected[names[0]])
            seen.append(torch.from_numpy(values).float().reshape(expected[names[0]].shape))
        tops = one.layer(*seen)
        for name, top in zip(one.tops, (tops,) if isinstance(tops, Tensor) else tops, strict=True):
            made[name] = top.numpy()
            differs = one.layer.dynamic and name in got and relative_difference(got[name], made[name]) > TOLERANCE
            if differs and _same_rows(got[name], made[name]):
                made[name] = got[name]

    def put(one: _Chooser) -> Callable[..., Any]:
        tops = tuple(torch.from_numpy(made[name]) for name in one.tops)
        return lambda *_: tops if len(tops) > 1 else tops[0]

    hooks = [one.layer.register_forward_hook(put(one)) for one in choosers]
    try:
        for layer in net.layers.values():
            layer.forget()
        blobs = net.compute(net.feed(given), keep=list(expected)).blobs
    finally:
        for hook in hooks:
            hook.remove()
    return {**{name: blobs[name].detach().contiguous().numpy() for name in expected}, **made}


def _same_rows(got: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether each holds the rows of the other, at about the same place, but for one of a hundred."""
    rows, others = (values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1) for values in (got, expected))
    if rows.shape[1] != others.shape[1] or not len(rows) or not len(others):
        return False
    near = TOLERANCE * np.maximum(np.abs(others).max(0), float(np.finfo(np.float32).tiny))
    return all(_strangers(a, b, near) <= min(len(a), 1000) // 100 for a, b in ((rows, others), (others, rows)))


def _strangers(rows: NDArray[Any], others: NDArray[Any], near: NDArray[Any]) -> int:
    """How many rows, of at most some thousand, are near none of the others that stand about where they do.

    Near means by less than `near` in each column. Equal scores of some boxes may exchange some neighbours.
    """
    reach, strangers = 3 + len(rows) // 50, 0
    for place in range(0, len(rows), len(rows) // 1000 + 1):
        about = others[max(0, place - reach) : place + reach + 1]
        strangers += not (np.abs(about - rows[place]) <= near).all(1).any()
    return strangers


def _with_more(data: bytes, net: Net, wanted: list[str]) -> tuple[bytes, list[str]]:
    """The model with further outputs, of those that it makes: `wanted`, and what each Softmax reads.

    Probabilities of 0 and 1 would hide differences.
    """
    import onnx

    model = onnx.ModelProto.FromString(data)
    made = {name for node in model.graph.node for name in node.output}
    read = [node.input[0] for node in model.graph.node if node.op_type == "Softmax"]
    inputs = {value.name for value in model.graph.input}
    names = [*(name for name in read if name in net.graph.latest), *(name for name in wanted if name in made)]
    extra = give(model, (name for name in names if name not in inputs))
    return model.SerializeToString(), extra


def relative_difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference over the largest finite value expected; what is not finite must be so in both."""
    if got.shape != expected.shape:
        return float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    apart = np.abs(got[finite].astype(np.float64) - expected[finite])
    largest = float(np.abs(expected[finite]).max(initial=0.0))
    difference = float(apart.max(initial=0.0))
    return 0.0 if difference == 0 else difference / max(largest, float(np.finfo(np.float32).tiny))


def sample(net: Net, shapes: Mapping[str, Shape], preprocess: Preprocess | None, *, in_bytes: bool) -> Arrays:
    """Random inputs of an exported model: `preprocess`, where somebody tells, says what pixels become."""
    generator = np.random.default_rng(2)
    given: Arrays = {name: _values(net, name, shape, generator, None) for name, shape in shapes.items()}
    if preprocess is not None:
        fitted = preprocess.fitted(net.inputs[0], shapes[net.inputs[0]])
        images, planes = _images(shapes[net.inputs[0]], fitted, generator)
        given[net.inputs[0]] = images if in_bytes else planes
    return given


def _images(shape: Shape, preprocess: Preprocess, generator: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Random pictures as bytes (n, h, w, c), and as the net takes them."""
    n, c, h, w = shape
    images = generator.integers(0, 256, (n, h, w, c), dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2)[:, :: -1 if preprocess.order == "bgr" else 1]
    return images, ((planes.astype(np.float32) - preprocess.mean) * preprocess.scale).astype(np.float32)


def _one_pass(
    net: Net, shapes: Mapping[str, Shape], outputs: list[str], generator: Any, preprocess: Preprocess | None
) -> tuple[Arrays, NDArray[np.uint8] | None, Arrays]:
    """Inputs of the net, the bytes that stand for the first where there is `preprocess`, and the net's outputs.

    Positive inputs take the place of normal ones where those leave nothing finite, as a Log does.
    """
    net.reshape(shapes)
    for spread in (None, 1.0):
        given = {name: _values(net, name, shape, generator, spread) for name, shape in shapes.items()}
        images = None
        if preprocess is not None:
            images, given[net.inputs[0]] = _images(shapes[net.inputs[0]], preprocess, generator)
        for layer in net.layers.values():
            layer.forget()
        with torch.no_grad():
            blobs = net.compute(net.feed(given), keep=outputs).blobs
        expected = {name: blobs[name].detach().contiguous().numpy() for name in outputs}
        if all(np.isfinite(array).all() for array in expected.values()):
            break
    return given, images, expected


def _values(net: Net, name: str, shape: Shape, generator: Any, spread: float | None) -> NDArray[np.float32]:
    """Random values that suit what reads an input: indices, flags, boxes, pixels, weights, or any numbers."""
    suited = _suited(net, net.assembled.inputs[name], generator)
    if suited is not None:
        return suited.reshape(shape).astype(np.float32)
    if spread is not None:
        return generator.uniform(0.05, spread, shape).astype(np.float32)
    return generator.standard_normal(shape).astype(np.float32)


def _suited(net: Net, slot: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """What a layer that reads a blob wants there, or one that reads the same values elsewhere."""
    shapes = net.assembled.shapes
    for layer, step in zip(net.assembled.layers, net.graph.steps, strict=True):
        if slot not in step.bottoms:
            continue
        values = layer.example(step.bottoms.index(slot), [shapes[bottom] for bottom in step.bottoms], generator)
        if values is None and (layer.copies or layer.views or layer.keeps_values):
            for top in step.tops:
                values = _suited(net, top, generator) if values is None else values
            values = None if values is None else np.resize(values, shapes[slot])
        if values is not None:
            return values
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
