"""Labelled boxes through what happens to their picture: cropped, expanded, resized, mirrored. In float32, as SSD."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
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
    """Boxes (m, 4) in fractions of their picture; of each its label, its instance, whether it is difficult, (m, 3).

    Of several pictures that are joined, facts tell a fourth, which picture it is of: (m, 4).
    """

    boxes: Boxes
    facts: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def only(self, kept: npt.NDArray[np.bool_]) -> Labelled:
        return self if kept.all() else Labelled(self.boxes[kept], self.facts[kept])


def joined(every: Sequence[Labelled]) -> Labelled:
    """The boxes of several pictures, one picture after another: numpy takes as long for few boxes as for many."""
    counts = [len(one) for one in every]
    facts = np.empty((sum(counts), 4), np.float32)
    facts[:, 3] = np.repeat(np.arange(len(every)), counts)
    np.concatenate([one.facts for one in every], out=facts[:, :3])
    return Labelled(np.concatenate([one.boxes for one in every]), facts)


def apart(labelled: Labelled, count: int) -> list[Labelled]:
    """What `joined` put together of `count` pictures."""
    ends = np.searchsorted(labelled.facts[:, 3], np.arange(count + 1)).tolist()
    boxes, facts = labelled.boxes, labelled.facts[:, :3]
    return [Labelled(boxes[a:b], facts[a:b]) for a, b in itertools.pairwise(ends)]


def area(boxes: Boxes) -> Boxes:
    """Areas (...) of boxes (..., 4); 0 of one that ends before it begins."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def common(boxes: Boxes, other: Boxes) -> Boxes:
    """The areas that boxes (m, 4) share with one (4,), or each with its own (m, 4)."""
    first, last = np.maximum(boxes[:, :2], other[..., :2]), np.minimum(boxes[:, 2:], other[..., 2:])
    return area(np.concatenate([first, last], 1))


def seen_in(labelled: Labelled, window: Boxes, emit: proto.EmitConstraint | None) -> Labelled:
    """The boxes as fractions of `window` (4,), or each of its own (m, 4), cut to it.

    Those without area there are left out. With an EmitConstraint also those whose middle lies outside (CENTER), or of
    whose area no more than emit_overlap lies inside (MIN_OVERLAP).
    """
    boxes = labelled.boxes
    kept: Any = True  # of the whole picture no more is asked than an area
    if emit is not None:
        kept = _emitted(boxes, window, emit)
    if window is not WHOLE:
        low, high = window[..., :2], window[..., 2:]
        kept = kept & ((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a window of no size sees nothing
            boxes = (boxes - low[..., _TWICE]) / (high - low)[..., _TWICE]
    cut = np.minimum(np.maximum(boxes, 0), 1)
    return Labelled(cut, labelled.facts).only(kept & (area(cut) > 0))


def _emitted(boxes: Boxes, window: Boxes, emit: Any) -> npt.NDArray[np.bool_]:
    if emit.emit_type == EmitConstraint.EmitType.CENTER:
        middle = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
        return np.all((middle >= window[..., :2]) & (middle <= window[..., 2:]), axis=1)
    share, whole = common(boxes, window), area(boxes)
    covered = np.divide(share, whole, out=np.zeros_like(share), where=share > 0)
    return covered > np.float32(emit.emit_overlap)


def mirrored(labelled: Labelled, which: Sequence[bool]) -> Labelled:
    """Boxes of joined pictures, of which some are mirrored."""
    boxes, turned = labelled.boxes.copy(), np.array(which)[labelled.facts[:, 3].astype(np.int64)]
    boxes[turned, 0], boxes[turned, 2] = 1 - labelled.boxes[turned, 2], 1 - labelled.boxes[turned, 0]
    return Labelled(boxes, labelled.facts)


def resized(labelled: Labelled, pictures: Sequence[tuple[int, int]], resize: proto.ResizeParameter) -> Labelled:
    """The boxes of joined pictures, each of (height, width), as fractions of what resize_param makes of theirs."""
    wanted = (resize.height, resize.width, resize.resize_mode)
    sizes = [_sizes(height, width, *wanted) for height, width in pictures]
    if all(one is sizes[0] for one in sizes):
        old, inside, padding, new, least, most = sizes[0]
    else:
        own = np.stack(sizes, 1)[:, labelled.facts[:, 3].astype(np.int64)]
        old, inside, padding, new, least, most = own
    pixels = labelled.boxes * old * inside / old
    return Labelled((padding + np.minimum(np.maximum(pixels, least), most)) / new, labelled.facts)


@functools.lru_cache(1024)
def _sizes(height: int, width: int, new_height: int, new_width: int, mode: int) -> Boxes:
    """Sides, each twice, (6, 4): a picture's own, those in the new one, padding before them, the new one's; the least
    that the ends of a box in pixels may be, and the most: it begins at 0 or later and ends at the new size.
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
    return np.stack([old[_TWICE], (new - 2 * padding)[_TWICE], padding[_TWICE], new[_TWICE], least, most])


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
