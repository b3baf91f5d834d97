"""Weight, snapshot and blob files: .caffemodel, .solverstate, .binaryproto, and their HDF5 forms.

Reads what Caffe of any age wrote and writes what Caffe reads. Our protobuf files begin with a seal
(seal.py), so that one cut at any byte is refused. Which net or solver the numbers fit is not known here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdcaffe import reading
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.proto import caffe, files, schema, seal, upgrade, v0
from sdcaffe.proto.blobs import Array, array_to_blob, blob_to_array, raw_blob
from sdcaffe.proto.files import StrPath
from sdcaffe.proto.keys import layer_keys
from sdcaffe.proto.numbers import Numbers, Piece, Source, TooMuch, places, put, taken

__all__ = [
    "LayerBlobs",
    "State",
    "array_to_blob",
    "blob_to_array",
    "named_weights",
    "read_blob",
    "read_net_name",
    "read_state",
    "read_weights",
    "write_blob",
    "write_state",
    "write_weights",
]

Blobs = Mapping[str, Sequence[Array]]

_LARGEST = 2**31 - 1


@dataclasses.dataclass(eq=False)
class LayerBlobs:
    """One layer of a weight file. `type` is its current name, "" where the file does not say (HDF5).

    A blob is None where an HDF5 file (`hdf5`) leaves it to the layer that owns the shared parameter.
    """

    name: str
    type: str
    blobs: list[Array | None]
    hdf5: bool = False


@dataclasses.dataclass(eq=False)
class State:
    """What a .solverstate holds: `history` in Caffe's order; `sdcaffe_state` is ours, b"" in Caffe's files."""

    iter: int = 0
    learned_net: str = ""
    current_step: int = 0
    history: list[Array] = dataclasses.field(default_factory=list)
    sdcaffe_state: bytes = b""


# ---- Weights ----


def read_weights(path: StrPath) -> list[LayerBlobs]:
    """Every layer of a .caffemodel (current, V1 or V0, sealed or not) or .caffemodel.h5, in the file's order.

    Layers without blobs are there too. The form is told by the bytes, not by the name. Raises WeightsError
    for a file that is missing, no weight file, damaged or cut short.
    """
    if files.is_hdf5(path, WeightsError):
        from sdcaffe.proto import hdf5

        layers = hdf5.read_weights(files.read_bytes(path, WeightsError), path)
        return [LayerBlobs(name, "", blobs, hdf5=True) for name, blobs in layers]
    net, numbers = _weights_net(path)
    return [_layer_blobs(*_identity(layer), numbers, path) for layer in [*net.layers, *net.layer]]


def read_net_name(path: StrPath) -> str:
    """The name of the net whose weights a file holds; "" for HDF5 files, which hold none. Raises as read_weights."""
    return "" if files.is_hdf5(path, WeightsError) else _text(_weights_net(path)[0].name)


def _weights_net(path: StrPath) -> tuple[Any, Numbers]:
    """The NetParameter of a .caffemodel, and the numbers that it has keys of."""
    others = {
        "a .solverstate": "its .caffemodel has the weights",
        "a single blob": "weights are a .caffemodel",
        "an ONNX model": "sdcaffe convert onnx-to-caffe makes a .caffemodel of it",
    }
    net, numbers = _message("NetParameter", path, WeightsError, others)
    if not net.layer and not net.layers:
        raise WeightsError("holds no layers: it is no .caffemodel, or an empty net", str(path))
    return net, numbers


def write_weights(
    path: StrPath, net: caffe.NetParameter, blobs: Blobs, diffs: Blobs | None = None, *, hdf5: bool | None = None
) -> None:
    """Write a .caffemodel as Caffe does: the net's name, and each layer with its blobs; nothing else of `net`.

    `net` is the NetParameter whose layers really run; `blobs` holds arrays by the keys of its layers (layer_keys:
    their names, told apart), float32 or float64; `diffs` likewise where gradients are to be kept (`snapshot_diff`).
    With `hdf5` (None: where the path ends in ".h5") it is Caffe's HDF5 form, in which a shared parameter is written by
    its first layer only.
    Raises WeightsError for keys that the net lacks, for layers of one name in HDF5, for more than protobuf's 2 GiB,
    and for a path that fails.
    """
    diffs = diffs or {}
    keys = layer_keys(layer.name for layer in net.layer)
    for key in {*blobs, *diffs}.difference(keys):
        raise WeightsError(f'no layer "{key}" in the net whose weights are written', str(path))
    if str(path).endswith(".h5") if hdf5 is None else hdf5:
        from sdcaffe.proto.hdf5 import weights_image

        return _write(path, [weights_image(net, blobs, diffs)], WeightsError)
    _check_size([a.nbytes for group in (blobs, diffs) for arrays in group.values() for a in arrays], path, WeightsError)
    numbers = Numbers()
    result = schema.raw_message("NetParameter")(name=net.name)
    for key, layer in zip(keys, net.layer, strict=True):
        bare = layer
        if layer.blobs:
            bare = type(layer)()
            bare.CopyFrom(layer)
            bare.ClearField("blobs")
        new = result.layer.add()
        new.MergeFromString(bare.SerializePartialToString())
        gradients = diffs.get(key, ())
        for i, array in enumerate(blobs.get(key, ())):
            new.blobs.append(raw_blob(array, gradients[i] if i < len(gradients) else None, numbers))
    _write_message(path, result, numbers, WeightsError)


def _identity(layer: Any) -> tuple[str, str, Any]:
    """Name, current type name and blobs of a layer of any age."""
    if layer.DESCRIPTOR.name == "LayerParameter":
        return layer.name, layer.type, layer.blobs
    if layer.HasField("layer"):
        v1 = type(layer)()
        v1.type = v1.LayerType.Value(v0.TYPES.get(layer.layer.type, "NONE"))  # a padding layer has no later name
        return layer.layer.name, upgrade.layer_type(v1), layer.layer.blobs
    return layer.name, upgrade.layer_type(layer), layer.blobs


def _layer_blobs(name: str, kind: str, blobs: Any, numbers: Numbers, path: StrPath) -> LayerBlobs:
    arrays: list[Array | None] = [
        blob_to_array(blob, f'blob {i} of layer "{name}"', str(path), WeightsError, numbers)
        for i, blob in enumerate(blobs)
    ]
    kind = _text(kind)
    return LayerBlobs(_text(name), upgrade.type_with_blobs(kind) if arrays else kind, arrays)


# ---- Solver states ----


def read_state(path: StrPath) -> State:
    """A .solverstate or .solverstate.h5, Caffe's or ours, sealed or not.

    Raises SnapshotError for a file that is missing, no solver state, damaged or cut short.
    """
    if files.is_hdf5(path, SnapshotError):
        from sdcaffe.proto import hdf5

        return State(**hdf5.read_state(files.read_bytes(path, SnapshotError), path))
    others = {
        "a .caffemodel": "give its .solverstate to resume, or use it as --weights",
        "a single blob": "a solver state is a .solverstate",
    }
    state, numbers = _message("SolverState", path, SnapshotError, others)
    if not state.HasField("iter"):
        raise SnapshotError("holds no iteration: it is no .solverstate", str(path))
    history = [
        blob_to_array(blob, f"history blob {i}", str(path), SnapshotError, numbers)
        for i, blob in enumerate(state.history)
    ]
    learned_net = _text(state.learned_net, "surrogateescape")  # as the system spells such a path
    return State(state.iter, learned_net, state.current_step, history, state.sdcaffe_state)


def write_state(path: StrPath, state: State) -> None:
    """Write a .solverstate that Caffe reads, or its HDF5 form where the path ends in ".h5".

    Raises SnapshotError for more than protobuf's 2 GiB and a path that cannot be written.
    """
    if str(path).endswith(".h5"):
        from sdcaffe.proto import hdf5

        return _write(path, [hdf5.state_image(**vars(state))], SnapshotError)
    _check_size([array.nbytes for array in state.history], path, SnapshotError)
    numbers = Numbers()
    result = schema.raw_message("SolverState")(
        iter=state.iter,
        learned_net=state.learned_net,
        current_step=state.current_step,
        history=[raw_blob(array, numbers=numbers) for array in state.history],
    )
    if state.sdcaffe_state:
        result.sdcaffe_state = state.sdcaffe_state
    _write_message(path, result, numbers, SnapshotError)


def named_weights(learned_net: str, state: StrPath) -> list[Path]:
    """The weight files that the learned_net of the file `state` may mean, for snapshots move: as it is written, then
    by its name beside the state. Only regular files are. Raises SnapshotError where neither is one.
    """
    named = Path(learned_net)
    places = [named, Path(state).parent / named.name]
    found = [place for place in places if reading.is_regular(place)]
    if not found:
        there = any(os.path.exists(place) for place in places)
        state_of = "are no regular file" if there else "are missing"
        raise SnapshotError(f"its weights {learned_net} {state_of}, here and beside it", str(state))
    return found


# ---- Single blobs ----


def read_blob(path: StrPath) -> Array:
    """The array of a BlobProto file, such as an image mean (mean.binaryproto). Raises WeightsError."""
    hint = "a single blob is wanted, such as mean.binaryproto"
    blob, numbers = _message("BlobProto", path, WeightsError, {"a .caffemodel": hint, "a .solverstate": hint})
    return blob_to_array(blob, "the blob", str(path), WeightsError, numbers)


def write_blob(path: StrPath, array: Array) -> None:
    """Write an array as a BlobProto file; the shape goes first, so that a file cut short is known for one."""
    _check_size([array.nbytes], path, WeightsError)
    numbers = Numbers()
    blob = raw_blob(array, numbers=numbers)
    shape = type(blob)()
    if blob.HasField("shape"):
        shape.shape.CopyFrom(blob.shape)
        blob.ClearField("shape")
    parts = put(blob.SerializeToString(), numbers, places(blob.DESCRIPTOR))
    _write(path, [shape.SerializeToString(), *parts], WeightsError)


# ---- What all of them need ----


def _text(value: str | bytes, errors: str = "replace") -> str:
    """A string of a message: protobuf gives bytes where a file has other than UTF-8 in it."""
    return value if isinstance(value, str) else value.decode("utf-8", errors)


def _message(name: str, path: StrPath, error: type[SdcaffeError], others: Mapping[str, str]) -> tuple[Any, Numbers]:
    """The message of a file, and the numbers that it has keys of.

    Raises `error` for a file that is not whole, and for `others`, kinds of file, each with what to do with it.
    """
    kind = schema.raw_message(name)
    with reading.opened(path, error) as file:
        size = reading.fitting(file, path, error)
        files.check_size(size, path, error)
        head = file.read(seal.SIZE)
        promise = seal.promised(head, size, path, error)
        start = 0 if promise is None else seal.SIZE
        file.seek(start)
        source = Source(file)
        try:
            data, numbers = taken(source, size - start, places(kind.DESCRIPTOR))
        except EOFError:
            raise error("has become shorter while it was read", str(path)) from None
        except TooMuch as problem:
            raise error(str(problem), str(path)) from None
    seal.check(source.crc, promise, path, error)
    found = _kind(data)
    if found is not None and found in others:
        raise error(f"is {found}: {others[found]}", str(path))
    try:
        return files.decoded(kind, data, path, error), numbers
    except error:  # told by the bytes of the file, without keys
        return files.decoded(kind, seal.opened(files.read_bytes(path, error), path, error), path, error), numbers


def _check_size(sizes: Iterable[int], path: StrPath, error: type[SdcaffeError]) -> None:
    if sum(sizes) > _LARGEST - seal.SIZE:
        raise error("would be larger than 2 GiB, more than protobuf can hold; use the HDF5 form (.h5)", str(path))


def _write_message(path: StrPath, message: Any, numbers: Numbers, error: type[SdcaffeError]) -> None:
    parts = put(files.serialized(message, path, error), numbers, places(message.DESCRIPTOR))
    _check_size(map(len, parts), path, error)
    _write(path, [seal.seal(parts), *parts], error)


def _write(path: StrPath, parts: Sequence[Piece], error: type[SdcaffeError]) -> None:
    with files.atomic_write(path, error) as file:
        for part in parts:
            file.write(part)


def _kind(data: bytes) -> str | None:
    """What sort of Caffe file the outermost fields (number, wire type) belong to; None: no telling."""
    found = seal.outer_fields(data)
    if {(1, 0), (2, 2), (7, 2)} <= found:
        return "an ONNX model"
    if (100, 2) in found or ((2, 2) in found and (1, 0) not in found):
        return "a .caffemodel"
    if {(1, 0), (2, 2)} <= found or {(1, 0), (3, 2)} <= found:
        return "a .solverstate"
    if found & {(5, 2), (5, 5), (8, 2), (8, 1)} and found & {(7, 2), (1, 0), (2, 0)}:
        return "a single blob"
    return None
