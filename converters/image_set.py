"""Image files, named in a list or in a folder for each class, to a database as Caffe's convert_imageset makes it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sdcaffe import proto
from sdcaffe.converters.database import BATCH, new_database
from sdcaffe.converters.encode import TYPES, encode_image
from sdcaffe.data.decode import check_size, read_bytes
from sdcaffe.data.image_list import Entry, read_list
from sdcaffe.data.jpeg import decode_image
from sdcaffe.data.order import permutation
from sdcaffe.data.prefetch import usable_cores
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, glog, no_tick
from sdcaffe.proto.numbers import varint

READ_TYPES = {*TYPES, "gif"}  # endings of the images that a folder is searched for
_AHEAD = 200  # images that are ready, or being made, before they are wanted
_KINDS = 1 << 14  # sizes with labels, of which what a Datum says is kept
_AT_ONCE = 8  # images that a thread makes before it asks for more: asking takes as long as a small one


@dataclass
class Options:
    """Caffe's flags. `seed` makes the order of `shuffle`; `resize_height` and `resize_width` act together or not."""

    gray: bool = False
    shuffle: bool = False
    seed: int = 0
    resize_height: int = 0
    resize_width: int = 0
    check_size: bool = False
    encoded: bool = False
    encode_type: str = ""


class _Image(NamedTuple):
    """What is stored of an image: pixels, or a file. `size`: channels, height, width."""

    data: memoryview
    size: tuple[int, ...]
    encoded: bool


def convert(
    root: str,
    image_list: str,
    database: str,
    backend: str = "lmdb",
    options: Options | None = None,
    *,
    cores: int | None = None,
    tick: Tick = no_tick,
) -> int:
    """Make `database` from the images of `image_list`, whose paths stand in the folder `root`; returns their number.

    Record i has the key `%08d_<path>` and the pixels as blue, green, red planes, or (`encoded`) an image file:
    the file itself where neither size nor type change. `cores` threads decode (None: one a core); an LMDB has the
    same bytes for any number of them. An LMDB that was interrupted, or killed, is gone on with by the same call.
    Raises DataError, and leaves no database, for an image that is missing or cannot be decoded (which Caffe leaves
    out), and for one of another size with `check_size`.
    """
    root = root if not root or root.endswith("/") else f"{root}/"
    return convert_entries(read_list(image_list, root), root, database, backend, options, cores, tick)


def convert_folder(
    root: str,
    database: str,
    backend: str = "lmdb",
    options: Options | None = None,
    *,
    cores: int | None = None,
    tick: Tick = no_tick,
) -> int:
    """As `convert`, of the images in the subfolders of `root`, which are the classes; see `classes_of`."""
    if not root:
        raise DataError('the folder of images has no name; "." is the one that this runs in')
    root = root if root.endswith("/") else f"{root}/"
    entries = []
    for label, name in enumerate(classes_of(root)):
        glog("convert_imageset.cpp:86", f"Class {label} is {name}")
        for folder, _, files in sorted(os.walk(root + name)):
            paths = [os.path.join(folder, file) for file in sorted(files) if _ending(file) in READ_TYPES]
            for path in paths:
                if not os.path.isfile(path):  # a pipe without a writer would be waited for
                    raise DataError("is called as an image and is no file", path)
            entries += [Entry(path, label, 0) for path in paths]
    if not entries:
        raise DataError(f"there is no image (.{', .'.join(sorted(READ_TYPES))}) in its subfolders", root)
    return convert_entries(entries, root, database, backend, options, cores, tick)


def classes_of(root: str) -> list[str]:
    """The subfolders of `root` that are not hidden, sorted: the place of one is its label. Raises DataError."""
    try:
        names = sorted(item.name for item in os.scandir(root) if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the folder of images: {error.strerror}", root) from error
    if not names:
        raise DataError("holds no subfolders, of which each is a class; or give a list of the images with --list", root)
    return names


def convert_entries(
    entries: list[Entry],
    root: str,
    database: str,
    backend: str,
    options: Options | None,
    cores: int | None,
    tick: Tick,
) -> int:
    """What `convert` and `convert_folder` share."""
    options = options or Options()
    if options.encode_type and options.encode_type not in TYPES:
        raise DataError(f'no image can be encoded as "{options.encode_type}"; there are {", ".join(TYPES)}')
    check_size(options.resize_height, options.resize_width)
    if options.shuffle:
        glog("convert_imageset.cpp:86", "Shuffling data")
        entries = [entries[i] for i in permutation(options.seed, 0, len(entries))]
    glog("convert_imageset.cpp:89", f"A total of {len(entries)} images.")
    if options.encode_type and not options.encoded:
        glog("convert_imageset.cpp:92", "encode_type specified, assuming encoded=true.")
    with (
        new_database(database, backend, _job(entries, root, options)) as writer,
        ThreadPoolExecutor(cores or usable_cores()) as pool,
    ):
        if writer.count:
            glog("convert_imageset.cpp:153", f"Going on after {writer.count} files.")
        for batch in _batches(entries, writer.count, root, options, pool):
            writer.put(batch)
            glog("convert_imageset.cpp:153", f"Processed {writer.count} files.")
            tick(writer.count, len(entries))
    return len(entries)


def _job(entries: list[Entry], root: str, options: Options) -> str:
    """A text that is another one where other records would be written."""
    names = "\0".join(f"{entry.path.removeprefix(root)}\0{entry.label}" for entry in entries)
    digest = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    return f"{os.path.abspath(root or '.')}\n{options}\n{BATCH} {digest}\n"


def _batches(
    entries: list[Entry], begin: int, root: str, options: Options, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Keys and Datums from number `begin` on, some at a time; decoded by several threads."""
    first = _image(entries[0], options).size if options.check_size else None
    images = _in_order(entries[begin:], lambda entry: _image(entry, options), pool)
    for start in range(begin, len(entries), BATCH):
        batch = []
        for i, entry in enumerate(entries[start : start + BATCH], start):
            image, path = next(images), entry.path.removeprefix(root)
            if first is not None and image.size != first:
                raise DataError(
                    f"{path} is {_show(image.size)} and {entries[0].path.removeprefix(root)} is {_show(first)} "
                    "(channels x height x width); give a size to resize them to, or leave out --check-size",
                    entry.where,
                )
            batch.append((f"{i:08d}_{path}".encode(errors="surrogateescape"), _datum(image, entry.label)))
        yield batch


def _in_order(entries: list[Entry], make: Callable[[Entry], _Image], pool: ThreadPoolExecutor) -> Iterator[_Image]:
    """What `make` makes of the entries; threads are ahead of whoever asks, by some."""
    ahead: deque[Future[list[_Image]]] = deque()
    for start in range(0, len(entries), _AT_ONCE):
        ahead.append(pool.submit(lambda some: list(map(make, some)), entries[start : start + _AT_ONCE]))
        if len(ahead) * _AT_ONCE > _AHEAD:
            yield from ahead.popleft().result()
    while ahead:
        yield from ahead.popleft().result()


def _image(entry: Entry, options: Options) -> _Image:
    """What is stored of one image."""
    data = read_bytes(entry.path)
    image = decode_image(data, "gray" if options.gray else "color", entry.path)
    resized = options.resize_height > 0 and options.resize_width > 0
    if resized:
        image = resize(image, options.resize_height, options.resize_width)
    if not -(2**31) <= entry.label < 2**31:
        raise DataError(f"the label {entry.label} is no 32-bit number", entry.path)
    kind = options.encode_type or (_ending(entry.path) if options.encoded else "")
    if not kind:
        return _Image(np.ascontiguousarray(image).reshape(-1).data, image.shape, False)
    same = not resized and (kind == _ending(entry.path) or (kind, _ending(entry.path)) == ("jpg", "jpeg"))
    return _Image(memoryview(data if same else encode_image(image, kind)), image.shape, True)


def _datum(image: _Image, label: int) -> bytes:
    """The bytes of a Datum, whose data protobuf would copy twice more."""
    head, rest = _around(None if image.encoded else image.size, label)
    return b"".join((head, varint(len(image.data)), image.data, rest))


@lru_cache(_KINDS)
def _around(size: tuple[int, ...] | None, label: int) -> tuple[bytes, bytes]:
    """What a Datum has before the length of its data, and behind them; `size` None: they are an image file."""
    shape, rest = proto.Datum(), proto.Datum(label=label, encoded=size is None)  # Caffe writes out that it is not
    if size is not None:
        shape.channels, shape.height, shape.width = size
    tag = shape.DESCRIPTOR.fields_by_name["data"].number << 3 | 2
    return shape.SerializeToString() + varint(tag), rest.SerializeToString()


def _ending(path: str) -> str:
    """What follows the last dot, in small letters; without a dot the whole path, as in Caffe."""
    return path.rpartition(".")[2].lower()


def _show(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)
