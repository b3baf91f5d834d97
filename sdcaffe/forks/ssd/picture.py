"""What SSD's data layers know of a picture before the net sees it, and what gives them pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from sdcaffe.data.source import Image, Source
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.geometry import Labelled

NO_BOXES = Labelled(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))


@dataclass(frozen=True)
class Picture:
    """A record: its pixels (C, H, W), its boxes, and the height and width that it says it has.

    `label` is the Datum's own, None where it has none; `typed`: whether the record names a type of annotation.
    """

    pixels: Image
    labelled: Labelled
    height: int
    width: int
    encoded: bool
    label: int | None
    typed: bool
    where: str


class PictureSource(Protocol):
    """Pictures, numbered from 0, from several threads at once.

    What `reader` returns gives picture `index`. The steps before decoding may be done by then: short ones, they are
    quicker for all pictures of a batch together than each between the pixels of two.
    """

    where: str

    def __len__(self) -> int: ...

    def reader(self, index: int) -> Callable[[], Picture]: ...

    def close(self) -> None: ...


class LabelledPictures:
    """The images of a source of Caffe's own as pictures without boxes."""

    def __init__(self, source: Source) -> None:
        self._source, self.where = source, source.where

    def __len__(self) -> int:
        return len(self._source)

    def reader(self, index: int) -> Callable[[], Picture]:
        return partial(self._read, index)

    def _read(self, index: int) -> Picture:
        pixels, label = self._source.read(index)
        height, width = pixels.shape[1:]
        where = f"{self.where}, {self._source.name(index)}"
        return Picture(pixels, NO_BOXES, height, width, self._source.encoded, label, False, where)

    def close(self) -> None:
        self._source.close()


class MadePictures:
    """A registered source whose `picture(index)` gives boxes too. Raises DataError for one that has none."""

    def __init__(self, source: Source) -> None:
        self.where = source.where
        if not hasattr(source, "picture"):
            raise DataError("this source has no boxes; AnnotatedData needs one with `picture(index)`", self.where)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def reader(self, index: int) -> Callable[[], Picture]:
        return partial(self._source.picture, index)

    def close(self) -> None:
        self._source.close()
