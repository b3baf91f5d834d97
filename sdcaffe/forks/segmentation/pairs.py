"""Images with a label for each pixel: what a list of files names, and what a registered source makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.decode import read_bytes, read_image
from sdcaffe.data.source import SOURCES, Source
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.interpolation import Mode, resized
from sdcaffe.proto import DataParameter
from sdcaffe.reading import is_regular
from sdcaffe.terminal import shown

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """An image (C, H, W) and the labels of its pixels (1, H, W), both bytes; `where` is its place, for messages."""

    pixels: Bytes
    labels: Bytes
    where: str


class PairSource(Protocol):
    """Pairs, numbered from 0. `read` may be called from several threads at once."""

    where: str

    def __len__(self) -> int: ...

    def read(self, index: int) -> Pair: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Named:
    """The files of a pair, or an image and what else its line says, and the list and the line that name them."""

    image: str
    label: str
    line: int


class PairList:
    """The pairs that `entries` of the list `source` name, decoded when read. Raises DataError.

    `size` (height, width) resizes both as OpenCV does: images by LINEAR, label images by `label_mode`, these perhaps
    to `label_size`. A label is the file of a gray image, or a whole number that all pixels of the image have, 0 to 255
    (`whole`).
    """

    def __init__(
        self,
        source: str,
        root_folder: str,
        entries: list[Named],
        size: tuple[int, int] | None,
        *,
        color: bool,
        label_mode: int = Mode.NEAREST,
        label_size: tuple[int, int] | None = None,
        whole: bool = False,
    ) -> None:
        self.where, self._root, self._entries = source, root_folder, entries
        self._size, self._color, self._label_mode, self._whole = size, color, label_mode, whole
        self._label_size = label_size or size
        if not entries:
            raise DataError("the list names no images", source)
        for entry in entries:
            for path in (entry.image,) if whole else (entry.image, entry.label):
                if not is_regular(root_folder + path):
                    hint = "" if root_folder else "; set root_folder if the paths are relative to another folder"
                    raise DataError(f"there is no image {shown(root_folder + path)}{hint}", f"{source}:{entry.line}")

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> Pair:
        entry = self._entries[index]
        where = f"{self.where}:{entry.line}"
        pixels = _sized(read_image(self._root + entry.image, color=self._color), self._size, Mode.LINEAR)
        if self._whole:
            labels = np.full((1, *pixels.shape[1:]), np.clip(int(entry.label), 0, 255), np.uint8)
            return Pair(pixels, labels, where)
        labels = _sized(read_image(self._root + entry.label, color=False), self._label_size, self._label_mode)
        if self._size is None and labels.shape[1:] != pixels.shape[1:]:
            raise DataError(
                f"the label image {shown(entry.label)} is {_size(labels)} pixels, its image {_size(pixels)}", where
            )
        return Pair(pixels, labels, where)

    def close(self) -> None:
        """Nothing is held open."""


def _sized(image: Bytes, size: tuple[int, int] | None, mode: int) -> Bytes:
    return image if size is None else resized(image, *size, mode)


def _size(image: Bytes) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"


class MadePairs:
    """A registered source whose `pair(index)` gives a Pair. Raises DataError for one that has none."""

    def __init__(self, source: Source) -> None:
        self.where = source.where
        if not hasattr(source, "pair"):
            raise DataError("this source labels no pixels; this layer needs one with `pair(index)`", self.where)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> Pair:
        with SOURCES.blamed(self._source):
            pair: Pair = self._source.pair(index)
        return pair

    def close(self) -> None:
        self._source.close()


def made(name: str) -> MadePairs | None:
    """The pairs of the source that `name`, "NAME:WHERE", is registered as; None where it names a file."""
    kind, colon, where = name.partition(":")
    known = SOURCES.get(kind) if colon else None
    if known is None:
        return None
    with SOURCES.blamed(known):
        return MadePairs(known(where, DataParameter(source=name), "native"))


def words(source: str) -> list[list[str]]:
    """The words of each line of a list. Raises DataError for one that cannot be read."""
    text = read_bytes(source, "the list of images").decode("utf-8", "surrogateescape")
    return [line.split() for line in text.splitlines()]
