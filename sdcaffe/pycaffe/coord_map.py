"""caffe.coord_map: which place of one blob lies over which of another, and `crop`, which lays one over the other.

Places follow from the fields of NetSpec layers alone: no net is built, no shape is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import GraphError
from sdcaffe.pycaffe.net_spec import Function, Top, layers

Numbers = NDArray[np.float64]
Map = tuple[int | None, Numbers, Numbers]  # axis before the spatial ones (None: any), a, b: place x becomes a x + b

_SAME: Map = (None, np.ones(1), np.zeros(1))
_IN_PLACE = {  # layers that leave every number where it is
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Exp", "Log", "LRN", "MVN", "Power"),
    *("PReLU", "ReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold"),
}


def crop(top_from: Top, top_to: Top) -> Any:
    """A Crop layer that cuts `top_from` to what lies over `top_to`.

    Raises GraphError where the two are of different scale, or `top_from` would begin inside or between pixels.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    offset = np.round(-shift)
    if not np.allclose(scale, 1):
        raise GraphError(f"crop: a pixel of one blob is {_show(scale)} pixels of the other; crop blobs of one scale")
    if not np.allclose(offset, -shift):
        raise GraphError(f"crop: the offset {_show(-shift)} is no whole number of pixels; change a pad or kernel_size")
    if (offset < 0).any():
        raise GraphError(f"crop: the offset {_show(offset)} is negative; give the first convolution a larger pad")
    first = 2 if axis is None else axis + 1
    return layers.Crop(top_from, top_to, crop_param={"axis": first, "offset": offset.astype(int).tolist()})


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """(axis, a, b): place x of `top_from` lies over place a x + b of `top_to`; the spatial axes follow `axis`.

    Both must come, by layers whose places are known, from one blob. Raises GraphError otherwise.
    """
    seen = dict(_ancestors(top_from))
    for top, (axis, scale, shift) in _ancestors(top_to):
        if top in seen:
            return _then(seen[top], (axis, 1 / scale, -shift / scale))
    raise GraphError(
        f"the blobs of a {top_from.fn.type_name} and a {top_to.fn.type_name} layer come from no common blob by layers "
        f"whose places are known: Convolution, Deconvolution, Pooling, Crop, {', '.join(sorted(_IN_PLACE))}"
    )


def _ancestors(top: Top) -> Iterator[tuple[Top, Map]]:
    """The blob itself and what it is made of, with the way from its places to theirs."""
    found, waiting = {top}, [(top, _SAME)]
    while waiting:
        here, way = waiting.pop()
        yield here, way
        layer = _layer_map(here.fn)
        if layer is not None:
            bottoms = here.fn.inputs[:1] if here.fn.type_name == "Crop" else here.fn.inputs
            waiting += [(bottom, _then(way, layer)) for bottom in bottoms if bottom not in found]
            found.update(bottoms)


def _then(first: Map, second: Map) -> Map:
    """One map after the other."""
    if first[0] is not None and second[0] is not None and first[0] != second[0]:
        raise GraphError(f"layers on the way have their spatial axes after axis {first[0]} and after {second[0]}")
    axis = second[0] if first[0] is None else first[0]
    return axis, second[1] * first[1], second[1] * first[2] + second[2]


def _layer_map(fn: Function) -> Map | None:
    """The way from a layer's top to its bottom; None where its places are not known."""
    if fn.type_name in _IN_PLACE:
        return _SAME
    if fn.type_name == "Crop":
        param = fn.params.get("crop_param", fn.params)
        return param.get("axis", 2) - 1, np.ones(1), np.array(param.get("offset", 0), np.float64, ndmin=1)
    if fn.type_name not in ("Convolution", "Deconvolution", "Pooling"):
        return None
    param = fn.params.get("pooling_param" if fn.type_name == "Pooling" else "convolution_param", fn.params)
    if param.get("global_pooling"):
        return None
    kernel = _spatial(param, "kernel_size", "kernel", 1)
    stride, pad = _spatial(param, "stride", "stride", 1), _spatial(param, "pad", "pad", 0)
    middle = _spatial(param, "dilation", "dilation", 1) * (kernel - 1) / 2 - pad
    axis = param.get("axis", 1)
    if fn.type_name == "Deconvolution":
        return axis, 1 / stride, -middle / stride
    return axis, stride, middle


def _spatial(param: dict[str, Any], name: str, stem: str, default: int) -> Numbers:
    """A field of one number a spatial axis, or one for all; kernel_h and the like stand for two axes."""
    if f"{stem}_h" in param or f"{stem}_w" in param:
        return np.array([param.get(f"{stem}_h", default), param.get(f"{stem}_w", default)], np.float64)
    return np.array(param.get(name, default), np.float64, ndmin=1)


def _show(values: Numbers) -> str:
    return " x ".join(f"{value:g}" for value in values)
