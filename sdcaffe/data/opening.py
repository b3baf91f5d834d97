"""Opens the source of images that a prototxt names: a database, CIFAR or the embedded set."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.cifar import read_cifar
from sdcaffe.data.database import DatumSource
from sdcaffe.data.source import ArraySource, Source
from sdcaffe.data.synthetic import synthetic
from sdcaffe.errors import DataError
from sdcaffe.log import glog

_EMBEDDED = re.compile(r"(cifar10|cifar100|synthetic):([^:/]*)(/[^:]*)?(?::(.*))?", re.DOTALL)


def open_source(name: str, backend: str = "LEVELDB", *, color: str = "native") -> Source:
    """The source that `data_param.source` names.

    `cifar10:train`, `cifar10:test`, `cifar100:train`, `cifar100:test` (fine labels), each optionally
    followed by `:FOLDER`; `synthetic:train`, `synthetic:test`; else the folder of a database of Datums,
    of `backend` LMDB or LEVELDB. Of an embedded set, `/K` after train or test takes every Kth image of each
    class, in the set's order: `cifar100:train/25` is 20 images of each. `color` says how encoded images are
    decoded; see `decode_image`. Raises DataError.
    """
    embedded = _EMBEDDED.fullmatch(name)
    if embedded is None:
        return DatumSource(name, backend, color=color)
    kind, split, part, folder = embedded.groups()
    if split not in ("train", "test"):
        raise DataError(f'"{kind}" has no part "{split}"; write {kind}:train or {kind}:test', name)
    every = _every(part, name)
    if kind == "synthetic":
        if folder is not None:
            raise DataError(f"the synthetic set is made in memory and takes no folder; write {kind}:{split}", name)
        images, labels = synthetic(split)
    else:
        images, labels = read_cifar(kind, split, folder)
    if every == 1:
        return ArraySource(name, images, labels)
    kept = _thinned(labels, every)
    glog("data_layer.cpp:40", f"Of each class, one image in {every} is used: {len(kept)} images")
    return ArraySource(name, images[kept], labels[kept])


def _every(part: str | None, name: str) -> int:
    """The K of `/K`; 1 where there is none."""
    if part is None:
        return 1
    digits = part[1:]
    if not (digits.isascii() and digits.isdecimal() and 0 < len(digits) < 7 and int(digits)):
        raise DataError(f'after "/" comes K, to take every Kth image of each class: 1 or more, not "{digits}"', name)
    return int(digits)


def _thinned(labels: NDArray[Any], every: int) -> NDArray[np.int64]:
    """The indices, in order, of every `every`th item of each class, the first of each included."""
    of_class = [np.flatnonzero(labels == label)[::every] for label in np.unique(labels)]
    return np.sort(np.concatenate(of_class))
