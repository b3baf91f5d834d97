"""The sizes of test images, as a file names them, and detections in their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdcaffe import proto, reading
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.messages import ResizeParameter

Boxes = npt.NDArray[np.float32]
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class NamedSize:
    """A line of a name_size_file: an image's name, its height and its width in pixels."""

    name: str
    height: int
    width: int


def read_sizes(path: str) -> list[NamedSize]:
    """The lines `name height width` of a file, in its order. Raises DataError with the line's number."""
    found = []
    for number, line in enumerate(read_lines(path, "name_size_file"), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not all(word.isdecimal() and len(word) < 10 for word in words[1:]):
            raise DataError(f'"{line.strip()[:80]}" is not a name, a height and a width', f"{path}:{number}")
        found.append(NamedSize(words[0], int(words[1]), int(words[2])))
    return found


def read_lines(path: str, field: str) -> list[str]:
    """A text file's lines. Raises DataError where it cannot be read or is beyond 64 MiB."""
    data = reading.read(path, DataError, f"the {field}", _MOST_BYTES)
    return data.decode("utf-8", "surrogateescape").splitlines()


def in_pixels(boxes: Boxes, size: NamedSize, resize: proto.ResizeParameter | None) -> tuple[Boxes, Boxes]:
    """Boxes (m, 4) of fractions of the net's input in pixels of an image of `size`, cut to it, and their areas.

    As SSD counts them: a box from pixel 3 to pixel 5 has three pixels, but in an image of one pixel. `resize` is
    the ResizeParameter by which the image became the input; None: it was stretched.
    """
    height, width = np.float32(size.height), np.float32(size.width)
    scale = np.array([width, height] * 2)
    if resize is not None and resize.resize_mode == ResizeParameter.Resize_mode.FIT_LARGE_SIZE_AND_PAD:
        boxes = _without_padding(boxes, width / height, resize)
    elif resize is not None and _is_scaled(resize):
        boxes = np.clip(boxes * np.array([resize.width_scale, resize.height_scale] * 2, np.float32), 0, scale)
        return boxes, _areas(boxes, 0)
    boxes = np.clip(boxes, 0, 1).astype(np.float32) * scale
    return boxes, _areas(boxes, int(max(size.height, size.width) > 1))


def _is_scaled(resize: Any) -> bool:
    """Whether labels were made fractions of a fixed size, not of the input: for inputs of changing size."""
    small = resize.resize_mode == ResizeParameter.Resize_mode.FIT_SMALL_SIZE
    return bool(small and resize.height_scale and resize.width_scale)


def _areas(boxes: Boxes, more: int) -> Boxes:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.where((width < 0) | (height < 0), 0, (width + more) * (height + more)).astype(np.float32)


def _without_padding(boxes: Boxes, aspect: np.float32, resize: Any) -> Boxes:
    """Boxes of a padded input as fractions of the picture inside it; those beside it stay as they are."""
    height, width = np.float32(resize.height), np.float32(resize.width)
    across, down = np.float32(0), np.float32(0)
    if aspect > width / height:
        down = (height - width / aspect) / 2 / height
    else:
        across = (width - height * aspect) / 2 / width
    first, last = np.array([across, down]), np.array([1 - across, 1 - down], np.float32)
    met = np.all((boxes[:, :2] < last) & (boxes[:, 2:] > first), axis=1)
    inside = (boxes - np.tile(first, 2)) / np.tile(last - first, 2)
    return np.where(met[:, None], np.clip(inside, 0, 1), boxes).astype(np.float32)
