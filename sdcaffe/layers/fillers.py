"""Weight fillers: Caffe's seven, each a function of a tensor and a FillerParameter. Draws on torch's generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import LayerError

_SPARSE_TYPES = ("gaussian",)
_FINITE = {"uniform": ("min", "max"), "gaussian": ("mean", "std")}  # what has to be, by type


def _constant(tensor: Tensor, filler: proto.FillerParameter) -> None:
    tensor.fill_(filler.value)


def _uniform(tensor: Tensor, filler: proto.FillerParameter) -> None:
    if filler.min > filler.max:
        words = f"a uniform filler needs min <= max, not min {filler.min:g} and max {filler.max:g}"
        raise LayerError(words, field="min" if filler.HasField("min") else "max")
    if filler.max - filler.min > torch.finfo(torch.float32).max:
        raise LayerError(f"a uniform filler from {filler.min:g} to {filler.max:g} is wider than a float", field="max")
    tensor.uniform_(filler.min, filler.max)


def _gaussian(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Normal; with `sparse`, each weight is kept with probability sparse / number of outputs (axis 0)."""
    if filler.std < 0:
        raise LayerError(f"a gaussian filler needs a std of at least 0, not {filler.std:g}", field="std")
    tensor.normal_(filler.mean, filler.std)
    if filler.sparse >= 0:
        keep = min(1.0, filler.sparse / _outputs(tensor, filler))
        tensor.mul_(torch.empty_like(tensor).bernoulli_(keep))


def _positive_unitball(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Uniform on (0, 1), then each row (all but axis 0) scaled to sum 1."""
    rows = tensor.uniform_(0, 1).view(_outputs(tensor, filler), -1)
    rows.div_(rows.sum(1, keepdim=True))


def _outputs(tensor: Tensor, filler: proto.FillerParameter) -> int:
    """The size of axis 0. Raises LayerError for a blob without axes."""
    if not tensor.dim():
        raise LayerError(f'filler "{filler.type}" needs a blob of at least one axis', field="type")
    return tensor.shape[0]


def _fan(tensor: Tensor, filler: proto.FillerParameter) -> float:
    """Caffe's n: count / shape[0] (FAN_IN), count / shape[1] (FAN_OUT), or their mean (AVERAGE).

    On one axis, a bias say, FAN_IN is 1 and FAN_OUT the count.
    """
    fan_in = tensor.numel() / _outputs(tensor, filler)
    fan_out = tensor.numel() / (tensor.shape[1] if tensor.dim() > 1 else 1)
    kinds = proto.FillerParameter
    norms = {kinds.FAN_IN: fan_in, kinds.FAN_OUT: fan_out, kinds.AVERAGE: (fan_in + fan_out) / 2}
    if filler.variance_norm not in norms:
        raise LayerError(f"unknown variance_norm {filler.variance_norm}")
    return norms[filler.variance_norm]


def _xavier(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Uniform on +-sqrt(3 / n) (Glorot and Bengio 2010)."""
    bound = math.sqrt(3.0 / _fan(tensor, filler))
    tensor.uniform_(-bound, bound)


def _msra(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Normal with deviation sqrt(2 / n) (He et al. 2015)."""
    tensor.normal_(0.0, math.sqrt(2.0 / _fan(tensor, filler)))


def _bilinear(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """The kernel of bilinear upsampling, the same in every channel; square 4-D blobs only."""
    if tensor.dim() != 4 or tensor.shape[2] != tensor.shape[3]:
        raise LayerError(f"a bilinear filler needs a square 4-D blob, not {tuple(tensor.shape)}")
    size = tensor.shape[3]
    factor = math.ceil(size / 2.0)
    centre = (size - 1) / (2.0 * factor)
    line = 1 - (torch.arange(size, dtype=torch.float64) / factor - centre).abs()
    tensor.copy_(torch.outer(line, line).expand(tensor.shape))


FILLERS: dict[str, Callable[[Tensor, proto.FillerParameter], None]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}


def check(filler: proto.FillerParameter) -> None:
    """Raise LayerError for a FillerParameter of an unknown type, for `sparse` on a filler that has none, and for
    numbers that nothing can be drawn with.
    """
    if filler.type not in FILLERS:
        raise LayerError(f'unknown filler type "{filler.type}"; there are {", ".join(sorted(FILLERS))}', field="type")
    if filler.sparse < -1:
        raise LayerError(f"sparse is {filler.sparse}; it is -1 (none) or how many weights to keep", field="sparse")
    if filler.sparse != -1 and filler.type not in _SPARSE_TYPES:
        raise LayerError(f'filler "{filler.type}" has no sparse form', field="sparse")
    for field in _FINITE.get(filler.type, ()):
        value = getattr(filler, field)
        if not math.isfinite(value):
            raise LayerError(f"a {filler.type} filler needs a finite {field}, not {value:g}", field=field)


@torch.no_grad()
def fill(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Fill `tensor` in place as the FillerParameter says. Raises LayerError for one that cannot fill it."""
    check(filler)
    if not tensor.numel():
        raise LayerError(f'filler "{filler.type}" has nothing to fill: the blob\'s shape is {tuple(tensor.shape)}')
    FILLERS[filler.type](tensor, filler)
