"""Weights that files bring to a net, by layer name: which layers they fill, which they leave."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import WeightsError
from sdcaffe.layers.base import Layer, show_shape
from sdcaffe.log import glog
from sdcaffe.proto.weights import LayerBlobs

Files = str | os.PathLike[str] | Sequence[str]


def file_names(files: Files | None) -> list[str]:
    """The files that are named: a string is a list with commas, as Caffe's --weights; other names are as they are."""
    if isinstance(files, str):
        return [name.strip() for name in files.split(",") if name.strip()]
    if isinstance(files, os.PathLike):
        return [os.fspath(files)]
    return [os.fspath(name) for name in files or ()]


class InitialWeights:
    """Blobs of one or more .caffemodel or .caffemodel.h5 files; a later file wins where names repeat."""

    def __init__(self, files: Files | None) -> None:
        """`files`: a path, a list of paths, or one string with commas. Raises WeightsError for a file that is none."""
        names = file_names(files)
        if isinstance(files, str) and not names:
            raise WeightsError(f'"{files}" names no weight file')
        self.source = ", ".join(names)
        self.layers: dict[str, LayerBlobs] = {}
        for name in names:
            self.layers.update((e.name, e) for e in proto.read_weights(Path(name)) if e.blobs)

    def blobs(self, layer: str) -> dict[int, Tensor] | None:
        """Blob index -> float32 tensor (a copy) of one layer; None where the files lack it."""
        entry = self.layers.get(layer)
        if entry is None:
            return None
        arrays = enumerate(entry.blobs)  # None: an HDF5 file has it at the layer that owns the parameter
        return {i: torch.tensor(array, dtype=torch.float32) for i, array in arrays if array is not None}

    def check(self, layer: Layer) -> None:
        """Raise WeightsError unless the files' blobs for this layer have its count and shapes."""
        entry = self.layers.get(layer.name)
        if entry is None:
            return
        rename = "to train this layer afresh, give it another name"
        stored = layer.arranged(dict(enumerate(entry.blobs)))
        if len(stored) != len(layer.blobs):
            raise WeightsError(
                f'layer "{layer.name}" has {len(layer.blobs)} blobs here but {len(stored)} in {self.source}; {rename}',
                layer=layer.name,
            )
        for i, blob in enumerate(layer.blobs):
            array, want = stored[i], tuple(blob.shape)
            have = want if array is None else tuple(array.shape)
            if have not in (want, (1,) * (4 - len(want)) + want):
                raise WeightsError(
                    f'blob {i} of layer "{layer.name}" is {show_shape(have)} in {self.source} but '
                    f"{show_shape(want)} here; {rename}",
                    layer=layer.name,
                )

    def report(self, with_blobs: Iterable[str]) -> None:
        """Log which of the net's layers that have blobs were filled, and which left."""
        if not self.source:
            return
        names = list(with_blobs)
        filled = [name for name in names if name in self.layers]
        left = [name for name in names if name not in self.layers]
        for name in self.layers.keys() - set(names):
            glog("net.cpp:744", f"Ignoring source layer {name}")
        glog(
            "net.cpp:746",
            f"Filled {len(filled)} of {len(names)} layers from {self.source}: {', '.join(filled)}",
        )
        if left:
            glog("net.cpp:746", f"Left as initialised: {', '.join(left)}")
