"""Pictures without labels as inputs of a net, from a folder, a list or a database, as `classify` prepares them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_classify import image_size, normalised
from sdcaffe.converters.onnx_metadata import Metadata, ModelError, Normalisation
from sdcaffe.data.decode import ENDINGS, pictures_below, read_bytes, read_image
from sdcaffe.data.opening import open_source
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError


def pictures(path: str, metadata: Metadata, normalisation: Normalisation, most: int) -> list[NDArray[Any]]:
    """At most `most` pictures, spread over all that `path` has, each a batch of one as the exported model takes it.

    `path` is a folder of pictures, folders below it too; a list of them, a path at the start of a line, from the list's
    folder or the current one, with or without a label behind; or an LMDB or LevelDB of Datums, whose channels are in
    the net's order. Raises ModelError and DataError for what is none of these.
    """
    size = image_size(metadata.size, metadata, path) if len(metadata.size) == 3 else None
    if size is None:
        raise ModelError("--calibration is for nets whose first input is an image (n, c, h, w)", path)
    channels, height, width = size
    found = []
    stored = os.path.isdir(path) and _is_database(path)  # a Datum's channels are as the net takes them
    if stored and normalisation.in_graph:
        stored = normalisation.order == "rgb"  # of bytes it takes RGB whatever its own order
    for planes in _planes(path, channels, most):
        if not stored and (normalisation.order == "rgb" or normalisation.in_graph):
            planes = planes[::-1]
        found.append(normalised(resize(planes, height, width), channels, normalisation, path))
    return found


def _planes(path: str, channels: int, most: int) -> Iterator[NDArray[Any]]:
    """Pictures as planes, blue first; those of a database as they are stored."""
    if os.path.isdir(path) and not _is_database(path):
        paths = pictures_below(path)
    elif os.path.isdir(path):
        yield from _in_database(path, channels, most)
        return
    else:
        paths = _in_list(path)
    if not paths:
        raise DataError("names no pictures", path)
    for name in _spread(paths, most):
        yield read_image(name, color=channels == 3)


def _is_database(path: str) -> bool:
    return any(os.path.exists(os.path.join(path, name)) for name in ("data.mdb", "CURRENT"))


def _in_list(path: str) -> list[str]:
    """The paths of a list; a label behind the last space of a line is left out."""
    found, folder = [], os.path.dirname(path)
    text = read_bytes(path, "the list of pictures").decode("utf-8", "surrogateescape")
    if "\0" in text or path.lower().endswith(ENDINGS):
        raise DataError("is no list of pictures, nor a folder of them or a database", path)
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line:
            continue
        bare = line.rpartition(" ")[0]
        tried = [place for name in (line, bare) if name for place in (os.path.join(folder, name), name)]
        there = next((place for place in tried if os.path.isfile(place)), None)
        if there is None:
            raise DataError(f"there is no picture {line}", f"{path}:{number}")
        found.append(there)
    return found


def _in_database(path: str, channels: int, most: int) -> Iterator[NDArray[Any]]:
    backend = "LMDB" if os.path.exists(os.path.join(path, "data.mdb")) else "LEVELDB"
    source = open_source(path, backend, color="color" if channels == 3 else "gray")
    for index in _spread(range(len(source)), most):
        planes, _ = source.read(index)
        if len(planes) != channels:
            raise DataError(f"holds pictures of {len(planes)} channels; the net takes {channels}", path)
        yield planes


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly."""
    if len(items) <= most:
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most)]
