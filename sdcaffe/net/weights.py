"""Weights that come in, from files or from another net: which layers they fill, which they leave. Writes no file.

Files and nets know layers by name, and where several layers share one, Caffe's rules say which is meant. Each entry
of a .caffemodel, and each layer of another net, goes to the FIRST layer of its name, so that the last entry stays
there; an entry of an HDF5 file goes to the LAST layer of its name. The others keep what they have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import SharingError, WeightsError
from sdcaffe.graph import Graph
from sdcaffe.layers.base import Layer, show_shape, stored_as
from sdcaffe.log import glog
from sdcaffe.net.parameters import Learnable, Views, borrowed
from sdcaffe.proto.weights import LayerBlobs

Files = str | os.PathLike[str] | Sequence[str]
Matched = list[tuple[int, LayerBlobs]]  # place of a layer and what is for it, in the order of the files


def file_names(files: Files | None) -> list[str]:
    """The files that are named: a string is a list with commas, as Caffe's --weights; other names are as they are."""
    if isinstance(files, str):
        return [name.strip() for name in files.split(",") if name.strip()]
    if isinstance(files, os.PathLike):
        return [os.fspath(files)]
    return [os.fspath(name) for name in files or ()]


class Weights:
    """The layers of one or more .caffemodel or .caffemodel.h5 files, in their order: a later entry overwrites.

    With `exact` the file was written by the net that is to be filled: where the names in it are the net's, one by
    one, each entry goes to the layer at its own place. So a snapshot restores layers that share a name, too.
    """

    def __init__(self, files: Files | None, *, exact: bool = False) -> None:
        """`files`: a path, a list of paths, or one string with commas. Raises WeightsError for a file that is none."""
        names = file_names(files)
        if isinstance(files, str) and not names:
            raise WeightsError(f'"{files}" names no weight file')
        self.source = ", ".join(names)
        self.entries: list[LayerBlobs] = [entry for name in names for entry in proto.read_weights(Path(name))]
        self._exact = exact

    @property
    def names(self) -> set[str]:
        """The names of the layers that have blobs."""
        return {entry.name for entry in self.entries if entry.blobs}

    def matched(self, names: Sequence[str]) -> Matched:
        """The entries that are for a net whose layers have these names, by place."""
        if self._exact and [entry.name for entry in self.entries] == list(names):
            return list(enumerate(self.entries))
        first, last = _first(names), _last(names)
        places = [(last if entry.hdf5 else first).get(entry.name) for entry in self.entries]
        return [(place, entry) for place, entry in zip(places, self.entries, strict=True) if place is not None]

    def check(
        self, layer: Layer, place: int, entry: LayerBlobs, learnable: Iterable[Learnable], source: str = ""
    ) -> None:
        """Raise WeightsError unless an entry has as many blobs as the layer at `place`, of its shapes.

        `source` says where the entry is from, if not from these files. An HDF5 file may lack those whose parameter
        another layer owns: it has them there.
        """
        source = source or self.source
        rename = "to train this layer afresh, give it another name"
        stored = layer.arranged(dict(enumerate(entry.blobs)))
        count, have = len(layer.blobs), len(stored)
        elsewhere = borrowed(layer, place, learnable) if entry.hdf5 else ()
        if elsewhere and have < count:
            stored, have = {**dict.fromkeys(range(count)), **stored}, count
        if have != count:
            raise WeightsError(
                f'layer "{layer.name}" has {count} blobs here but {have} in {source}; {rename}', layer=layer.name
            )
        for i, blob in enumerate(layer.blobs):
            array, want = stored[i], tuple(blob.shape)
            if array is None and i not in elsewhere:
                raise WeightsError(f'blob {i} of layer "{layer.name}" is not in {source}', layer=layer.name)
            shape = want if array is None else tuple(array.shape)
            if not stored_as(shape, want):
                raise WeightsError(
                    f'blob {i} of layer "{layer.name}" is {show_shape(shape)} in {source} but '
                    f"{show_shape(want)} here; {rename}",
                    layer=layer.name,
                )

    def report(self, graph: Graph, with_blobs: Iterable[int]) -> None:
        """Log which of a net's layers that have blobs, by place, were filled, and which left."""
        if not self.source:
            return
        names = [step.layer.name for step in graph.steps]
        for name in dict.fromkeys(entry.name for entry in self.entries if entry.blobs and entry.name not in names):
            glog("net.cpp:744", f"Ignoring source layer {name}")
        reached = {place for place, entry in self.matched(names) if entry.blobs}
        filled: list[str] = []
        left: list[str] = []
        for place in with_blobs:
            (filled if place in reached else left).append(graph.steps[place].key)
        glog(
            "net.cpp:746",
            f"Filled {len(filled)} of {len(filled) + len(left)} layers from {self.source}: {', '.join(filled)}",
        )
        if left:
            glog("net.cpp:746", f"Left as initialised: {', '.join(left)}")


def written(layer: proto.LayerParameter) -> list[LayerBlobs]:
    """The blobs that a prototxt gives a layer, as one entry; none where it gives none. Raises WeightsError."""
    where = f'of layer "{layer.name}" in the prototxt'
    arrays = [proto.blob_to_array(blob, f"blob {i} {where}") for i, blob in enumerate(layer.blobs)]
    return [LayerBlobs(layer.name, layer.type, list(arrays))] if arrays else []


def brought(entries: Iterable[LayerBlobs], *, copy: bool = True) -> dict[int, Tensor] | None:
    """Blob index -> float32 tensor that the entries for one layer leave there; None where there are none.

    Without `copy` it may be the memory of the entries.
    """
    found: dict[int, Any] | None = None
    for entry in entries:
        arrays = {i: array for i, array in enumerate(entry.blobs) if array is not None}
        found = arrays if found is None or len(arrays) == len(entry.blobs) else {**found, **arrays}
    make = torch.tensor if copy else torch.as_tensor
    return found and {i: make(array, dtype=torch.float32) for i, array in found.items()}


@torch.no_grad()
def fill(layers: Sequence[Layer], views: Views, matched: Matched) -> None:
    """Copy what is for them into the blobs of layers, entry after entry."""
    for place, entry in matched:
        layer, owners = layers[place], views.get(place, {})
        for i, value in layer.arranged(brought([entry], copy=False) or {}).items():
            blob = owners.get(i, layer.blobs[i])
            blob.copy_(value.reshape(blob.shape))


def shared_places(names: Sequence[str], others: Sequence[str]) -> dict[int, list[int]]:
    """Where a net whose layers are named `names` shares those of a net with `others`: place -> places there.

    It ends up with the blobs of the last one.
    """
    first = _first(names)
    found: dict[int, list[int]] = {}
    for place, name in enumerate(others):
        if name in first:
            found.setdefault(first[name], []).append(place)
    return found


@contextmanager
def sharing(layer: Layer, others: Sequence[Layer]) -> Iterator[None]:
    """Inside, `layer` is set up with the blobs of the last of `others`. Raises SharingError unless all of these fit."""
    try:
        yield
    except WeightsError as error:
        raise SharingError(f"of the net it shares weights with, {error.message}", layer=layer.name) from None
    have = [tuple(blob.shape) for blob in layer.blobs]
    for other in others:
        want = [tuple(blob.shape) for blob in other.blobs]
        if have != want:
            differ = next((pair for pair in zip(have, want, strict=False) if pair[0] != pair[1]), None)
            here, there = map(show_shape, differ) if differ else (f"{len(have)} blobs", str(len(want)))
            raise SharingError(
                f'layer "{layer.name}" ({layer.type}): it has {here} here but {there} in the net it shares them with',
                layer=layer.name,
            )


def _first(names: Sequence[str]) -> Mapping[str, int]:
    return {name: place for place, name in reversed(list(enumerate(names)))}


def _last(names: Sequence[str]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(names)}
