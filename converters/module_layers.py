"""Layers that have blobs, or constants, as PyTorch modules."""

from __future__ import annotations

from typing import Any

from sdcaffe.converters.module_step import Step, refused, writes
from sdcaffe.converters.module_text import call, number, pair

from sdcaffe.layers.base import Shape

_EPS, _MOMENTUM = 1e-5, 0.1  # of torch's BatchNorm where nothing is said


@writes("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def _convolution(layer: Any, bottoms: list[Shape]) -> Step:
    geometry = layer.geometry
    axes = len(geometry.kernel)
    if layer.axis != 1 or not 1 <= axes <= 3:
        raise refused(layer, f"a convolution of {axes} spatial axes from axis {layer.axis + 1} on")
    transposed = layer.type == "Deconvolution"
    weight = layer.blobs[0].shape
    inputs, outputs = bottoms[0][1], weight[1] * layer.group if transposed else weight[0]
    module = call(
        f"nn.{'ConvTranspose' if transposed else 'Conv'}{axes}d",
        str(inputs),
        str(outputs),
        pair(geometry.kernel),
        stride=pair(geometry.stride) if set(geometry.stride) != {1} else None,
        padding=pair(geometry.pad) if any(geometry.pad) else None,
        dilation=pair(geometry.dilation) if set(geometry.dilation) != {1} else None,
        groups=str(layer.group) if layer.group != 1 else None,
        bias=None if len(layer.blobs) > 1 else "False",
    )
    missing = [0] * axes if transposed else [max(0, -spare) for spare in geometry.spare(bottoms[0][2:])]
    if any(missing):  # Caffe reads zeros behind an image that is smaller than the kernel
        behind = ", ".join(f"0, {size}" for size in reversed(missing))
        return Step(f"{{self}}(F.pad({{0}}, ({behind})))", module, nests=False, each=True)
    return Step("{self}({0})", module, nests=False, each=True)


@writes("InnerProduct")
def _inner_product(layer: Any, bottoms: list[Shape]) -> Step:
    inputs, outputs = layer.blobs[0].shape if layer.transpose else tuple(layer.blobs[0].shape)[::-1]
    cls = "TransposedLinear" if layer.transpose else "nn.Linear"
    module = call(cls, str(inputs), str(outputs), bias=None if len(layer.blobs) > 1 else "False")
    dims = len(bottoms[0])
    if layer.axis == dims - 1:
        return Step("{self}({0})", module, nests=False)
    if layer.axis == dims:
        raise refused(layer, "an inner product behind the last axis")
    return Step(f"{{self}}(torch.flatten({{0}}, {layer.axis}))", module, nests=False)


@writes("BatchNorm")
def _batch_norm(layer: Any, bottoms: list[Shape]) -> Step:
    dims = len(bottoms[0])
    if not layer.use_global_stats:
        raise refused(layer, "a BatchNorm that uses the batch's own statistics in the test phase")
    if not 2 <= dims <= 5:
        raise refused(layer, f"a BatchNorm of {dims} axes")
    fraction = float(number(layer.fraction))
    momentum = round(1 - fraction, 9)
    module = call(
        f"nn.BatchNorm{max(1, dims - 2)}d",
        str(bottoms[0][1]),
        eps=number(layer.eps) if float(number(layer.eps)) != _EPS else None,
        momentum=None if momentum == _MOMENTUM else repr(momentum) if momentum else "None",
        affine="False",
    )
    return Step("{self}({0})", module)


@writes("Scale")
def _scale(layer: Any, bottoms: list[Shape]) -> Step:
    if len(bottoms) == 2:
        if layer.bias_term:
            raise refused(layer, "a Scale of two bottoms with a bias")
        return Step(f"{{0}} * {_behind(layer, bottoms[1])}", nests=False)
    module = _spanning("Scale", layer, bias=None if layer.bias_term else "False")
    return Step("{self}({0})", module)


@writes("Bias")
def _bias(layer: Any, bottoms: list[Shape]) -> Step:
    if len(bottoms) == 2:
        return Step(f"{{0}} + {_behind(layer, bottoms[1])}", nests=False)
    return Step("{self}({0})", _spanning("Bias", layer))


def _behind(layer: Any, operand: Shape) -> str:
    """The second bottom with as many axes of 1 behind it as it takes."""
    trailing = len(layer.view) - len(operand)
    return "{1}[..., " + ", ".join(["None"] * trailing) + "]" if trailing else "{1}"


def _spanning(cls: str, layer: Any, **named: str | None) -> str:
    shape = tuple(layer.blobs[0].shape)
    trailing = len(layer.view) - len(shape)
    return call(cls, *map(str, shape), trailing=str(trailing) if trailing != 2 else None, **named)


@writes("PReLU")
def _prelu(layer: Any, bottoms: list[Shape]) -> Step:
    shared = not layer.blobs[0].dim()
    return Step("{self}({0})", "SharedPReLU()" if shared else call("nn.PReLU", str(bottoms[0][1])))


@writes("Embed")
def _embed(layer: Any, bottoms: list[Shape]) -> Step:
    count, outputs = layer.blobs[0].shape
    bias = None if len(layer.blobs) > 1 else "False"
    return Step("{self}({0})", call("Embed", str(count), str(outputs), bias=bias))


@writes("LSTM")
def _lstm(layer: Any, bottoms: list[Shape]) -> Step:
    if layer.static or layer.param.expose_hidden:
        raise refused(layer, "an LSTM with a static input or exposed states")
    return Step("{self}({0}, {1})", call("LSTM", str(layer.blobs[0].shape[1]), str(layer.param.num_output)))


@writes("Distort")
def _distort(layer: Any, bottoms: list[Shape]) -> Step:
    if len(layer.layer_param.top) > 1 or tuple(bottoms[0][2:]) != tuple(layer.crop):
        raise refused(layer, "a Distort of several tops, or of another size than its bottom,")
    if not layer.normalises:
        return Step("{0}")
    channels = bottoms[0][1]
    mean, std = list(layer.param.mean_value) or [0.0], list(layer.param.std_value) or [1.0]
    lists = (", ".join(map(number, values if len(values) > 1 else values * channels)) for values in (mean, std))
    return Step("{self}({0})", call("Normalise", *(f"[{numbers}]" for numbers in lists)))
