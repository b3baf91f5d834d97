"""Opens the source of images that a prototxt names: a database, CIFAR or the embedded set."""

from __future__ import annotations

import re

from sdcaffe.data.cifar import read_cifar
from sdcaffe.data.database import DatumSource
from sdcaffe.data.source import ArraySource, Source
from sdcaffe.data.synthetic import synthetic
from sdcaffe.errors import DataError

_EMBEDDED = re.compile(r"(cifar10|cifar100|synthetic):([^:]*)(?::(.*))?", re.DOTALL)


def open_source(name: str, backend: str = "LEVELDB", *, color: str = "native") -> Source:
    """The source that `data_param.source` names.

    `cifar10:train`, `cifar10:test`, `cifar100:train`, `cifar100:test` (fine labels), each optionally
    followed by `:FOLDER`; `synthetic:train`, `synthetic:test`; else the folder of a database of Datums,
    of `backend` LMDB or LEVELDB. `color` says how encoded images are decoded; see `decode_image`.
    Raises DataError.
    """
    embedded = _EMBEDDED.fullmatch(name)
    if embedded is None:
        return DatumSource(name, backend, color=color)
    kind, split, folder = embedded.groups()
    if split not in ("train", "test"):
        raise DataError(f'"{kind}" has no part "{split}"; write {kind}:train or {kind}:test', name)
    if kind == "synthetic":
        if folder is not None:
            raise DataError(f"the synthetic set is made in memory and takes no folder; write {kind}:{split}", name)
        return ArraySource(name, *synthetic(split))
    return ArraySource(name, *read_cifar(kind, split, folder))
