"""ONNX operators as Caffe layers, one function an operator. What Caffe lacks is an error with the node's name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sdcaffe.converters.onnx_building import FLOAT, INT64, OPERATORS, Layers, operator
from sdcaffe.converters.onnx_graph import TOLD, Array, Node
from sdcaffe.converters.onnx_layouts import reduces, spread, threshold
from sdcaffe.layers.base import Shape

_MISFITS = (ValueError, TypeError, IndexError, KeyError, AttributeError, ZeroDivisionError, OverflowError)


def convert(layers: Layers, node: Node) -> None:
    """Append the layers of a node. Raises ModelError where Caffe has none for it."""
    if node.domain == TOLD:
        layers.told(node)
        return
    found = OPERATORS.get(node.op) if node.domain in ("", "ai.onnx") else None
    if found is None:
        raise node.error("has no counterpart in Caffe")
    try:
        found(layers, node)
    except _MISFITS:  # a list of another length, a text for a number: what ONNX's own checker lets pass
        raise node.error("has attributes or constants of another type or length than this operator has") from None


# ---- layers with weights ----


@operator("Conv", "ConvTranspose")
def _convolution(layers: Layers, node: Node) -> None:
    weight, bias = layers.weight(node, 1), layers.graph.constant(node, 2)
    back = node.op == "ConvTranspose"
    spatial, group = weight.ndim - 2, node.attributes.get("group", 1)
    if back:
        node.refuse(output_padding=[0] * spatial, auto_pad="NOTSET")
        if "output_shape" in node.attributes:
            raise node.error("has output_shape; Caffe has only pads")
    layer = layers.add(node, "Deconvolution" if back else "Convolution", [weight, bias])
    param = layer.convolution_param
    param.num_output = weight.shape[1] * group if back else weight.shape[0]
    dilation = node.attributes.get("dilations", [1] * spatial)
    kernel, stride = list(weight.shape[2:]), node.attributes.get("strides", [1] * spatial)
    pads = _pads(layers, node, [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)], stride)
    for field, values, default in (
        (param.kernel_size, kernel, None),
        (param.pad, pads, 0),
        (param.stride, stride, 1),
        (param.dilation, dilation, 1),
    ):
        if any(value != default for value in values):
            field.extend(values[:1] if len(set(values)) == 1 else values)
    if group != 1:
        param.group = group
    if bias is None:
        param.bias_term = False


def _pads(layers: Layers, node: Node, extent: list[int], stride: list[int]) -> list[int]:
    """The padding of each axis, alike before and behind."""
    axes = len(extent)
    kind, pads = node.attributes.get("auto_pad", "NOTSET"), node.attributes.get("pads", [0] * 2 * axes)
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        sizes = zip(layers.shape(node)[2:], extent, stride, strict=True)
        total = [max((-(-size // s) - 1) * s + k - size, 0) for size, k, s in sizes]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    elif kind == "VALID":
        pads = [0] * 2 * axes
    if pads[:axes] != pads[axes:]:
        raise node.error(f"pads its sides by {pads[:axes]} before and {pads[axes:]} behind; Caffe pads both alike")
    return list(pads[:axes])


@operator("BatchNormalization")
def _batch_norm(layers: Layers, node: Node) -> None:
    node.refuse(training_mode=0, spatial=1)
    scale, bias, mean, variance = (layers.weight(node, i) for i in range(1, 5))
    layer = layers.add(node, "BatchNorm", [mean, variance, np.ones(1, np.float32)])
    epsilon = np.float32(node.attributes.get("epsilon", 1e-5))
    if epsilon != np.float32(layer.batch_norm_param.eps):
        layer.batch_norm_param.eps = float(epsilon)
    if (scale != 1).any() or bias.any():
        top = node.outputs[0]
        after = layers.add(node, "Scale", [scale, bias], f"{layer.name}_scale", bottom=[top], top=[top])
        after.scale_param.bias_term = True


@operator("Gemm")
def _gemm(layers: Layers, node: Node) -> None:
    node.refuse(alpha=1.0, beta=1.0, transA=0)
    weight, bias = layers.weight(node, 1), layers.graph.constant(node, 2)
    weight = weight if node.attributes.get("transB", 0) else weight.T
    _inner_product(layers, node, weight, None if bias is None else np.broadcast_to(bias, (1, len(weight)))[0])


@operator("MatMul")
def _matmul(layers: Layers, node: Node) -> None:
    weight, rank = layers.weight(node, 1), len(layers.shape(node))
    if weight.ndim != 2 or rank < 2:
        raise node.error(f"multiplies by an array of shape {weight.shape}; Caffe has only a matrix of weights")
    layer = _inner_product(layers, node, weight.T, None)
    if rank != 2:
        layer.inner_product_param.axis = rank - 1


def _inner_product(layers: Layers, node: Node, weight: Array, bias: Array | None) -> Any:
    layer = layers.add(node, "InnerProduct", [weight, bias])
    layer.inner_product_param.num_output = len(weight)
    if bias is None:
        layer.inner_product_param.bias_term = False
    return layer


# ---- arithmetic ----


@operator("Add", "Sub", "Mul", "Div", "Sum", "Max")
def _arithmetic(layers: Layers, node: Node) -> None:
    given = [value in layers.graph.tensors for value in node.inputs]
    if len(node.inputs) == 2 and any(given) and node.op not in ("Sum", "Max"):
        _with_constant(layers, node, given.index(True))
        return
    shapes = [layers.shape(node, i) for i in range(len(node.inputs))]
    if len(set(shapes)) > 1 and spread(layers, node, shapes):
        return
    if len(node.inputs) < 2 or len(set(shapes)) > 1 or node.op == "Div":
        raise node.error(f"takes {' and '.join(map(str, shapes))}; Caffe's Eltwise adds, multiplies or compares alikes")
    layer = layers.add(node, "Eltwise", bottom=[layers.bottom(node, value) for value in node.inputs])
    if node.op == "Sub":
        layer.eltwise_param.coeff.extend([1, -1])
    elif node.op in ("Mul", "Max"):
        layer.eltwise_param.operation = 0 if node.op == "Mul" else 2


def _with_constant(layers: Layers, node: Node, index: int) -> None:
    """A blob and numbers: Power for one number, Scale or Bias for one a channel."""
    numbers, blob = layers.weight(node, index).astype(np.float64), layers.bottom(node, node.inputs[1 - index])
    shape = layers.shape(node, 1 - index)
    if index == 0 and node.op in ("Sub", "Div"):
        if numbers.size != 1 or (node.op == "Div" and numbers.item() != 1):
            raise node.error("takes a blob from numbers, or divides numbers by one; Caffe has no layer for that")
        power = layers.add(node, "Power", bottom=[blob]).power_param
        if node.op == "Div":
            power.power = -1
        else:
            power.scale, power.shift = -1, numbers.item()
        return
    numbers = -numbers if node.op == "Sub" else 1 / numbers if node.op == "Div" else numbers
    adds = node.op in ("Add", "Sub")
    if numbers.size == 1 and (numbers.ndim < 3 or shape[1:2] != (1,)):
        power = layers.add(node, "Power", bottom=[blob]).power_param
        if adds:
            power.shift = numbers.item()
        else:
            power.scale = numbers.item()
        return
    axis, values = _spanned(node, numbers, shape)
    layer = layers.add(node, "Bias" if adds else "Scale", [values], bottom=[blob])
    param = layer.bias_param if adds else layer.scale_param
    if axis != 1:
        param.axis = axis
    if values.ndim != 1:
        param.num_axes = values.ndim


def _spanned(node: Node, numbers: Array, shape: Shape) -> tuple[int, Array]:
    """The first axis of a blob that numbers differ along, and they as an array of it and those that follow."""
    pairs = zip(numbers.shape[::-1], shape[::-1], strict=False)
    if numbers.ndim > len(shape) or any(number not in (1, size) for number, size in pairs):
        raise node.error(f"spreads a blob of shape {shape} over numbers of shape {numbers.shape}; Caffe does not")
    full = numbers.reshape((1,) * (len(shape) - numbers.ndim) + numbers.shape)
    axes = [axis for axis, size in enumerate(full.shape) if size > 1] or [1]
    first, last = axes[0], axes[-1]
    return first, np.broadcast_to(full.reshape(full.shape[first : last + 1]), shape[first : last + 1])


@operator("Sqrt", "Reciprocal", "Neg", "Pow")
def _power(layers: Layers, node: Node) -> None:
    param = layers.add(node, "Power").power_param
    if node.op == "Neg":
        param.scale = -1
        return
    param.power = {"Sqrt": 0.5, "Reciprocal": -1.0}.get(node.op) or _number(layers, node, 1)


def _number(layers: Layers, node: Node, index: int) -> float:
    numbers = layers.weight(node, index)
    if numbers.size != 1:
        raise node.error(f"has {numbers.size} numbers as input {index}; Caffe has one")
    return float(numbers.item())


# ---- one blob, value by value ----

_PLAIN = {"Relu": "ReLU", "Sigmoid": "Sigmoid", "Tanh": "TanH", "Abs": "AbsVal", "Exp": "Exp", "Log": "Log"}


@operator(*_PLAIN, "Softplus")
def _neuron(layers: Layers, node: Node) -> None:
    layers.add(node, _PLAIN.get(node.op, "BNLL"))


@operator("LeakyRelu")
def _leaky(layers: Layers, node: Node) -> None:
    layers.add(node, "ReLU").relu_param.negative_slope = node.attributes.get("alpha", 0.01)


@operator("Elu")
def _elu(layers: Layers, node: Node) -> None:
    layers.add(node, "ELU").elu_param.alpha = node.attributes.get("alpha", 1.0)


@operator("PRelu")
def _prelu(layers: Layers, node: Node) -> None:
    slope, shape = layers.weight(node, 1), layers.shape(node)
    if slope.size == 1:
        layers.add(node, "PReLU", [slope.reshape(())]).prelu_param.channel_shared = True
        return
    axis, values = _spanned(node, slope, shape)
    if axis != 1 or values.ndim != 1:
        raise node.error(f"has slopes of shape {slope.shape}; Caffe has one, or one a channel")
    layers.add(node, "PReLU", [values])


@operator("Clip")
def _clip(layers: Layers, node: Node) -> None:
    low, high = (
        node.attributes[name] if name in node.attributes else layers.graph.constant(node, i)
        for i, name in ((1, "min"), (2, "max"))
    )
    if low is None or high is None:
        raise node.error("has no min, or no max; Caffe's Clip has both")
    param = layers.add(node, "Clip").clip_param
    param.min, param.max = float(low), float(high)


@operator("Softmax")
def _softmax(layers: Layers, node: Node) -> None:
    rank = len(layers.shape(node))
    axis = node.attributes.get("axis", -1 if layers.graph.opset >= 13 else 1) % rank
    if layers.graph.opset < 13 and axis != rank - 1:
        raise node.error(f"of opset {layers.graph.opset} spans several axes; Caffe's has one")
    layer = layers.add(node, "Softmax")
    if axis != 1:
        layer.softmax_param.axis = axis


@operator("LRN")
def _lrn(layers: Layers, node: Node) -> None:
    param = layers.add(node, "LRN").lrn_param
    param.local_size = node.attributes["size"]
    param.alpha, param.beta = node.attributes.get("alpha", 1e-4), node.attributes.get("beta", 0.75)
    if node.attributes.get("bias", 1.0) != 1:
        param.k = node.attributes["bias"]


# ---- windows ----


@operator("MaxPool", "AveragePool")
def _pool(layers: Layers, node: Node) -> None:
    kernel = node.attributes["kernel_shape"]
    shape = layers.shape(node)
    if len(shape) != 4:
        raise node.error(f"pools a blob of shape {shape}; Caffe pools images (n, c, h, w)")
    if len([value for value in node.outputs if value]) > 1:
        raise node.error("gives the places of its maxima; Caffe counts them otherwise")
    node.refuse(dilations=[1, 1], storage_order=0)
    stride = node.attributes.get("strides", [1, 1])
    pad = _pads(layers, node, kernel, stride)
    if node.op == "AveragePool" and any(pad) and not node.attributes.get("count_include_pad", 0):
        raise node.error("leaves its padding out of the mean; Caffe counts it")
    layer = layers.add(node, "Pooling")
    param = layer.pooling_param
    param.pool = param.MAX if node.op == "MaxPool" else param.AVE
    for field, values, default in (("kernel_size", kernel, 0), ("stride", stride, 1), ("pad", pad, 0)):
        if values[0] == values[1] != default:
            setattr(param, field, values[0])
        elif values[0] != values[1]:
            stem = field.removesuffix("_size")
            setattr(param, f"{stem}_h", values[0])
            setattr(param, f"{stem}_w", values[1])
    places = list(zip(layers.shape(node)[2:], kernel, stride, pad, strict=True))
    if not node.attributes.get("ceil_mode", 0) and any(_rounded_up(*place, any(pad)) for place in places):
        param.round_mode = param.FLOOR


def _rounded_up(size: int, kernel: int, stride: int, pad: int, padded: bool) -> bool:
    """Whether Caffe has a window more than rounding down gives; of a padded blob it drops one behind the image."""
    spare = size + 2 * pad - kernel
    return spare % stride != 0 and not (padded and -(-spare // stride) * stride >= size + pad)


@operator("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")
def _global_pool(layers: Layers, node: Node) -> None:
    rank = len(layers.shape(node))
    if node.op.startswith("Reduce"):
        given = node.attributes.get("axes") or layers.graph.constant(node, 1)
        axes = sorted(int(axis) % rank for axis in ([] if given is None else given))
        if (rank != 4 or axes != [2, 3]) and reduces(layers, node):
            return
        if rank != 4 or axes != [2, 3]:
            raise node.error(f"is over the axes {axes} of {rank}; Caffe's Pooling is over height and width")
    elif rank != 4:
        raise node.error(f"pools a blob of {rank} axes; Caffe pools images (n, c, h, w)")
    flat = node.op.startswith("Reduce") and not node.attributes.get("keepdims", 1)
    top = f"{node.outputs[0]}_pooled" if flat else node.outputs[0]
    param = layers.add(node, "Pooling", top=[top]).pooling_param
    param.pool = param.MAX if "Max" in node.op else param.AVE
    param.global_pooling = True
    if flat:
        layers.add(node, "Flatten", name=f"{node.name}_flat", bottom=[top])


# ---- shapes ----


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(layers: Layers, node: Node) -> None:
    pairs = [(layers.shape(node), layers.top_shape(node))]
    doubled = layers.graph.doubled
    if node.inputs[0] in doubled and node.outputs[0] in doubled:
        pairs.append((doubled[node.inputs[0]], doubled[node.outputs[0]]))
    if all(before == after for before, after in pairs):
        layers.same(node)
    elif all(len(before) > 1 and after == (before[0], math.prod(before[1:])) for before, after in pairs):
        layers.add(node, "Flatten")
    else:
        dims = [_dim(axis, pairs) for axis in range(len(pairs[0][1]))]
        if dims.count(-1) > 1:
            raise node.error("spreads the batch over two axes; Caffe's Reshape leaves one free")
        layers.add(node, "Reshape").reshape_param.shape.dim.extend(dims)


def _dim(axis: int, pairs: list[tuple[Shape, Shape]]) -> int:
    """0 for an axis as the bottom has it, -1 for one that holds the batch and more, else its size."""
    kept = all(before[axis : axis + 1] == after[axis : axis + 1] for before, after in pairs)
    sizes = {after[axis] for _, after in pairs}
    if kept and (len(sizes) > 1 or axis == 0):
        return 0
    return sizes.pop() if len(sizes) == 1 else -1


@operator("Identity", "Dropout", "Cast")
def _same(layers: Layers, node: Node) -> None:
    if node.op == "Cast" and node.attributes.get("to") == INT64 and layers.graph.types.get(node.inputs[0]) == FLOAT:
        layers.indices[node.outputs[0]] = layers.bottom(node, node.inputs[0])
        return
    if node.op == "Cast" and threshold(layers, node):
        return
    if node.op == "Cast" and node.attributes.get("to") != FLOAT:
        raise node.error("makes numbers of another type; Caffe has float32 alone")
    if node.op == "Dropout" and len(node.inputs) > 2 and node.inputs[2] and layers.weight(node, 2).any():
        raise node.error("is in training mode")
    layers.same(node)


@operator("Concat")
def _concat(layers: Layers, node: Node) -> None:
    axis = node.attributes["axis"] % len(layers.shape(node))
    layer = layers.add(node, "Concat", bottom=[layers.bottom(node, value) for value in node.inputs])
    if axis != 1:
        layer.concat_param.axis = axis


@operator("Split")
def _split(layers: Layers, node: Node) -> None:
    axis = node.attributes.get("axis", 0) % len(layers.shape(node))
    layer = layers.add(node, "Slice", top=node.outputs)
    layer.slice_param.axis = axis
    sizes = [layers.graph.shape(node, value)[axis] for value in node.outputs]
    layer.slice_param.slice_point.extend(int(end) for end in np.cumsum(sizes)[:-1])
