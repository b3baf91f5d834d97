"""ONNX operators that move, part, reduce, spread and compare values, as Caffe layers; a part of `onnx_operators`."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdcaffe.converters.onnx_building import FLOAT, Layers, operator
from sdcaffe.converters.onnx_graph import Node
from sdcaffe.layers.base import Shape

_BNLL_FROM = 20.0  # above it log(1 + e^x) is x to a float32


@operator("Transpose")
def _transpose(layers: Layers, node: Node) -> None:
    rank = len(layers.shape(node))
    order = node.attributes.get("perm", list(range(rank))[::-1])
    if order == list(range(rank)):
        layers.same(node)
    else:
        layers.add(node, "Permute").permute_param.order.extend(order)


@operator("Slice")
def _slice(layers: Layers, node: Node) -> None:
    """A Slice layer an axis, of which one top is read and the others are silent."""
    shape = layers.shape(node)
    starts, ends, axes, steps = (_integers(layers, node, i, name) for i, name in enumerate(_BOUNDS, 1))
    if starts is None or ends is None:
        raise node.error("has no starts, or no ends")
    cuts = []
    for i, axis in enumerate(axes or range(len(starts))):
        first, last, step = slice(starts[i], ends[i], steps[i] if steps else 1).indices(shape[axis])
        if step != 1:
            raise node.error(f"takes every {step}th of an axis; Caffe's Slice takes all in between")
        if (first, last) != (0, shape[axis]):
            cuts.append((axis % len(shape), first, last))
    blob = layers.bottom(node, node.inputs[0])
    if not cuts:
        layers.same(node)
    for count, (axis, first, last) in enumerate(cuts, 1):
        top = node.outputs[0] if count == len(cuts) else f"{node.outputs[0]}_axis{axis}"
        points = [point for point in (first, last) if 0 < point < shape[axis]]
        tops = [f"{top}_unread{i}" for i in range(len(points) + 1)]
        kept = 1 if first else 0
        tops[kept] = top
        param = layers.add(node, "Slice", bottom=[blob], top=tops).slice_param
        param.axis = axis
        param.slice_point.extend(points)
        layers.add(node, "Silence", name=f"{top}_silence", bottom=[name for name in tops if name != top], top=[])
        blob = top


_BOUNDS = ("starts", "ends", "axes", "steps")


def _integers(layers: Layers, node: Node, index: int, name: str) -> list[int] | None:
    """Integers of an input or, in older opsets, an attribute."""
    if name in node.attributes:
        return [int(value) for value in node.attributes[name]]
    found = layers.graph.constant(node, index)
    return None if found is None else [int(value) for value in np.reshape(found, -1)]


@operator("Tile")
def _tile(layers: Layers, node: Node) -> None:
    _repeat(layers, node, _integers(layers, node, 1, "repeats") or [])


@operator("Expand")
def _expand(layers: Layers, node: Node) -> None:
    before, after = layers.shape(node), layers.top_shape(node)
    if len(before) != len(after):
        raise node.error(f"makes {after} of {before}; Caffe's Tile keeps the number of axes")
    _repeat(layers, node, [new // old for old, new in zip(before, after, strict=True)])


def _repeat(layers: Layers, node: Node, repeats: list[int]) -> None:
    """A Tile an axis that is repeated."""
    axes = [(axis, count) for axis, count in enumerate(repeats) if count != 1]
    if not axes:
        layers.same(node)
    blob = layers.bottom(node, node.inputs[0])
    for i, (axis, count) in enumerate(axes, 1):
        top = node.outputs[0] if i == len(axes) else f"{node.outputs[0]}_axis{axis}"
        param = layers.add(node, "Tile", bottom=[blob], top=[top]).tile_param
        param.axis, param.tiles = axis, count
        blob = top


_SUMS = {"ReduceSum": 1, "ReduceL1": 2, "ReduceSumSquare": 3, "ReduceMean": 4}  # Caffe's ReductionOp


def reduces(layers: Layers, node: Node) -> bool:
    """Append a Reduction where a node reduces all axes from one on; returns whether it does."""
    rank = len(layers.shape(node))
    given = node.attributes.get("axes") or layers.graph.constant(node, 1)
    axes = sorted(int(axis) % rank for axis in (range(rank) if given is None else given))
    if node.op not in _SUMS or axes != list(range(axes[0], rank)):
        return False
    keeps = node.attributes.get("keepdims", 1)
    top = f"{node.outputs[0]}_reduced" if keeps else node.outputs[0]
    layer = layers.add(node, "Reduction", top=[top])
    layer.reduction_param.operation = _SUMS[node.op]
    if axes[0]:
        layer.reduction_param.axis = axes[0]
    if keeps:
        dims = layers.add(node, "Reshape", name=f"{layer.name}_axes", bottom=[top]).reshape_param.shape.dim
        dims.extend([0] * axes[0] + [1] * len(axes))
    return True


@operator("ReduceSum", "ReduceL1", "ReduceSumSquare")
def _reduce(layers: Layers, node: Node) -> None:
    if not reduces(layers, node):
        raise node.error("is over axes with others behind them; Caffe's Reduction is over all from one on")


@operator("Greater")
def _greater(layers: Layers, node: Node) -> None:
    """Told when a Cast or a Where reads it."""
    layers.compared[node.outputs[0]] = node


def threshold(layers: Layers, node: Node) -> bool:
    """Append a Threshold where a Cast makes numbers of x > c; returns whether it does."""
    before = layers.compared.get(node.inputs[0])
    if before is None:
        return False
    bound = layers.weight(before, 1)
    if bound.size != 1:
        raise node.error("compares with more than one number; Caffe's Threshold has one")
    layer = layers.add(node, "Threshold", bottom=[layers.bottom(before, before.inputs[0])])
    layer.threshold_param.threshold = float(bound.item())
    return True


@operator("Where")
def _where(layers: Layers, node: Node) -> None:
    """The larger of two blobs, and log(1 + e^x) that is x where e^x is large."""
    before = layers.compared.get(node.inputs[0])
    if before is not None and before.inputs == node.inputs[1:]:
        shapes = {layers.graph.shape(node, value) for value in node.inputs[1:]}
        if len(shapes) == 1:
            bottoms = [layers.bottom(node, value) for value in node.inputs[1:]]
            layers.add(node, "Eltwise", bottom=bottoms).eltwise_param.operation = 2
            return
    soft = next((layer for layer in layers.param.layer if layer.type == "BNLL" and node.inputs[2] in layer.top), None)
    if before is not None and soft is not None and node.inputs[1] == before.inputs[0]:
        bound = layers.graph.constant(before, 1)
        if bound is not None and bound.size == 1 and bound.item() >= _BNLL_FROM and soft.bottom[0] == node.inputs[1]:
            soft.top[0] = node.outputs[0]
            return
    raise node.error("chooses between values; Caffe has layers for the larger of two alone")


@operator("ArgMax")
def _argmax(layers: Layers, node: Node) -> None:
    """Its whole numbers are float32 in Caffe."""
    axis = node.attributes.get("axis", 0) % len(layers.shape(node))
    top = node.outputs[0] if node.attributes.get("keepdims", 1) else f"{node.outputs[0]}_kept"
    layer = layers.add(node, "ArgMax", top=[top])
    layer.argmax_param.axis = axis
    if top != node.outputs[0]:
        dims = layers.add(node, "Reshape", name=f"{layer.name}_axes", bottom=[top]).reshape_param.shape.dim
        dims.extend([0] * axis + list(layers.top_shape(node)[axis:]))
    layers.graph.types[node.outputs[0]] = FLOAT


@operator("Pad")
def _pad(layers: Layers, node: Node) -> None:
    node.refuse(mode="constant")
    rank, rims = len(layers.shape(node)), _integers(layers, node, 1, "pads") or []
    axes = _integers(layers, node, 3, "") or list(range(rank))
    number = layers.graph.constant(node, 2)
    rim = {axis % rank: (rims[i], rims[i + len(axes)]) for i, axis in enumerate(axes)}
    param = layers.add(node, "Pad").pad_param
    param.paddings.extend(rim.get(axis, (0, 0))[end] for axis in range(rank) for end in (0, 1))
    param.constant_values = node.attributes.get("value", 0.0) if number is None else float(number.item())


@operator("Gather")
def _gather(layers: Layers, node: Node) -> None:
    """Rows of a matrix of weights are an Embed."""
    if node.inputs[0] not in layers.graph.tensors or node.attributes.get("axis", 0) != 0:
        raise node.error("takes values at places; Caffe's Embed takes rows of weights alone")
    weight = layers.weight(node, 0)
    if weight.ndim != 2 or node.inputs[1] not in layers.indices:
        raise node.error("does not take rows of a matrix by indices that are float32 numbers")
    layer = layers.add(node, "Embed", [weight], bottom=[layers.indices[node.inputs[1]]])
    param = layer.embed_param
    param.num_output, param.input_dim, param.bias_term = weight.shape[1], weight.shape[0], False


def spread(layers: Layers, node: Node, shapes: list[Shape]) -> bool:
    """Append a Scale or a Bias of two bottoms where the smaller is spread over axes; returns whether it does."""
    if len(shapes) != 2 or node.op not in ("Add", "Sub", "Mul", "Div"):
        return False
    large = 0 if np.prod(shapes[0]) >= np.prod(shapes[1]) else 1
    if large and node.op in ("Sub", "Div"):
        return False
    shape, small = shapes[large], shapes[1 - large]
    full = (1,) * (len(shape) - len(small)) + tuple(small)
    added = len(shape) - len(small)  # axes that only the larger has: its batch may grow, and the smaller stays
    axes = [axis for axis, size in enumerate(full) if size == shape[axis] and (size > 1 or axis == 0)]
    axes = [axis for axis in axes if axis >= added] or axes
    if len(full) != len(shape) or any(a != b and a != 1 for a, b in zip(full, shape, strict=True)) or not axes:
        return False
    first, last = (0 if layers.graph.doubled and _grows(layers, node.inputs[1 - large]) else axes[0]), axes[-1]
    if full[first : last + 1] != tuple(shape[first : last + 1]):
        return False
    blob = layers.bottom(node, node.inputs[1 - large])
    if node.op in ("Sub", "Div"):
        power = layers.add(node, "Power", name=f"{node.outputs[0]}_turned", bottom=[blob], top=[f"{blob}_turned"])
        if node.op == "Div":
            power.power_param.power = -1
        else:
            power.power_param.scale = -1
        blob = f"{blob}_turned"
    if small != full[first : last + 1]:
        top = f"{node.outputs[0]}_factor"
        dims = layers.add(node, "Reshape", name=top, bottom=[blob], top=[top]).reshape_param.shape.dim
        dims.extend([0 if axis == added == 0 else int(full[axis]) for axis in range(first, last + 1)])
        blob = top
    adds = node.op in ("Add", "Sub")
    layer: Any = layers.add(node, "Bias" if adds else "Scale", bottom=[layers.bottom(node, node.inputs[large]), blob])
    (layer.bias_param if adds else layer.scale_param).axis = first
    return True


def _grows(layers: Layers, value: str) -> bool:
    """Whether the first axis of a value holds the batch."""
    before, after = layers.graph.shapes.get(value, ()), layers.graph.doubled.get(value, ())
    return bool(before) and bool(after) and before[0] != after[0]
