"""Opens the source of images that a prototxt names: a database, CIFAR, the embedded set, or what a plugin brings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.data.cifar import cifar_names, read_cifar
from sdcaffe.data.database import DatumSource
from sdcaffe.data.source import SOURCES, ArraySource, Source, register_source
from sdcaffe.data.synthetic import CLASSES, synthetic
from sdcaffe.errors import DataError
from sdcaffe.log import glog
from sdcaffe.terminal import shown

_PART = re.compile(r"([^:/=]*)([/=][^:]*)?(?::(.*))?", re.DOTALL)


def open_source(
    name: str, backend: str = "LEVELDB", *, color: str = "native", param: proto.DataParameter | None = None
) -> Source:
    """The source that `data_param.source` names; `param` is the whole data_param, where there is one.

    `NAME:WHERE` is the source registered as NAME: `cifar10:train`, `synthetic:test`, see `EmbeddedSource`; a plugin's.
    Any other name is the folder of a database of Datums, of `backend` LMDB or LEVELDB. `color` says how encoded images
    are decoded; see `decode_image`. Raises DataError.
    """
    kind, colon, where = name.partition(":")
    cls = SOURCES.get(kind) if colon else None
    if cls is None:
        cls, where = SOURCES.get(backend), name
    if cls is None:
        raise DataError(f"there is no {backend}; a backend is LMDB or LEVELDB", name)
    if param is None:
        param = proto.DataParameter(source=shown(name))
    with SOURCES.blamed(cls):
        return cls(where, param, color)


@register_source("LMDB")
class LmdbSource(DatumSource):
    def __init__(self, where: str, param: proto.DataParameter, color: str) -> None:
        super().__init__(where, "LMDB", color=color)
        glog("db_lmdb.cpp:35", f"Opened lmdb {where}")


@register_source("LEVELDB")
class LevelDbSource(DatumSource):
    def __init__(self, where: str, param: proto.DataParameter, color: str) -> None:
        super().__init__(where, "LEVELDB", color=color)
        glog("db_leveldb.cpp:18", f"Opened leveldb {where}")


def known_image(name: str) -> tuple[int, int, int] | None:
    """The shape (c, h, w) of the images of a set that is known by its name; None: only who opens `name` knows it."""
    kind, colon, _ = name.partition(":")
    cls = SOURCES.get(kind) if colon else None
    return cls.image if cls is not None and issubclass(cls, EmbeddedSource) else None


def known_names(name: str) -> Sequence[str]:
    """What the classes of a set that is known by its name are called, where that is known; the set is not opened."""
    kind, colon, where = name.partition(":")
    cls = SOURCES.get(kind) if colon else None
    part = _PART.fullmatch(where)
    return cls.names(kind, part[3]) if part and cls is not None and issubclass(cls, EmbeddedSource) else ()


class EmbeddedSource(ArraySource):
    """A set that is known by its name: `NAME:train` or `NAME:test`, optionally followed by `:FOLDER`.

    `/K` after train or test takes every Kth image of each class, in the set's order: `cifar100:train/25` is 20 images
    of each. `=N` takes N images of each class whatever the order of the files: those whose pixels have the lowest
    SHA-256 digests, in the order of these.
    """

    image: ClassVar[tuple[int, int, int]] = (3, 32, 32)  # the shape of each

    def __init__(self, where: str, param: proto.DataParameter, color: str) -> None:
        self.where = name = param.source
        kind = name.partition(":")[0]
        match = _PART.fullmatch(where)
        split, part, folder = match.groups() if match else ("", None, None)
        if split not in ("train", "test"):
            raise DataError(f'"{kind}" has no part "{split}"; write {kind}:train or {kind}:test', name)
        number = _number(part, name)
        images, labels = self.load(kind, split, folder)
        if part and part[0] == "=":
            kept = _drawn(images, labels, number, name)
            glog("data_layer.cpp:40", f"Of each class, {number} images are used: {len(kept)} images")
            images, labels = images[kept], labels[kept]
        elif number > 1:
            kept = _thinned(labels, number)
            glog("data_layer.cpp:40", f"Of each class, one image in {number} is used: {len(kept)} images")
            images, labels = images[kept], labels[kept]
        super().__init__(name, images, labels)
        self.class_names = self.names(kind, folder)

    @classmethod
    def names(cls, kind: str, folder: str | None) -> Sequence[str]:
        """What the classes are called."""
        return cifar_names(kind, folder)

    def load(self, kind: str, split: str, folder: str | None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The images and labels of a part; `folder` is None where none was named."""
        return read_cifar(kind, split, folder)


@register_source("cifar10")
class Cifar10(EmbeddedSource):
    """CIFAR-10."""


@register_source("cifar100")
class Cifar100(EmbeddedSource):
    """CIFAR-100 with its fine labels."""


@register_source("synthetic")
class Synthetic(EmbeddedSource):
    """The set that is made in memory."""

    def load(self, kind: str, split: str, folder: str | None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        if folder is not None:
            raise DataError(
                f"the synthetic set is made in memory and takes no folder; write {kind}:{split}", self.where
            )
        return synthetic(split)

    @classmethod
    def names(cls, kind: str, folder: str | None) -> Sequence[str]:
        return CLASSES


def _number(part: str | None, name: str) -> int:
    """The K of `/K` or the N of `=N`; 1 where there is neither."""
    if part is None:
        return 1
    digits = part[1:]
    if not (digits.isascii() and digits.isdecimal() and 0 < len(digits) < 7 and int(digits)):
        what = "K, to take every Kth image" if part[0] == "/" else "N, to take N images"
        raise DataError(f'after "{part[0]}" comes {what} of each class: 1 or more, not "{digits}"', name)
    return int(digits)


def _drawn(images: NDArray[np.uint8], labels: NDArray[Any], number: int, name: str) -> list[int]:
    """The indices of `number` images of each class, lowest SHA-256 digest of the pixels first. Raises DataError."""
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    kept: list[int] = []
    for label in np.unique(labels):
        of_class = sorted(np.flatnonzero(labels == label).tolist(), key=digests.__getitem__)
        if len(of_class) < number:
            raise DataError(f"class {label} has {len(of_class)} images, not {number}", name)
        kept += of_class[:number]
    return sorted(kept, key=digests.__getitem__)


def _thinned(labels: NDArray[Any], every: int) -> list[int]:
    """The indices, in order, of every `every`th item of each class, the first of each included."""
    of_class = [np.flatnonzero(labels == label)[::every] for label in np.unique(labels)]
    kept: list[int] = np.sort(np.concatenate(of_class)).tolist()
    return kept
