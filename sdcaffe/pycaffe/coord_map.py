"""caffe.coord_map: which place of one blob lies over which of another, and `crop`, which lays one over the other.

Places follow from the fields of NetSpec layers alone: no net is built, no shape is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sdcaffe import proto
from sdcaffe.layers import load_builtin
from sdcaffe.layers.base import Layer, registered
from sdcaffe.layers.places import Numbers, Places
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

Map = tuple[int | None, Any, Any]  # axis before the spatial ones (None: any), a, b: place x becomes a x + b

load_builtin()
PASS_THROUGH_LAYERS = [name for name, cls in registered().items() if cls.keeps_places]  # scripts may add to it


def crop(top_from: Top, top_to: Top) -> Top:
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
        f"whose places are known: {', '.join(_known())}"
    )


def _ancestors(top: Top) -> Iterator[tuple[Top, Map]]:
    """The blob itself and what it is made of, with the way from their places to its."""
    found, waiting = {top}, [(top, _way(Places()))]
    while waiting:
        here, way = waiting.pop()
        yield here, way
        try:
            places = _places(here.fn)
        except UndefinedMapException:
            continue
        bottoms = here.fn.inputs[:1] if places.first_only else here.fn.inputs
        waiting += [(bottom, compose(way, _way(places))) for bottom in bottoms if bottom not in found]
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
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    return _way(_places(fn))


def _way(places: Places) -> Map:
    return places.axis, places.scale, places.shift


def _places(fn: Function) -> Places:
    if fn.type_name in PASS_THROUGH_LAYERS:
        return Places()
    places = registered().get(fn.type_name, Layer).places(fn.fields())
    if places is None:
        raise UndefinedMapException(
            f"the places of this {fn.type_name} layer's top do not follow from those of its bottom"
        )
    return places


def _known() -> list[str]:
    """The types of layers that say something of their places, and those that a script added."""
    own = (name for name, cls in registered().items() if cls.places(proto.LayerParameter(type=name)) is not None)
    return sorted({*own, *PASS_THROUGH_LAYERS})


def _show(values: Numbers) -> str:
    return " x ".join(f"{value:g}" for value in values)
