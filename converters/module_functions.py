"""Layers without blobs as expressions of PyTorch."""

from __future__ import annotations

from typing import Any

from sdcaffe.converters.module_pooling import pooled, spatial_pyramid
from sdcaffe.converters.module_step import Step, refused, writes
from sdcaffe.converters.module_text import call, number

from sdcaffe.layers.base import Shape

# ---- Functions of one blob ----


@writes("ReLU")
def _relu(layer: Any, bottoms: list[Shape]) -> Step:
    slope = layer.negative_slope
    return Step(f"F.leaky_relu({{0}}, {number(slope)})" if slope else "F.relu({0})")


@writes("ELU")
def _elu(layer: Any, bottoms: list[Shape]) -> Step:
    return Step(f"F.elu({{0}}, {number(layer.alpha)})")


@writes("Sigmoid", "TanH", "AbsVal", "BNLL")
def _plain(layer: Any, bottoms: list[Shape]) -> Step:
    functions = {"Sigmoid": "torch.sigmoid({0})", "TanH": "torch.tanh({0})", "AbsVal": "torch.abs({0})"}
    return Step(functions.get(layer.type, "F.softplus({0}, threshold=50.0)"))


@writes("Swish")
def _swish(layer: Any, bottoms: list[Shape]) -> Step:
    if layer.beta == 1:
        return Step("F.silu({0})")
    return Step(f"{{0}} * torch.sigmoid({{0}} * {number(layer.beta)})", nests=False)


@writes("Power")
def _power(layer: Any, bottoms: list[Shape]) -> Step:
    linear = _linear(layer.scale, layer.shift)
    if layer.power == 1:
        return Step(linear, nests=linear == "{0}")
    return Step(f"torch.pow({linear}, {number(layer.power)})", nests=linear == "{0}")


@writes("Exp")
def _exp(layer: Any, bottoms: list[Shape]) -> Step:
    inner = "{0}" if layer.inner == 1 else f"{{0}} * {layer.inner!r}"
    outer = "" if layer.outer == 1 else f" * {layer.outer!r}"
    return Step(f"torch.exp({inner}){outer}", nests=layer.inner == 1)


@writes("Log")
def _log(layer: Any, bottoms: list[Shape]) -> Step:
    linear = _linear(layer.scale, layer.shift)
    outer = "" if layer.log_base == 1 else f" / {layer.log_base!r}"
    return Step(f"torch.log({linear}){outer}", nests=linear == "{0}")


def _linear(scale: float, shift: float) -> str:
    text = "{0}" if scale == 1 else f"{{0}} * {number(scale)}"
    return text if shift == 0 else f"{text} + {number(shift)}"


@writes("Clip")
def _clip(layer: Any, bottoms: list[Shape]) -> Step:
    if layer.low > layer.high:
        raise refused(layer, f"a Clip to the empty interval from {layer.low:g} to {layer.high:g}")
    return Step(f"torch.clamp({{0}}, {number(layer.low)}, {number(layer.high)})")


@writes("ReLU6")
def _relu6(layer: Any, bottoms: list[Shape]) -> Step:
    return Step("F.relu6({0})")


@writes("Threshold")
def _threshold(layer: Any, bottoms: list[Shape]) -> Step:
    return Step(f"torch.gt({{0}}, {number(layer.threshold)}).float()")


@writes("Dropout")
def _dropout(layer: Any, bottoms: list[Shape]) -> Step:
    return Step(f"F.dropout({{0}}, {number(layer.ratio)}, self.training)")


@writes("Softmax")
def _softmax(layer: Any, bottoms: list[Shape]) -> Step:
    return Step(f"torch.softmax({{0}}, {layer.axis})")


@writes("LRN")
def _lrn(layer: Any, bottoms: list[Shape]) -> Step:
    alpha, beta, k = map(number, (layer.alpha, layer.beta, layer.k))
    if layer.within:
        mean = f"F.avg_pool2d(torch.square({{0}}), {layer.size}, 1, {layer.size // 2})"
        return Step(f"{{0}} * torch.pow({mean} * {alpha} + {k}, -{beta})", nests=False)
    named = {"alpha": alpha, "beta": beta, "k": k if layer.k != 1 else None}
    return Step(call("F.local_response_norm", "{0}", str(layer.size), **named), nests=False)


@writes("MVN")
def _mvn(layer: Any, bottoms: list[Shape]) -> Step:
    if len(bottoms[0]) != 4:
        raise refused(layer, f"an MVN of {len(bottoms[0])} axes")
    axes = "(1, 2, 3)" if layer.param.across_channels else "(2, 3)"
    if not layer.param.normalize_variance:
        return Step(f"{{0}} - torch.mean({{0}}, {axes}, keepdim=True)", nests=False)
    return Step(f"standardised({{0}}, {axes}, {number(layer.param.eps)})")


# ---- Windows, shapes, several blobs ----


@writes("Pooling")
def _pooling(layer: Any, bottoms: list[Shape]) -> Step:
    if layer.with_mask:
        raise refused(layer, "a Pooling whose second top is the mask")
    return Step(pooled(layer, layer.windows), nests=False)


@writes("SPP")
def _spp(layer: Any, bottoms: list[Shape]) -> Step:
    return Step(spatial_pyramid(layer), nests=False)


@writes("Flatten")
def _flatten(layer: Any, bottoms: list[Shape]) -> Step:
    last = layer.end - 1
    to_the_end = last == len(bottoms[0]) - 1
    return Step(f"torch.flatten({{0}}, {layer.start}{'' if to_the_end else f', {last}'})")


@writes("Reshape")
def _reshape(layer: Any, bottoms: list[Shape]) -> Step:
    dims = len(bottoms[0])
    start, end = layer._span(dims)
    sizes = [f"{{0}}.shape[{i}]" for i in range(start)]
    sizes += [f"{{0}}.shape[{start + i}]" if n == 0 else str(n) for i, n in enumerate(layer.dims)]
    sizes += [f"{{0}}.shape[{i}]" for i in range(end, dims)]
    return Step(f"{{0}}.reshape({', '.join(sizes)})", nests=False)


@writes("Permute")
def _permute(layer: Any, bottoms: list[Shape]) -> Step:
    given = list(layer.param.order)
    order = given + [axis for axis in range(len(bottoms[0])) if axis not in given]
    return Step(f"torch.permute({{0}}, {tuple(order)})")


@writes("Concat")
def _concat(layer: Any, bottoms: list[Shape]) -> Step:
    if len(bottoms) == 1:
        return Step("{0}")
    return Step(f"torch.cat(({', '.join(f'{{{i}}}' for i in range(len(bottoms)))}), {layer.axis})", nests=False)


@writes("Slice")
def _slice(layer: Any, bottoms: list[Shape]) -> Step:
    sizes = layer._sizes(bottoms[0][layer.axis])
    if len(sizes) == 1:
        return Step("{0}")
    return Step(f"torch.split({{0}}, [{', '.join(map(str, sizes))}], {layer.axis})")


@writes("Crop")
def _crop(layer: Any, bottoms: list[Shape]) -> Step:
    if not layer.cut:
        return Step("{0}", nests=False)
    spans = []
    for axis, offset, _ in layer.cut:
        size = f"{{1}}.shape[{axis}]"
        spans.append(f"{offset} : {offset} + {size}" if offset else f": {size}")
    return Step("{0}[" + ", ".join([":"] * layer.cut[0][0] + spans) + "]", nests=False)


@writes("Eltwise")
def _eltwise(layer: Any, bottoms: list[Shape]) -> Step:
    names = [f"{{{i}}}" for i in range(len(bottoms))]
    if layer.operation == layer.param.PROD:
        return Step(" * ".join(names), nests=False)
    if layer.operation == layer.param.MAX:
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        return Step(text, nests=False)
    text = _times(layer.coefficients[0], names[0])
    for coefficient, name in zip(layer.coefficients[1:], names[1:], strict=True):
        text += f" - {_times(-coefficient, name)}" if coefficient < 0 else f" + {_times(coefficient, name)}"
    return Step(text, nests=False)


def _times(coefficient: float, name: str) -> str:
    return name if coefficient == 1 else f"{number(coefficient)} * {name}"


@writes("Tile")
def _tile(layer: Any, bottoms: list[Shape]) -> Step:
    times = ["1"] * len(bottoms[0])
    times[layer.axis] = str(layer.count)
    return Step(
        f"torch.tile({{0}}, ({', '.join(times)},))" if len(times) == 1 else f"torch.tile({{0}}, ({', '.join(times)}))"
    )


@writes("Reduction")
def _reduction(layer: Any, bottoms: list[Shape]) -> Step:
    param = layer.param
    axes = ", ".join(str(axis) for axis in range(layer.axis, len(bottoms[0])))
    axes = f"({axes})" if "," in axes else axes
    inner = {param.ASUM: "torch.abs({0})", param.SUMSQ: "torch.square({0})"}.get(param.operation, "{0}")
    function = "mean" if param.operation == param.MEAN else "sum"
    text = f"torch.{function}({inner}, {axes})"
    return Step(text if param.coeff == 1 else f"{text} * {number(param.coeff)}")


@writes("ArgMax")
def _argmax(layer: Any, bottoms: list[Shape]) -> Step:
    if layer.axis is None or layer.param.top_k != 1 or layer.param.out_max_val:
        raise refused(layer, "an ArgMax of other than the one greatest place along an axis")
    axis = layer.axis  # turned round: of equal values torch takes the first and Caffe the last
    place = f"torch.argmax({{0}}.flip({axis}), {axis}, keepdim=True)"
    return Step(f"({{0}}.shape[{axis}] - 1 - {place}).float()", nests=False)
