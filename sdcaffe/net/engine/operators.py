"""torch's operators on one number at a time, and those that move numbers, as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sdcaffe.net.engine.recorder import Recorder, Unsupported
from sdcaffe.net.engine.table import OPERATORS, operator, refuse, reshaped

# ---- one number at a time

_UNARY = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "log": "Log", "abs": "Abs", "neg": "Neg"}
_UNARY |= {"sqrt": "Sqrt", "floor": "Floor", "ceil": "Ceil", "erf": "Erf", "reciprocal": "Reciprocal", "sign": "Sign"}
_UNARY |= {"logical_not": "Not", "sin": "Sin", "cos": "Cos"}
_COMPARE = {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal"}
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min"}


def _unary(op: str) -> Callable[..., Any]:
    return lambda r, out, x: r.emit(op, [r.cast(x, x.dtype if op == "Not" else out.dtype)], out)


OPERATORS.update((name, _unary(op)) for name, op in _UNARY.items())


def _operand(r: Recorder, value: Any, dtype: torch.dtype) -> str:
    return r.cast(value, dtype) if isinstance(value, Tensor) else r.constant(value, dtype)


def _stays_blocked(r: Recorder, out: Tensor, x: str, factor: Any) -> bool:
    """Whether x is what ONNX Runtime computes in blocks of channels, as it does no product: ResNet's shortcut."""
    blocked = r.makers.get(x) in ("Conv", "MaxPool", "AveragePool")
    return blocked and isinstance(factor, (int, float)) and out.dim() == 4 and out.dtype == torch.float32


def _two(op: str) -> Callable[..., Any]:
    def emit(r: Recorder, out: Tensor, a: Any, b: Any, alpha: Any = 1, rounding_mode: Any = None) -> None:
        if rounding_mode is not None:
            raise Unsupported("it rounds a quotient")
        compared = op in _COMPARE.values()
        dtype = torch.result_type(a, b) if compared else out.dtype
        first, second = _operand(r, a, dtype), _operand(r, b, dtype)
        if op == "Mul" and _stays_blocked(r, out, first, b):
            weight = r.constant(torch.full((out.shape[1], 1, 1, 1), b, dtype=dtype))
            r.emit("Conv", [first, weight], out, kernel_shape=[1, 1], group=out.shape[1])
            return
        if alpha != 1:
            second = r.emit("Mul", [second, r.constant(alpha, dtype)])
        r.emit(op, [first, second], out)

    return emit


OPERATORS.update((name, _two(op)) for name, op in (_BINARY | _COMPARE).items())


@operator("rsub")
def _rsub(r: Recorder, out: Tensor, a: Any, b: Any, alpha: Any = 1) -> None:
    OPERATORS["sub"](r, out, b, a, alpha) if alpha == 1 else refuse("rsub")


@operator("ne")
def _ne(r: Recorder, out: Tensor, a: Any, b: Any) -> None:
    dtype = torch.result_type(a, b)
    r.emit("Not", [r.emit("Equal", [_operand(r, a, dtype), _operand(r, b, dtype)])], out)


@operator("logical_and", "bitwise_and")
def _and(r: Recorder, out: Tensor, a: Any, b: Any) -> None:
    r.emit("And", [_boolean(r, a), _boolean(r, b)], out)


@operator("logical_or", "bitwise_or")
def _or(r: Recorder, out: Tensor, a: Any, b: Any) -> None:
    r.emit("Or", [_boolean(r, a), _boolean(r, b)], out)


def _boolean(r: Recorder, x: Any) -> str:
    return r.name(x) if isinstance(x, Tensor) and x.dtype == torch.bool else refuse("bits")


@operator("square")
def _square(r: Recorder, out: Tensor, x: Tensor) -> None:
    r.emit("Mul", [r.name(x)] * 2, out)


@operator("rsqrt")
def _rsqrt(r: Recorder, out: Tensor, x: Tensor) -> None:
    r.emit("Reciprocal", [r.emit("Sqrt", [r.name(x)])], out)


@operator("log1p")
def _log1p(r: Recorder, out: Tensor, x: Tensor) -> None:
    r.emit("Log", [r.emit("Add", [r.name(x), r.constant(1, x.dtype)])], out)


@operator("silu")
def _silu(r: Recorder, out: Tensor, x: Tensor) -> None:
    r.emit("Mul", [r.name(x), r.emit("Sigmoid", [r.name(x)])], out)


@operator("softplus")
def _softplus(r: Recorder, out: Tensor, x: Tensor, beta: float = 1, threshold: float = 20) -> None:
    r.emit("Softplus", [r.name(x)], out) if beta == 1 else refuse("softplus")


@operator("leaky_relu")
def _leaky_relu(r: Recorder, out: Tensor, x: Tensor, slope: float = 0.01) -> None:
    r.emit("LeakyRelu", [r.name(x)], out, alpha=float(slope))


@operator("elu")
def _elu(r: Recorder, out: Tensor, x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> None:
    if input_scale != 1:
        refuse("elu")
    top = r.emit("Elu", [r.name(x)], out if scale == 1 else None, alpha=float(alpha))
    if scale != 1:
        r.emit("Mul", [top, r.constant(scale, out.dtype)], out)


@operator("_prelu_kernel")
def _prelu(r: Recorder, out: Tensor, x: Tensor, slope: Tensor) -> None:
    real = r.real(slope)
    shaped = r.name(slope) if real is None else r.constant(real.reshape(real.shape[1:]))
    r.emit("PRelu", [r.name(x), shaped], out)


@operator("clamp", "hardtanh", "clamp_min")
def _clamp(r: Recorder, out: Tensor, x: Tensor, low: Any = None, high: Any = None, **given: Any) -> None:
    low, high = given.get("min", low), given.get("max", high)
    if any(isinstance(bound, Tensor) for bound in (low, high)):
        refuse("clamp")
    bounds = ["" if bound is None else r.constant(bound, out.dtype) for bound in (low, high)]
    r.emit("Clip", [r.cast(x, out.dtype), *bounds], out)


@operator("clamp_max")
def _clamp_max(r: Recorder, out: Tensor, x: Tensor, high: Any) -> None:
    _clamp(r, out, x, None, high)


@operator("where")
def _where(r: Recorder, out: Tensor, condition: Tensor, a: Any = None, b: Any = None) -> None:
    if a is None or b is None:
        refuse("where")
    r.emit("Where", [r.name(condition), _operand(r, a, out.dtype), _operand(r, b, out.dtype)], out)


@operator("masked_fill")
def _masked_fill(r: Recorder, out: Tensor, x: Tensor, mask: Tensor, value: Any) -> None:
    _where(r, out, mask, value, x)


# ---- the same numbers elsewhere


@operator("detach", "clone", "alias", "contiguous", "lift_fresh_copy", "_to_copy")
def _same(r: Recorder, out: Tensor, x: Tensor, **_: Any) -> None:
    r.call(out, r.cast(x, out.dtype))


@operator("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten", "_reshape_copy")
def _reshape(r: Recorder, out: Tensor, x: Tensor, *_: Any) -> None:
    reshaped(r, r.name(x), x.shape, out)


@operator("permute")
def _permute(r: Recorder, out: Tensor, x: Tensor, dims: Sequence[int]) -> None:
    r.emit("Transpose", [r.name(x)], out, perm=[d % x.dim() for d in dims])


@operator("transpose")
def _transpose(r: Recorder, out: Tensor, x: Tensor, a: int, b: int) -> None:
    order = list(range(x.dim()))
    order[a], order[b] = order[b], order[a]
    _permute(r, out, x, order)


@operator("t")
def _t(r: Recorder, out: Tensor, x: Tensor) -> None:
    _permute(r, out, x, range(x.dim())[::-1])


@operator("expand")
def _expand(r: Recorder, out: Tensor, x: Tensor, sizes: Sequence[int], **_: Any) -> None:
    r.emit("Expand", [r.name(x), r.constant(list(out.shape), torch.int64)], out)


@operator("repeat")
def _repeat(r: Recorder, out: Tensor, x: Tensor, repeats: Sequence[int]) -> None:
    if len(repeats) != x.dim():
        refuse("repeat")
    r.emit("Tile", [r.name(x), r.constant(list(repeats), torch.int64)], out)


def _sliced(r: Recorder, name: str, dim: int, start: int, end: int, step: int = 1) -> str:
    found: str = r.emit("Slice", [name, *(r.constant([v], torch.int64) for v in (start, end, dim, step))])
    return found


@operator("slice")
def _slice(
    r: Recorder, out: Tensor, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> None:
    if tuple(out.shape) == tuple(x.shape) and step == 1:
        r.call(out, r.name(x))
    elif not out.numel():
        refuse("empty slice")
    else:
        r.call(out, _sliced(r, r.name(x), dim % x.dim(), start or 0, 2**31 - 1 if end is None else end, step))


@operator("select")
def _select(r: Recorder, out: Tensor, x: Tensor, dim: int, index: int) -> None:
    r.emit("Gather", [r.name(x), r.constant(index % x.shape[dim], torch.int64)], out, axis=dim % x.dim())


@operator("split", "split_with_sizes")
def _split(r: Recorder, out: Sequence[Tensor], x: Tensor, sizes: Any, dim: int = 0) -> None:
    lengths = r.constant([part.shape[dim] for part in out], torch.int64)
    names = r.emit("Split", [r.name(x), lengths], count=len(out), axis=dim % x.dim())
    for part, name in zip(out, [names] if len(out) == 1 else names, strict=True):
        r.call(part, name)


@operator("unbind")
def _unbind(r: Recorder, out: Sequence[Tensor], x: Tensor, dim: int = 0) -> None:
    for i, part in enumerate(out):
        _select(r, part, x, dim, i)


@operator("cat")
def _cat(r: Recorder, out: Tensor, parts: Sequence[Tensor], dim: int = 0) -> None:
    kept = [part for part in parts if part.shape != (0,)]
    r.emit("Concat", [r.cast(part, out.dtype) for part in kept], out, axis=dim % out.dim())


@operator("stack")
def _stack(r: Recorder, out: Tensor, parts: Sequence[Tensor], dim: int = 0) -> None:
    axis = r.constant([dim % out.dim()], torch.int64)
    r.emit("Concat", [r.emit("Unsqueeze", [r.name(p), axis]) for p in parts], out, axis=dim % out.dim())


@operator("flip")
def _flip(r: Recorder, out: Tensor, x: Tensor, dims: Sequence[int]) -> None:
    name = r.name(x)
    for dim in dims:
        name = _sliced(r, name, dim % x.dim(), -1, -(2**31) + 1, -1)
    r.call(out, name)


@operator("index_select")
def _index_select(r: Recorder, out: Tensor, x: Tensor, dim: int, index: Tensor) -> None:
    r.emit("Gather", [r.name(x), r.name(index)], out, axis=dim % x.dim())


@operator("gather")
def _gather(r: Recorder, out: Tensor, x: Tensor, dim: int, index: Tensor, **_: Any) -> None:
    r.emit("GatherElements", [r.name(x), r.name(index)], out, axis=dim % x.dim())


@operator("embedding")
def _embedding(r: Recorder, out: Tensor, weight: Tensor, index: Tensor, *_: Any) -> None:
    r.emit("Gather", [r.name(weight), r.name(index)], out, axis=0)


@operator("constant_pad_nd")
def _pad(r: Recorder, out: Tensor, x: Tensor, pad: Sequence[int], value: float = 0) -> None:
    pads = [0] * 2 * x.dim()
    for i in range(len(pad) // 2):
        pads[x.dim() - 1 - i], pads[2 * x.dim() - 1 - i] = pad[2 * i], pad[2 * i + 1]
    r.emit("Pad", [r.name(x), r.constant(pads, torch.int64), r.constant(value, out.dtype)], out, mode="constant")


@operator("pixel_shuffle")
def _pixel_shuffle(r: Recorder, out: Tensor, x: Tensor, factor: int) -> None:
    r.emit("DepthToSpace", [r.name(x)], out, blocksize=factor, mode="CRD")


def _filled(number: int) -> Callable[..., Any]:
    return lambda r, out, *_, **__: torch.full(tuple(out.shape), number, dtype=out.dtype)


OPERATORS.update({"zeros_like": _filled(0), "new_zeros": _filled(0), "ones_like": _filled(1), "new_ones": _filled(1)})


@operator("full_like", "new_full")
def _full(r: Recorder, out: Tensor, x: Tensor, *values: Any, **_: Any) -> Tensor:
    return torch.full(tuple(out.shape), values[-1], dtype=out.dtype)
