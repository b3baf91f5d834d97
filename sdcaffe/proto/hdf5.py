"""Caffe's HDF5 layout of weights and solver states, from and to the bytes of a file.

Weights: `data/LAYER/INDEX`, a group for every layer; `diff` likewise. State: `iter`, `current_step`,
`learned_net`, `history/INDEX`. Numbers are read only from the file itself and only as many as it has.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import h5py
import numpy as np

from sdcaffe import reading
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.proto.blobs import Array
from sdcaffe.proto.files import StrPath

if TYPE_CHECKING:
    from sdcaffe.proto.caffe import NetParameter

_MOST_BLOBS = 4096
# Deflate packs at most about 1,030 to 1; a file that claims more holds no such data.
_MOST_PACKED = 1100
# What all data of a file together may be in memory: so many times its size, or so many bytes, whichever is more.
_MOST_GROWTH = 8
_GROWTH_FREE = 1 << 30
_FLAWS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def read_weights(data: bytes, path: StrPath) -> list[tuple[str, list[Array | None]]]:
    """(layer name, blobs) of each group that holds blobs or nothing; a missing index is None."""
    with _Reader(data, path, WeightsError) as reader:
        if "data" not in reader.file:
            kind = "a solver state" if "history" in reader.file else "no file of Caffe's"
            raise WeightsError(f'has no group "data": it is {kind}, weights are a .caffemodel.h5', str(path))
        return list(reader.layers(reader.group("data"), ""))


class StateFields(TypedDict):
    """The fields of a State."""

    iter: int
    learned_net: str
    current_step: int
    history: list[Array]
    sdcaffe_state: bytes


def read_state(data: bytes, path: StrPath) -> StateFields:
    with _Reader(data, path, SnapshotError) as reader:
        if "iter" not in reader.file:
            kind = "a file of weights" if "data" in reader.file else "no file of Caffe's"
            raise SnapshotError(
                f'has no "iter": it is {kind}, a solver state to resume from is a .solverstate.h5', str(path)
            )
        history = reader.indexed(reader.group("history"))
        whole = [array for array in history if array is not None]
        if len(whole) != len(history):
            raise SnapshotError("lacks one of its history blobs", str(path))
        return {
            "iter": reader.whole_number("iter"),
            "learned_net": reader.string("learned_net"),
            "current_step": reader.whole_number("current_step"),
            "history": whole,
            "sdcaffe_state": reader.array("sdcaffe_state").tobytes() if "sdcaffe_state" in reader.file else b"",
        }


def weights_image(
    net: NetParameter, blobs: Mapping[str, Sequence[Array]], diffs: Mapping[str, Sequence[Array]]
) -> bytes:
    """The bytes of a .caffemodel.h5. A shared parameter's data stands at its first layer, its diff at each."""
    _refuse_names([layer.name for layer in net.layer])
    with _new() as file:
        root = file.create_group("data")
        gradients = file.create_group("diff") if diffs else None
        owned: set[str] = set()
        for layer in net.layer:
            group = root.require_group(layer.name)
            shared = [spec.name for spec in layer.param]
            for i, array in enumerate(blobs.get(layer.name, ())):
                name = shared[i] if i < len(shared) else ""
                if name not in owned:
                    _put(group, str(i), array)
                if name:
                    owned.add(name)
            if gradients is not None:
                group = gradients.require_group(layer.name)
                for i, array in enumerate(diffs.get(layer.name, ())):
                    _put(group, str(i), array)
        return _image(file)


def state_image(
    *, iter: int, learned_net: str, current_step: int, history: Sequence[Array], sdcaffe_state: bytes
) -> bytes:
    """The bytes of a .solverstate.h5."""
    with _new() as file:
        file.create_dataset("iter", data=np.array([iter], "<i4"))
        _put_string(file, "learned_net", learned_net)
        file.create_dataset("current_step", data=np.array([current_step], "<i4"))
        group = file.create_group("history")
        for i, array in enumerate(history):
            _put(group, str(i), array)
        if sdcaffe_state:
            file.create_dataset("sdcaffe_state", data=np.frombuffer(sdcaffe_state, np.uint8))
        return _image(file)


# ---- Writing ----


def _refuse_names(names: Sequence[str]) -> None:
    """Raise WeightsError where HDF5, to which "/" parts a path, would lose a layer's name or take it for a blob's."""
    counts = Counter(names)
    for name, count in counts.items():
        if count > 1:
            raise WeightsError(
                f"HDF5 cannot hold {count} layers of one name, {name!r}: rename them or write another format",
                layer=name,
            )
        parts = name.split("/")
        lost = any(part in ("", ".") or "\0" in part for part in parts)
        if lost or any(parts[i].isdecimal() and "/".join(parts[:i]) in counts for i in range(1, len(parts))):
            raise WeightsError(f"HDF5 cannot hold a layer named {name!r}; write another format", layer=name)


def _new() -> h5py.File:
    return h5py.File("new.h5", "w", driver="core", backing_store=False)


def _image(file: h5py.File) -> bytes:
    file.flush()
    return bytes(file.id.get_file_image())


def _put(group: h5py.Group, name: str, array: Array) -> None:
    group.create_dataset(name, data=np.asarray(array, "<f8" if array.dtype == np.float64 else "<f4"))


def _put_string(file: h5py.File, name: str, value: str) -> None:
    """A string with its terminating zero, without which Caffe reads past its end."""
    data = value.encode() + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(data))
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(data, f"S{len(data)}"), kind)


# ---- Reading ----


class _Reader:
    """An HDF5 file in memory whose every flaw is raised as `error`."""

    def __init__(self, data: bytes, path: StrPath, error: type[SdcaffeError]) -> None:
        self.size, self.path, self.error = len(data), str(path), error
        self.left = max(_MOST_GROWTH * self.size, _GROWTH_FREE)
        with flaws(self.path, error, "is not a whole HDF5 file"):
            self.file = h5py.File(io.BytesIO(data), "r")

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, kind: Any, problem: BaseException | None, trace: Any) -> None:
        with flaws(self.path, self.error):
            self.file.close()
            if isinstance(problem, _FLAWS):
                raise problem

    def member(self, group: h5py.Group, name: str) -> Any:
        """A group's member; links that lead out of the file or nowhere are refused."""
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise self.error(f'"{name}" is a link, not data of this file', self.path)
        return group[name]

    def group(self, name: str) -> h5py.Group:
        result = self.member(self.file, name) if name in self.file else None
        if not isinstance(result, h5py.Group):
            raise self.error(f'has no group "{name}"', self.path)
        return result

    def layers(
        self, group: h5py.Group, prefix: str, above: tuple[Any, ...] = ()
    ) -> Iterator[tuple[str, list[Array | None]]]:
        """The layers of a group; a name with "/" in it stands as groups in groups."""
        place = h5py.h5o.get_info(group.id).addr
        if place in above:
            raise self.error(f'the group "{prefix}" contains itself', self.path)
        for name in group:
            child = self.member(group, name)
            if isinstance(child, h5py.Group):
                inner = [n for n in child if isinstance(self.member(child, n), h5py.Group)]
                if len(inner) < len(child) or not inner:
                    yield prefix + name, self.indexed(child)
                if inner:
                    yield from self.layers(child, f"{prefix}{name}/", (*above, place))

    def indexed(self, group: h5py.Group) -> list[Array | None]:
        """The datasets "0", "1"... of a group in order; None where a number is missing."""
        found: dict[int, Array] = {}
        for name in group:
            if isinstance(self.member(group, name), h5py.Dataset):
                if not name.isdecimal() or len(name) > 9 or int(name) >= _MOST_BLOBS:
                    raise self.error(f'"{group.name}/{name}" is no blob: blobs are numbered from 0', self.path)
                found[int(name)] = self.numbers(group[name])
        return [found.get(i) for i in range(max(found, default=-1) + 1)]

    def numbers(self, dataset: h5py.Dataset) -> Array:
        """A blob: float32, or float64 where the file has that."""
        values = self.read(dataset)
        if values.dtype.kind not in "fiu":
            raise self.error(f'"{dataset.name}" holds {values.dtype}, not numbers', self.path)
        double = values.dtype.kind == "f" and values.itemsize == 8
        return values.astype(np.float64 if double else np.float32, copy=False)

    def read(self, dataset: h5py.Dataset) -> Array:
        """All of a dataset, once it is sure that the file has that much."""
        refuse_elsewhere(dataset, self.path, self.error)
        room = stored(dataset, self.size)
        if dataset.nbytes > room:
            raise self.error(
                f'"{dataset.name}" declares {dataset.nbytes} bytes, but the file has {room} for it at most', self.path
            )
        self.left -= dataset.nbytes
        if self.left < 0:
            raise self.error(
                f"holds {self.size} bytes and claims many times as many, packed or by many names", self.path
            )
        if (free := reading.lacking(dataset.nbytes)) is not None:
            raise self.error(
                f'"{dataset.name}" takes {dataset.nbytes} bytes, more than the {free} bytes of memory that are free',
                self.path,
            )
        return np.asarray(dataset[()])

    def array(self, name: str) -> Array:
        dataset = self.member(self.file, name)
        if not isinstance(dataset, h5py.Dataset):
            raise self.error(f'"{name}" is not a dataset', self.path)
        return self.read(dataset)

    def whole_number(self, name: str) -> int:
        values = self.array(name)
        if values.dtype.kind not in "iu" or values.size != 1:
            raise self.error(f'"{name}" is not one whole number', self.path)
        return int(values.reshape(()))

    def string(self, name: str) -> str:
        if name not in self.file:
            return ""
        values = self.array(name)
        if values.dtype.kind != "S" or values.size != 1:
            raise self.error(f'"{name}" is not a string', self.path)
        return bytes(values.reshape(())[()]).split(b"\0")[0].decode()


@contextmanager
def flaws(path: str, error: type[SdcaffeError], what: str = "is a damaged HDF5 file") -> Iterator[None]:
    """What h5py raises of a damaged file, while the context lasts, as `error`, which says that it is WHAT."""
    try:
        yield
    except _FLAWS as problem:
        lines = str(problem.args[0] if problem.args else problem).splitlines() or [type(problem).__name__]
        raise error(f"{what}: {lines[0]}", path) from None


def refuse_elsewhere(dataset: h5py.Dataset, path: str, error: type[SdcaffeError]) -> None:
    """Raise `error` for a dataset whose numbers stand in another file, or that holds no plain values."""
    if dataset.is_virtual or dataset.external or dataset.dtype.hasobject:
        raise error(f'the data of "{dataset.name}" are not in this file', path)


def stored(dataset: h5py.Dataset, size: int) -> int:
    """The most bytes that a dataset of a file of `size` bytes can hold, packed as they may be."""
    return int(min(dataset.id.get_storage_size(), size)) * (1 if dataset.chunks is None else _MOST_PACKED)
