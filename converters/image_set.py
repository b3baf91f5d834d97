"""Image files named in a list to a database of Datums, as Caffe's convert_imageset makes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from converters.database import BATCH, new_database
from converters.encode import TYPES, encode_image
from sdcaffe import proto
from sdcaffe.data.decode import decode_image
from sdcaffe.data.image_list import Entry, read_list
from sdcaffe.data.order import permutation
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError
from sdcaffe.log import glog


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


def convert(root: str, image_list: str, database: str, backend: str = "lmdb", options: Options | None = None) -> int:
    """Make `database` from the images of `image_list`, whose paths stand in the folder `root`; returns their number.

    Record i has the key `%08d_<path>` and the pixels as blue, green, red planes, or (`encoded`) an image file:
    the file itself where neither size nor type change. Raises DataError, and leaves no database, for an image
    that is missing or cannot be decoded (which Caffe leaves out), and for one of another size with `check_size`.
    """
    options = options or Options()
    if options.encode_type and options.encode_type not in TYPES:
        raise DataError(f'no image can be encoded as "{options.encode_type}"; there are {", ".join(TYPES)}')
    if root and not root.endswith("/"):
        root += "/"
    entries = read_list(image_list, root)
    if options.shuffle:
        glog("convert_imageset.cpp:86", "Shuffling data")
        entries = [entries[i] for i in permutation(options.seed, 0, len(entries))]
    glog("convert_imageset.cpp:89", f"A total of {len(entries)} images.")
    if options.encode_type and not options.encoded:
        glog("convert_imageset.cpp:92", "encode_type specified, assuming encoded=true.")
    count = 0
    with new_database(database, backend) as writer, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for batch in _batches(entries, root, image_list, options, pool):
            writer.put(batch)
            count += len(batch)
            glog("convert_imageset.cpp:153", f"Processed {count} files.")
    return count


def _batches(
    entries: list[Entry], root: str, image_list: str, options: Options, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Keys and Datums, some at a time; decoded by several threads."""
    first: tuple[tuple[int, ...], str] | None = None
    for start in range(0, len(entries), BATCH):
        some = entries[start : start + BATCH]
        batch = []
        made = pool.map(lambda entry: _datum(entry, options), some)
        for i, (entry, (datum, size)) in enumerate(zip(some, made, strict=True), start):
            path = entry.path.removeprefix(root)
            first = first or (size, path)
            if options.check_size and size != first[0]:
                raise DataError(
                    f"{path} is {_show(size)} and {first[1]} is {_show(first[0])} (channels x height x width); "
                    "give both --resize-height and --resize-width, or leave out --check-size",
                    f"{image_list}:{entry.line}",
                )
            batch.append((f"{i:08d}_{path}".encode(errors="surrogateescape"), datum.SerializeToString()))
        yield batch


def _datum(entry: Entry, options: Options) -> tuple[Any, tuple[int, ...]]:
    """The Datum of one image, and its size (channels, height, width)."""
    try:
        with open(entry.path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"cannot read the image: {error.strerror}", entry.path) from error
    image = decode_image(data, "gray" if options.gray else "color", entry.path)
    resized = options.resize_height > 0 and options.resize_width > 0
    if resized:
        image = resize(image, options.resize_height, options.resize_width)
    if not -(2**31) <= entry.label < 2**31:
        raise DataError(f"the label {entry.label} is no 32-bit number", entry.path)
    datum = proto.Datum(label=entry.label)
    kind = options.encode_type or (_ending(entry.path) if options.encoded else "")
    if kind:
        same = not resized and (kind == _ending(entry.path) or (kind, _ending(entry.path)) == ("jpg", "jpeg"))
        datum.data = data if same else encode_image(image, kind)
        datum.encoded = True
    else:
        datum.channels, datum.height, datum.width = image.shape
        datum.data = image.tobytes()
        datum.encoded = False  # Caffe writes it out
    return datum, image.shape


def _ending(path: str) -> str:
    """What follows the last dot, in small letters; without a dot the whole path, as in Caffe."""
    return path.rpartition(".")[2].lower()


def _show(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)
