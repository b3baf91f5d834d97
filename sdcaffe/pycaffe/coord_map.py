"""caffe.coord_map: which place of one blob lies over which of another, and `crop`, which lays one over the other.

Places follow from the fields of NetSpec layers alone: no net is built, no shape is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.layers import load_builtin
from sdcaffe.layers.base import Layer, registered
from sdcaffe.pycaffe.errors import AxisMismatchException, NoCommonBlob, NoCrop, UndefinedMapException
from sdcaffe.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "PASS_THROUGH_LAYERS",
    "AxisMismatchException",
    "UndefinedMapException",
    "compose",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "inverse",
]

Numbers = NDArray[np.float64]
Map = tuple[int | None, Any, Any]  # axis before the spatial ones (None: any), a, b: place x becomes a x + b

_SAME: Map = (None, np.ones(1), np.zeros(1))
load_builtin()
PASS_THROUGH_LAYERS = [name for name, cls in registered().items() if cls.keeps_places]  # scripts may add to it


def crop(top_from: Top, top_to: Top) -> Any:
    """A Crop layer that cuts `top_from` to what lies over `top_to`.

    Raises NoCrop, an AssertionError, where the two are of different scale, or `top_from` would begin outside of
    itself or between pixels.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    if not np.allclose(scale, 1):
        raise NoCrop(f"crop: a pixel of one blob is {_show(scale)} pixels of the other; crop blobs of one scale")
    offset = np.round(-shift)
    whole = np.allclose(offset, -shift)
    if (-shift < 0).any() and not (whole and (offset >= 0).all()):
        raise NoCrop(f"crop: the offset {_show(-shift)} is negative; give the first convolution a larger pad")
    if not whole:
        raise NoCrop(f"crop: the offset {_show(-shift)} is no whole number of pixels; change a pad or kernel_size")
    first = 2 if axis is None else axis + 1
    return layers.Crop(top_from, top_to, crop_param={"axis": first, "offset": offset.astype(int).tolist()})


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """(axis, a, b): place x of `top_from` lies over place a x + b of `top_to`; the spatial axes follow `axis`.

    Raises NoCommonBlob, a RuntimeError, unless both come, by layers that `coord_map` knows, from one blob, and
    AxisMismatchException where layers on the way have other spatial axes.
    """
    seen = dict(_ancestors(top_from))
    for top, way in _ancestors(top_to):
        if top in seen:
            return compose(way, inverse(seen[top]))
    raise NoCommonBlob(
        f"the blobs of a {top_from.fn.type_name} and a {top_to.fn.type_name} layer come from no common blob by layers "
        "whose places are known: Convolution, Deconvolution, Pooling, Im2col, Crop, "
        f"{', '.join(sorted(PASS_THROUGH_LAYERS))}"
    )


def _ancestors(top: Top) -> Iterator[tuple[Top, Map]]:
    """The blob itself and what it is made of, with the way from their places to its."""
    found, waiting = {top}, [(top, _SAME)]
    while waiting:
        here, way = waiting.pop()
        yield here, way
        try:
            layer = coord_map(here.fn)
        except UndefinedMapException:
            continue
        bottoms = here.fn.inputs[:1] if here.fn.type_name == "Crop" else here.fn.inputs
        waiting += [(bottom, compose(way, layer)) for bottom in bottoms if bottom not in found]
        found.update(bottoms)


def compose(base_map: Map, next_map: Map) -> Map:
    """`next_map`, then `base_map`. Raises AxisMismatchException where both have an axis, and not the same."""
    axis, others = base_map[0], next_map[0]
    if axis is not None and others is not None and axis != others:
        raise AxisMismatchException(f"layers on the way have their spatial axes after axis {axis} and after {others}")
    scale, shift = base_map[1:]
    return others if axis is None else axis, scale * next_map[1], scale * next_map[2] + shift


def inverse(coord_map: Map) -> Map:
    """The way back."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map(fn: Function) -> Map:
    """The way from places of a layer's bottom to those of its top. Raises UndefinedMapException where none is known."""
    if fn.type_name in PASS_THROUGH_LAYERS or registered().get(fn.type_name, Layer).keeps_places:
        return _SAME
    if fn.type_name == "Crop":
        param = fn.params.get("crop_param", fn.params)
        return param.get("axis", 2) - 1, np.ones(1), -np.array(param.get("offset", 0), np.float64, ndmin=1)
    param = fn.params.get("pooling_param" if fn.type_name == "Pooling" else "convolution_param", fn.params)
    known = fn.type_name in ("Convolution", "Deconvolution", "Pooling", "Im2col")
    if not known or param.get("global_pooling"):
        what = "global Pooling" if known else fn.type_name
        raise UndefinedMapException(f"the places of a {what} layer's top do not follow from those of its bottom")
    kernel = _spatial(param, "kernel_size", "kernel", 1)
    stride, pad = _spatial(param, "stride", "stride", 1), _spatial(param, "pad", "pad", 0)
    middle = _spatial(param, "dilation", "dilation", 1) * (kernel - 1) / 2 - pad
    axis = param.get("axis", 1)
    if fn.type_name == "Deconvolution":
        return axis, stride, middle
    return axis, 1 / stride, -middle / stride


def _spatial(param: dict[str, Any], name: str, stem: str, default: int) -> Numbers:
    """A field of one number a spatial axis, or one for all; kernel_h and the like stand for two axes."""
    if f"{stem}_h" in param or f"{stem}_w" in param:
        return np.array([param.get(f"{stem}_h", default), param.get(f"{stem}_w", default)], np.float64)
    return np.array(param.get(name, default), np.float64, ndmin=1)


def _show(values: Numbers) -> str:
    return " x ".join(f"{value:g}" for value in values)
