"""Trained weights from one file format to another: .caffemodel and its HDF5 form. Runs no net."""

from __future__ import annotations

from collections.abc import Sequence

from sdcaffe import proto
from sdcaffe.errors import WeightsError
from sdcaffe.proto.files import StrPath


def convert(source: StrPath, target: StrPath) -> int:
    """Write the weights of `source` to `target` in the format of its name; returns how many layers have blobs.

    A target that ends in .h5 gets HDF5, any other name a .caffemodel; the source's format is told by its bytes.
    Numbers are kept bit for bit. Raises WeightsError for a source that is no weight file and a target that
    cannot be written.
    """
    layers = proto.read_weights(source)
    write_caffemodel(target, layers, source)
    return sum(1 for layer in layers if layer.blobs)


def write_caffemodel(target: StrPath, layers: Sequence[proto.LayerBlobs], source: StrPath) -> None:
    """Write layers as a .caffemodel, or HDF5 where the name ends in .h5; `source` is named in errors."""
    net = proto.NetParameter()
    blobs = {}
    for layer in layers:
        arrays = [array for array in layer.blobs if array is not None]
        if len(arrays) < len(layer.blobs):
            raise WeightsError(
                f'leaves a blob of layer "{layer.name}" to the layer that it shares it with', str(source)
            )
        net.layer.add(name=layer.name, type=layer.type)
        blobs[layer.name] = arrays
    proto.write_weights(target, net, blobs)
