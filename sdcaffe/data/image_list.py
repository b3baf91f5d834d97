"""Image files named in a list, `path label` a line, as Caffe's ImageData and convert_imageset read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdcaffe.data.decode import read_bytes
from sdcaffe.data.jpeg import decode_image
from sdcaffe.data.resize import resize
from sdcaffe.data.source import Image, Source
from sdcaffe.errors import DataError
from sdcaffe.reading import is_regular

_LABEL = re.compile(r"[+-]?\d{1,18}")
_SHOWN = 200  # characters of a line in a message


@dataclass(frozen=True)
class Entry:
    """An image: its path with the root folder before it, its label, and the list and the line that name it."""

    path: str
    label: int
    line: int = 0
    source: str = ""

    @property
    def where(self) -> str:
        """The place in the list; the image itself where no list named it."""
        return f"{self.source}:{self.line}" if self.source else self.path


def read_list(source: str, root_folder: str = "") -> list[Entry]:
    """The entries of a list; the label is what follows the last space, so paths may hold spaces.

    Raises DataError for a list that cannot be read or is empty, a line without a label, and a file that
    does not exist, with the number of the line.
    """
    lines = read_bytes(source, "the list of images").decode("utf-8", "surrogateescape").splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.rstrip().rpartition(" ")
        if not path.strip() or not _LABEL.fullmatch(label):
            raise DataError(f'"{_shown(line)}" is not a path, a space and a whole-number label', f"{source}:{number}")
        entry = Entry(root_folder + path.strip(), int(label), number, source)
        if not is_regular(entry.path):
            hint = "" if root_folder else "; set root_folder if the paths are relative to another folder"
            raise DataError(f"there is no image {_shown(entry.path)}{hint}", entry.where)
        entries.append(entry)
    if not entries:
        raise DataError("the list names no images", source)
    return entries


def _shown(text: str) -> str:
    """Text of a list in a message: what cannot be printed as its code, and not too much of it."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_SHOWN])
    return f"{printable}..." if len(text) > _SHOWN else printable


class ImageList(Source):
    """The images of a list, decoded when read: 3 channels blue, green, red, or with `color` False 1 gray.

    `size` (height, width) resizes every image as OpenCV does. Raises DataError.
    """

    encoded = True

    def __init__(self, source: str, root_folder: str, size: tuple[int, int] | None, *, color: bool) -> None:
        self.where = source
        self._entries = read_list(source, root_folder)
        self._size, self._color = size, color

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> tuple[Image, int]:
        entry = self._entries[index]
        image = decode_image(read_bytes(entry.path), "color" if self._color else "gray", entry.path)
        return (image if self._size is None else resize(image, *self._size)), entry.label

    def name(self, index: int) -> str:
        entry = self._entries[index]
        return f"line {entry.line} ({entry.path})"
