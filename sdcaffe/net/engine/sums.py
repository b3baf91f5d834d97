"""torch's sums, products, norms and windows as nodes of an ONNX graph with fixed shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sdcaffe.net.engine.recorder import Recorder
from sdcaffe.net.engine.table import OPERATORS, operator, refuse, reshaped

# ---- sums and products


@operator("convolution")
def _convolution(
    r: Recorder,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> None:
    axes = x.dim() - 2
    stride, padding, dilation = (list(v) * (axes if len(v) == 1 else 1) for v in (stride, padding, dilation))
    attributes: dict[str, Any] = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": groups}
    if transposed and any(output_padding):
        attributes["output_padding"] = list(output_padding) * (axes if len(output_padding) == 1 else 1)
    inputs = [r.name(x), r.name(weight), *([] if bias is None else [r.name(bias)])]
    r.emit("ConvTranspose" if transposed else "Conv", inputs, out, kernel_shape=list(weight.shape[2:]), **attributes)


@operator("addmm")
def _addmm(r: Recorder, out: Tensor, bias: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> None:
    _gemm(r, out, a, b, [r.name(bias)], beta=float(beta), alpha=float(alpha))


@operator("mm")
def _mm(r: Recorder, out: Tensor, a: Tensor, b: Tensor) -> None:
    _gemm(r, out, a, b, [])


def _gemm(r: Recorder, out: Tensor, a: Tensor, b: Tensor, bias: list[str], **attributes: Any) -> None:
    """A constant that lies the other way round is read as it lies."""
    real = r.real(b)
    if real is not None and not real.is_contiguous() and real.t().is_contiguous():
        weight = r.in_place(real.t(), out.shape[0]) or r.constant(real.t())
        r.emit("Gemm", [r.name(a), weight, *bias], out, transB=1, **attributes)
    else:
        r.emit("Gemm", [r.name(a), r.name(b), *bias], out, **attributes)


@operator("bmm")
def _bmm(r: Recorder, out: Tensor, a: Tensor, b: Tensor) -> None:
    r.emit("MatMul", [r.name(a), r.name(b)], out)


@operator("_softmax")
def _softmax(r: Recorder, out: Tensor, x: Tensor, dim: int, half: bool) -> None:
    r.emit("Softmax", [r.name(x)], out, axis=dim % x.dim())


@operator("_log_softmax")
def _log_softmax(r: Recorder, out: Tensor, x: Tensor, dim: int, half: bool) -> None:
    r.emit("LogSoftmax", [r.name(x)], out, axis=dim % x.dim())


def _reduced(op: str) -> Callable[..., Any]:
    def emit(r: Recorder, out: Tensor, x: Tensor, dims: Any = None, keepdim: bool = False, **_: Any) -> None:
        dims = [dims] if isinstance(dims, int) else dims
        axes = sorted(d % x.dim() for d in dims) if dims else list(range(x.dim()))
        name = r.cast(x, out.dtype)
        if op == "ReduceMean" and x.dim() == 4 and axes == [2, 3]:
            top = r.emit("GlobalAveragePool", [name])
            reshaped(r, top, (*x.shape[:2], 1, 1), out)
        else:
            r.emit(op, [name, r.constant(axes, torch.int64)], out, keepdims=int(keepdim))

    return emit


OPERATORS.update({"mean": _reduced("ReduceMean"), "sum": _reduced("ReduceSum")})
OPERATORS.update({"amax": _reduced("ReduceMax"), "amin": _reduced("ReduceMin")})


@operator("cumsum")
def _cumsum(r: Recorder, out: Tensor, x: Tensor, dim: int, **_: Any) -> None:
    r.emit("CumSum", [r.cast(x, out.dtype), r.constant(dim % x.dim(), torch.int64)], out)


@operator("topk")
def _topk(r: Recorder, out: Any, x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> None:
    names = r.emit("TopK", [r.name(x), r.constant([k], torch.int64)], count=2, axis=dim % x.dim(), largest=int(largest))
    for part, name in zip(out, names, strict=True):
        r.call(part, name)


@operator("argmax")
def _argmax(r: Recorder, out: Tensor, x: Tensor, dim: int | None = None, keepdim: bool = False) -> None:
    if dim is None:
        refuse("argmax")
    r.emit("ArgMax", [r.name(x)], out, axis=dim, keepdims=int(keepdim))


# ---- windows and images


@operator("max_pool2d_with_indices")
def _max_pool(
    r: Recorder,
    out: Any,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> None:
    kernel, padding, dilation = (_pair(v) for v in (kernel, padding, dilation))
    stride = _pair(stride or kernel)
    behind = _behind(x, out[0], kernel, stride, padding, dilation)
    name = r.emit(
        "MaxPool", [r.name(x)], kernel_shape=kernel, strides=stride, pads=[*padding, *behind], dilations=dilation
    )
    r.call(out[0], name)


@operator("avg_pool2d")
def _avg_pool(
    r: Recorder,
    out: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> None:
    kernel, padding = _pair(kernel), _pair(padding)
    stride = _pair(stride or kernel)
    behind = _behind(x, out, kernel, stride, padding, [1, 1])
    beyond = any(more > pad for more, pad in zip(behind, padding, strict=True))
    counted = count_include_pad and any(padding)
    if divisor is not None or (beyond and counted):
        refuse("avg_pool2d")
    pads = [*padding, *behind]
    r.emit(
        "AveragePool", [r.name(x)], out, kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=int(counted)
    )


def _pair(values: Sequence[int]) -> list[int]:
    return [*values] * (2 if len(values) == 1 else 1)


def _behind(x: Tensor, out: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[int]:
    """What is to be padded behind an image for the windows that torch has, and no more."""
    found = []
    for axis in (0, 1):
        covered = (out.shape[axis + 2] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        found.append(max(0, covered - x.shape[axis + 2] - padding[axis]))
    return found


@operator("_adaptive_avg_pool2d")
def _adaptive(r: Recorder, out: Tensor, x: Tensor, size: Sequence[int]) -> None:
    r.emit("GlobalAveragePool", [r.name(x)], out) if math.prod(size) == 1 else refuse("adaptive_avg_pool2d")


@operator("upsample_nearest2d", "upsample_bilinear2d")
def _upsample(r: Recorder, out: Tensor, x: Tensor, size: Any, *rest: Any) -> None:
    linear = bool(rest) and isinstance(rest[0], bool)
    corners = linear and rest[0]
    if size is None or any(scale is not None for scale in rest[linear:]):
        refuse("upsample")
    way = "asymmetric" if not linear else "align_corners" if corners else "half_pixel"
    sizes = r.constant(list(out.shape), torch.int64)
    mode: dict[str, Any] = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": "floor"}
    r.emit("Resize", [r.name(x), "", "", sizes], out, coordinate_transformation_mode=way, **mode)


@operator("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training")
def _batch_norm(r: Recorder, out: Any, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> None:
    if len(rest) == 3 and rest[0]:
        refuse("batch norm of a batch's own statistics")
    channels, kind = x.shape[1], x.dtype
    factor = r.constant(torch.ones(channels, dtype=kind)) if weight is None else r.name(weight)
    shift = r.constant(torch.zeros(channels, dtype=kind)) if bias is None else r.name(bias)
    inputs = [r.name(x), factor, shift, r.name(mean), r.name(variance)]
    r.call(out[0], r.emit("BatchNormalization", inputs, epsilon=float(rest[-1])))
