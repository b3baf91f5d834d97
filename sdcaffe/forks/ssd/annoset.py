"""Pictures and their annotation files to a database of AnnotatedDatum, as SSD's convert_annoset makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.database import BATCH, new_database
from sdcaffe.converters.encode import TYPES, encode_image
from sdcaffe.data.decode import read_bytes
from sdcaffe.data.jpeg import decode_image
from sdcaffe.data.order import permutation
from sdcaffe.data.prefetch import usable_cores
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.annotations import READERS, Found
from sdcaffe.forks.ssd.interpolation import scaled
from sdcaffe.forks.ssd.label_map import read_label_map
from sdcaffe.forks.ssd.sizes import read_lines
from sdcaffe.log import glog

_TAG = "convert_annoset.cpp:120"


@dataclass(frozen=True)
class Options:
    """The flags of the fork's tool."""

    gray: bool = False
    shuffle: bool = False
    seed: int = 0
    backend: str = "lmdb"
    anno_type: str = "classification"
    label_type: str = "xml"
    label_map_file: str = ""
    check_label: bool = False
    min_dim: int = 0
    max_dim: int = 0
    resize_width: int = 0
    resize_height: int = 0
    check_size: bool = False
    encoded: bool = False
    encode_type: str = ""


@dataclass(frozen=True)
class _Entry:
    picture: str
    annotation: str  # a path, or a label
    where: str


@dataclass(frozen=True)
class Counts:
    """What was stored: pictures, boxes, and how many of these reach out of their picture or have no area."""

    pictures: int
    boxes: int
    outside: int
    empty: int


def convert(root: str, list_file: str, database: str, options: Options) -> Counts:
    """Make `database` of the pictures and annotations that the list names, a pair a line, in the folder `root`.

    With anno_type "detection" the second word is an annotation file, of label_type xml, json or txt; one that does not
    exist is a picture without boxes, as in weiliu89/caffe@4817bf8. With "classification" it is a label. Keys are
    `%08d_<path>`. Unlike the fork's tool, a picture that cannot be read is an error. Raises DataError, and leaves no
    database.
    """
    if options.encode_type and options.encode_type not in TYPES:
        raise DataError(f'no image can be encoded as "{options.encode_type}"; there are {", ".join(TYPES)}')
    root = root if not root or root.endswith("/") else f"{root}/"
    entries = _entries(list_file)
    names: dict[str, int] = {}
    if options.anno_type == "detection":
        names = read_label_map(options.label_map_file).by_name(check=options.check_label)
    if options.shuffle:
        entries = [entries[i] for i in permutation(options.seed, 0, len(entries))]
    glog(_TAG, f"A total of {len(entries)} images.")
    totals = np.zeros(3, np.int64)
    first: tuple[int, ...] | None = None
    with new_database(database, options.backend) as writer, ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(entries), BATCH):
            some = entries[start : start + BATCH]
            batch = []
            for i, (record, found) in enumerate(pool.map(lambda entry: _record(root, entry, names, options), some)):
                datum, entry = record.datum, some[i]
                size = (datum.channels, datum.height, datum.width)
                first = first or size
                if options.check_size and size != first:
                    raise DataError(f"{entry.picture} has another size than the first picture", entry.where)
                totals += [len(found.boxes), found.outside, found.empty]
                key = f"{start + i:08d}_{entry.picture}".encode(errors="surrogateescape")
                batch.append((key, record.SerializeToString()))
            writer.put(batch)
            glog(_TAG, f"Processed {writer.count} files.")
    counts = Counts(len(entries), *totals.tolist())
    if options.anno_type == "detection":
        glog(
            _TAG,
            f"{counts.boxes} boxes, stored as they are: {counts.outside} reach out of their picture, "
            f"{counts.empty} have no area.",
        )
    return counts


def _entries(list_file: str) -> list[_Entry]:
    found = []
    for number, line in enumerate(read_lines(list_file, "list"), 1):
        words = line.split()
        if words and len(words) != 2:
            raise DataError(f'"{line.strip()[:80]}" is not a picture and its annotation', f"{list_file}:{number}")
        if words:
            found.append(_Entry(words[0], words[1], f"{list_file}:{number}"))
    if not found:
        raise DataError("the list names no pictures", list_file)
    return found


def _record(root: str, entry: _Entry, names: Mapping[str, int], options: Options) -> tuple[Any, Found]:
    """The AnnotatedDatum of a picture, and what its annotations hold."""
    path = root + entry.picture
    data = read_bytes(path)
    image = decode_image(data, "gray" if options.gray else "color", path)
    size = image.shape[1:]
    record = proto.AnnotatedDatum()
    if options.anno_type == "classification":
        if not entry.annotation.removeprefix("-").isdecimal() or len(entry.annotation) > 9:
            raise DataError(f'"{entry.annotation[:40]}" is not a label', entry.where)
        _put_image(record.datum, data, _resized(image, options), path, options)
        record.datum.label = int(entry.annotation)
        return record, Found()
    _put_image(record.datum, data, _resized(image, options), path, options)
    record.datum.label = -1
    record.type = 0  # BBOX
    annotation = root + entry.annotation
    found = READERS[options.label_type](annotation, size, names) if os.path.exists(annotation) else Found()
    _put_boxes(record, found)
    return record, found


def _resized(image: NDArray[np.uint8], options: Options) -> NDArray[np.uint8]:
    """By min_dim and max_dim the sides stay in proportion; else resize_height by resize_width."""
    height, width = image.shape[1:]
    if options.min_dim > 0 or options.max_dim > 0:
        factor, one = np.float32(1), np.float32(1)
        if 0 < min(height, width) < options.min_dim:
            factor = one * options.min_dim / min(height, width)
        if 0 < options.max_dim < int(factor * max(height, width)):
            factor = one * options.max_dim / max(height, width)
        return image if factor == 1 else scaled(image, factor)
    if options.resize_height > 0 and options.resize_width > 0:
        height, width = options.resize_height, options.resize_width
    return resize(image, height, width)


def _put_image(datum: Any, data: bytes, image: NDArray[np.uint8], path: str, options: Options) -> None:
    ending = path.rpartition(".")[2].lower()
    kind = options.encode_type or (ending if options.encoded else "")
    datum.channels, datum.height, datum.width = image.shape
    datum.encoded = bool(kind)
    if not kind:
        datum.data = image.tobytes()
        return
    sized = (options.min_dim, options.max_dim, options.resize_height, options.resize_width)
    same = not any(sized) and (kind == ending or (kind, ending) == ("jpg", "jpeg"))
    datum.data = data if same else encode_image(image, kind)


def _put_boxes(record: Any, found: Found) -> None:
    """The boxes in groups of a label, each numbered within its group."""
    groups: dict[int, Any] = {}
    for box in found.boxes:
        if box.label not in groups:
            groups[box.label] = record.annotation_group.add(group_label=box.label)
        group = groups[box.label]
        annotation = group.annotation.add(instance_id=len(group.annotation))
        xmin, ymin, xmax, ymax = box.sides
        annotation.bbox.MergeFrom(
            proto.NormalizedBBox(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, difficult=box.difficult)
        )
