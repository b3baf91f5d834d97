"""Labelled boxes through what happens to their picture: cropped, expanded, resized, mirrored. In float32, as SSD."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdcaffe import proto
from sdcaffe.forks.ssd.messages import EmitConstraint, ResizeParameter

Boxes = npt.NDArray[Any]  # float32
Mode = ResizeParameter.Resize_mode

WHOLE: Boxes = np.array([0, 0, 1, 1], np.float32)
_TWICE = np.array([0, 1, 0, 1])  # takes (x, y) to (x, y, x, y)


@dataclass(frozen=True)
class Labelled:
    """Boxes (m, 4) in fractions of their picture; of each its label, its instance, whether it is difficult, (m, 3)."""

    boxes: Boxes
    facts: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def only(self, kept: npt.NDArray[np.bool_]) -> Labelled:
        return self if kept.all() else Labelled(self.boxes[kept], self.facts[kept])


def area(boxes: Boxes) -> Boxes:
    """Areas (...) of boxes (..., 4); 0 of one that ends before it begins."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def common(boxes: Boxes, other: Boxes) -> Boxes:
    """The areas that boxes (m, 4) share with one (4,)."""
    first, last = np.maximum(boxes[:, :2], other[:2]), np.minimum(boxes[:, 2:], other[2:])
    return area(np.concatenate([first, last], 1))


def seen_in(labelled: Labelled, window: Boxes, emit: proto.EmitConstraint | None) -> Labelled:
    """The boxes as fractions of `window`, cut to it; those without area there are left out.

    With an EmitConstraint also those whose middle lies outside (CENTER), or of whose area no more than
    emit_overlap lies inside (MIN_OVERLAP).
    """
    boxes = labelled.boxes
    kept: Any = True  # of the whole picture no more is asked than an area
    if emit is not None:
        kept = _emitted(boxes, window, emit)
    if window is not WHOLE:
        kept = kept & ((boxes[:, :2] < window[2:]) & (boxes[:, 2:] > window[:2])).all(1)
        size = window[2:] - window[:2]
        with np.errstate(divide="ignore", invalid="ignore"):  # a window of no size sees nothing
            boxes = (boxes - window[:2][_TWICE]) / size[_TWICE]
    cut = np.minimum(np.maximum(boxes, 0), 1)
    return Labelled(cut, labelled.facts).only(kept & (area(cut) > 0))


def _emitted(boxes: Boxes, window: Boxes, emit: Any) -> npt.NDArray[np.bool_]:
    if emit.emit_type == EmitConstraint.EmitType.CENTER:
        middle = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
        return np.all((middle >= window[:2]) & (middle <= window[2:]), axis=1)
    share, whole = common(boxes, window), area(boxes)
    covered = np.divide(share, whole, out=np.zeros_like(share), where=share > 0)
    return covered > np.float32(emit.emit_overlap)


def mirrored(labelled: Labelled) -> Labelled:
    boxes = labelled.boxes.copy()
    boxes[:, 0], boxes[:, 2] = 1 - labelled.boxes[:, 2], 1 - labelled.boxes[:, 0]
    return Labelled(boxes, labelled.facts)


def resized(labelled: Labelled, height: int, width: int, resize: proto.ResizeParameter) -> Labelled:
    """The boxes of a picture of height by width as fractions of what resize_param makes of it."""
    old, inside, padding, new, least, most = _sizes(height, width, resize.height, resize.width, resize.resize_mode)
    pixels = labelled.boxes * old * inside / old
    return Labelled((padding + np.minimum(np.maximum(pixels, least), most)) / new, labelled.facts)


@functools.lru_cache(1024)
def _sizes(height: int, width: int, new_height: int, new_width: int, mode: int) -> tuple[Boxes, ...]:
    """Each (4,): a picture's own size, its size inside the new one, padding before it, the new size, each twice; the
    least that the ends of a box in pixels may be, and the most: it begins at 0 or later and ends at the new size.
    """
    old = np.array([width, height], np.float32)
    new = np.array([new_width, new_height], np.float32)
    aspect, wanted = old[0] / old[1], new[0] / new[1]
    padding = np.zeros(2, np.float32)
    if mode == Mode.FIT_LARGE_SIZE_AND_PAD:
        if aspect > wanted:
            padding[1] = (new[1] - new[0] / aspect) / 2
        else:
            padding[0] = (new[0] - aspect * new[1]) / 2
    elif mode == Mode.FIT_SMALL_SIZE:
        if aspect < wanted:
            new[1] = new[0] / aspect
        else:
            new[0] = aspect * new[1]
    open_end = np.array([np.inf, np.inf], np.float32)
    least, most = np.concatenate([0 * new, -open_end]), np.concatenate([open_end, new])
    return old[_TWICE], (new - 2 * padding)[_TWICE], padding[_TWICE], new[_TWICE], least, most


def of_fixed_size(
    labelled: Labelled, height: int, width: int, window: Boxes, resize: proto.ResizeParameter
) -> Labelled:
    """Boxes of an input that keeps its aspect (FIT_SMALL_SIZE) as fractions of width_scale and height_scale.

    Unchanged in other modes and without those fields. Raises ValueError where the input is smaller than they say.
    """
    if resize.resize_mode != Mode.FIT_SMALL_SIZE or not (resize.width_scale and resize.height_scale):
        return labelled
    scale = np.array([resize.width_scale, resize.height_scale], np.float32)
    aspect = np.float32(width) / np.float32(height)
    size = np.array([resize.width, resize.height], np.float32)
    if aspect < size[0] / size[1]:
        size[1] = size[0] / aspect
    else:
        size[0] = size[1] * aspect
    seen = size * (window[2:] - window[:2])
    if (seen < scale).any():
        raise ValueError(f"is seen in {seen[0]:g} x {seen[1]:g} pixels, less than width_scale and height_scale say")
    return Labelled(labelled.boxes * seen[_TWICE] / scale[_TWICE], labelled.facts)
