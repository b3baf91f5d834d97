"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official binary or python files, fetched where absent."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.pickles import MAX_BYTES, read_pickle
from sdcaffe.errors import DataError
from sdcaffe.log import glog
from sdcaffe.terminal import shown
from sdcaffe.writing import make_folders, temporary_folder

FOLDER_VARIABLE = "SDCAFFE_DATA"
_MAX_NAMES = 1 << 20  # bytes
PIXELS = 3 * 32 * 32  # red, green, blue planes of 32 rows of 32


@dataclass
class _Layout:
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str  # the file of what its classes are called

    def files(self, root: str, split: str) -> list[str]:
        return [os.path.join(root, name) for name in getattr(self, split)]


@dataclass
class _Set:
    classes: int
    label_bytes: int  # of a binary record; the last one is the label used
    label_key: str  # of a python file
    names_key: str  # of a python file of names
    binary: _Layout
    python: _Layout


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_SETS = {
    "cifar10": _Set(
        classes=10,
        label_bytes=1,
        label_key="labels",
        names_key="label_names",
        binary=_Layout(
            "cifar-10-batches-bin", tuple(f"{b}.bin" for b in _BATCHES), ("test_batch.bin",), "batches.meta.txt"
        ),
        python=_Layout("cifar-10-batches-py", _BATCHES, ("test_batch",), "batches.meta"),
    ),
    "cifar100": _Set(
        classes=100,
        label_bytes=2,
        label_key="fine_labels",
        names_key="fine_label_names",
        binary=_Layout("cifar-100-binary", ("train.bin",), ("test.bin",), "fine_label_names.txt"),
        python=_Layout("cifar-100-python", ("train",), ("test",), "meta"),
    ),
}


def read_cifar(kind: str, split: str, folder: str | None = None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images (N, 3, 32, 32), red, green, blue, as stored; and labels (N,), CIFAR-100's fine ones.

    `kind` is cifar10 or cifar100, `split` train or test. Looks in `folder` (else $SDCAFFE_DATA, else
    `data`) for the official folder of the binary or the python layout, or for its files; downloads the
    python layout there where neither is found. Raises DataError.
    """
    root = folder or os.environ.get(FOLDER_VARIABLE) or "data"
    known = _SETS[kind]
    files = _find(known, root, split)
    if files is None:
        _download(kind, known, root)
        files = known.python.files(os.path.join(root, known.python.folder), split)
    parts = [_read_binary(p, known) if p.endswith(".bin") else _read_python(p, known) for p in files]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    glog("data_layer.cpp:40", f"Opened {kind} {split}: {len(images)} images in {os.path.dirname(files[0])}")
    return images, labels


def cifar_names(kind: str, folder: str | None = None) -> tuple[str, ...]:
    """What the classes are called, by label, where a file beside the images says it; else nothing.

    A file of names that cannot be read, or that has not one for each class, is left out with a warning.
    """
    known = _SETS[kind]
    root = folder or os.environ.get(FOLDER_VARIABLE) or "data"
    for layout in (known.binary, known.python):
        for place in (os.path.join(root, layout.folder), root):
            path = os.path.join(place, layout.names)
            if os.path.isfile(path):
                try:
                    return _names(path, known)
                except DataError as error:
                    logging.getLogger("sdcaffe").warning("%s; classes are called by their numbers", error)
    return ()


def _names(path: str, known: _Set) -> tuple[str, ...]:
    if path.endswith(".txt"):
        if os.path.getsize(path) > _MAX_NAMES:
            raise DataError(f"a file of names has at most {_MAX_NAMES} bytes", path)
        with open(path, encoding="utf-8", errors="replace") as file:
            found: list[str] = [line.strip() for line in file if line.strip()]
    else:
        stored = read_pickle(path).get(known.names_key)
        if not isinstance(stored, list) or not all(isinstance(name, (str, bytes)) for name in stored):
            raise DataError(f'the file lacks names, "{known.names_key}"', path)
        found = [name.decode("latin-1") if isinstance(name, bytes) else name for name in stored]
    if len(found) != known.classes:
        raise DataError(f"{len(found)} names for {known.classes} classes", path)
    return tuple(map(shown, found))


def _find(known: _Set, root: str, split: str) -> list[str] | None:
    for layout in (known.binary, known.python):
        for folder in (os.path.join(root, layout.folder), root):
            files = layout.files(folder, split)
            if all(os.path.isfile(file) for file in files):
                return files
    return None


def _read_binary(path: str, known: _Set) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    size, record = os.path.getsize(path), known.label_bytes + PIXELS
    if size == 0 or size % record or size > MAX_BYTES:
        raise DataError(
            f"{size} bytes, which is no whole number of records of {record} bytes; fetch the file again", path
        )
    records = np.fromfile(path, np.uint8).reshape(-1, record)
    labels = records[:, known.label_bytes - 1]
    return _checked(records[:, known.label_bytes :], labels, known, path)


def _read_python(path: str, known: _Set) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    content = read_pickle(path)
    pixels, labels = content.get("data"), content.get(known.label_key)
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, list) or pixels.shape[1:] != (PIXELS,):
        raise DataError(f'the file lacks "data" of {PIXELS} columns or "{known.label_key}"', path)
    if len(labels) != len(pixels) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{len(pixels)} images but {len(labels)} labels, or labels that are no numbers", path)
    return _checked(pixels, np.array([max(-1, min(label, known.classes)) for label in labels]), known, path)


def _checked(
    pixels: NDArray[np.uint8], labels: NDArray[Any], known: _Set, path: str
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    if not len(labels) or labels.min() < 0 or labels.max() >= known.classes:
        span = f"labels {labels.min()} to {labels.max()}" if len(labels) else "no images"
        raise DataError(f"{span}, where 0 to {known.classes - 1} are known; fetch the file again", path)
    return pixels.reshape(-1, 3, 32, 32), labels


def _download(kind: str, known: _Set, root: str) -> None:
    """Fetch the archive of the python layout, check its MD5 sum, and unpack the files that are known."""
    from torchvision import datasets
    from torchvision.datasets import utils

    official: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
    names = [*known.python.train, *known.python.test]
    try:
        _reach(official.url)
        make_folders(root)
        with temporary_folder(os.path.join(root, kind)) as temporary:
            archive = os.path.join(temporary, official.filename)
            glog("data_layer.cpp:40", f"Downloading {official.url} to {root}")
            utils.download_url(official.url, temporary, official.filename, official.tgz_md5)
            with tarfile.open(archive) as tar:
                for name in names:
                    _unpack(tar, f"{known.python.folder}/{name}", temporary)
                if f"{known.python.folder}/{known.python.names}" in tar.getnames():
                    _unpack(tar, f"{known.python.folder}/{known.python.names}", temporary)
            _move(os.path.join(temporary, known.python.folder), os.path.join(root, known.python.folder))
    except Exception as error:  # no network, no permission, a broken archive: all end with the same advice
        reason = " ".join(str(error).split())
        raise DataError(
            f"{kind} is not here: no {known.binary.folder}/ with {_list(known.binary)} and no "
            f"{known.python.folder}/ with {_list(known.python)}; and it could not be downloaded ({reason}). "
            f"Put one of these folders here, or name another place with $"
            f"{FOLDER_VARIABLE} or as {kind}:train:FOLDER",
            os.path.abspath(root),
        ) from error


def _reach(url: str) -> None:
    """Raise where no server answers; a silent network gives up after 15 s, which torchvision would not."""
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=15):
        pass


def _unpack(tar: tarfile.TarFile, name: str, folder: str) -> None:
    member = tar.getmember(name)
    content = tar.extractfile(member)
    if content is None or member.size > MAX_BYTES:
        raise DataError(f"{name} of the archive is no file of at most {MAX_BYTES} bytes")
    path = os.path.join(folder, name)
    make_folders(os.path.dirname(path))
    with content, open(path, "wb") as file:
        shutil.copyfileobj(content, file)


def _move(source: str, target: str) -> None:
    make_folders(target)
    for name in os.listdir(source):
        os.replace(os.path.join(source, name), os.path.join(target, name))


def _list(layout: _Layout) -> str:
    names = [*layout.train, *layout.test]
    return " and ".join(names) if len(names) == 2 else f"{names[0]} .. {names[-2]} and {names[-1]}"
