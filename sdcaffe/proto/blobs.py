"""Blobs as numpy arrays and back: BlobProto messages of either schema. Files are not its work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from sdcaffe.errors import SdcaffeError, WeightsError
from sdcaffe.proto import caffe, schema
from sdcaffe.proto.numbers import Numbers, Piece

Array = npt.NDArray[Any]

_MAX_AXES = 32  # Caffe's own bound
_LEGACY = ("num", "channels", "height", "width")
_DOUBLE, _FLOAT = np.dtype("<f8"), np.dtype("<f4")
# NVIDIA Caffe's types of raw_data.
_RAW_TYPES: dict[int, np.dtype[Any]] = {0: _DOUBLE, 1: _FLOAT, 2: np.dtype("<f2")}


def blob_to_array(
    blob: caffe.BlobProto,
    what: str = "blob",
    where: str | None = None,
    error: type[SdcaffeError] = WeightsError,
    numbers: Mapping[bytes, Piece] = MappingProxyType({}),
) -> Array:
    """The numbers of a BlobProto: float32, or float64 where it holds double_data; a new, writable array.

    Old blobs (num, channels, height, width) have four axes; a blob without any shape has none and one
    number. `what` and `where` name it in an error; `numbers` are those that it has keys of. Raises `error` where shape
    and numbers do not fit.
    """
    try:
        return _array(blob, what, where, error, numbers)
    except DecodeError:  # of fields that are numbers in one schema and bytes in the other
        raise error(f"{what} is damaged: its fields are not those of a blob", where) from None


def _array(blob: Any, what: str, where: str | None, error: type[SdcaffeError], numbers: Mapping[bytes, Piece]) -> Array:
    if blob.DESCRIPTOR.file.pool is not schema.raw_message("BlobProto").DESCRIPTOR.file.pool:
        blob = schema.raw_message("BlobProto").FromString(blob.SerializeToString())
    blob = _in_bvlcs_fields(blob)
    shape = blob_shape(blob)
    count = math.prod(shape)
    if len(shape) > _MAX_AXES or min(shape, default=0) < 0:
        raise error(f"{what} has the impossible shape {_shown(shape)}", where)
    values = _values(blob, numbers)
    if values is None:
        raise error(f"{what} is damaged: its bytes are no whole numbers", where)
    if count and not len(values):
        values = _unpacked(blob)
    if len(values) != count:
        raise error(f"{what} has shape {_shown(shape)}, which is {count} numbers, but holds {len(values)}", where)
    try:
        return values.reshape(shape)
    except ValueError:  # no numbers, but axes beyond what an array can have
        raise error(f"{what} has the impossible shape {_shown(shape)}", where) from None


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if len(shape) <= _MAX_AXES else f"of {len(shape)} axes"


def _in_bvlcs_fields(blob: Any) -> Any:
    """A blob of the schema whose blobs are bytes; C3D 1.0's, of five axes, with its numbers where BVLC Caffe has them.

    C3D has num, channels, length, height, width as 1 to 5, data as 6. Read by BVLC Caffe's numbers, that is a diff
    without data, whose field 5 is a whole number.
    """
    if blob.data or blob.double_data or not blob.diff or not all(blob.HasField(name) for name in _LEGACY):
        return blob
    unknown = UnknownFieldSet(blob)
    fields = [unknown[i] for i in range(len(unknown))]
    widths = [field.data for field in fields if field.field_number == 5 and field.wire_type == 0]
    if not widths:
        return blob
    new = type(blob)()
    new.shape.dim.extend([*(getattr(blob, name) for name in _LEGACY), widths[-1]])
    new.data.extend(blob.diff)
    return new


def blob_shape(blob: caffe.BlobProto) -> tuple[int, ...]:
    """The shape a BlobProto declares, the old four axes first, as Caffe does."""
    has = blob.HasField
    if has("num") or has("channels") or has("height") or has("width"):
        return tuple(getattr(blob, name) for name in _LEGACY)
    return tuple(blob.shape.dim)


def array_to_blob(array: npt.ArrayLike, diff: npt.ArrayLike | None = None) -> caffe.BlobProto:
    """A BlobProto of the current schema: float64 arrays as double_data, all others as float32 data."""
    raw = raw_blob(array, diff)
    return caffe.BlobProto.FromString(raw.SerializeToString())


def raw_blob(array: npt.ArrayLike, diff: npt.ArrayLike | None = None, numbers: Numbers | None = None) -> Any:
    """`array_to_blob` in the schema whose blobs are bytes; with `numbers` it has keys of what is added to these."""
    blob = schema.raw_message("BlobProto")()
    array = np.asarray(array)
    double = array.dtype == np.float64
    if array.ndim:
        blob.shape.dim.extend(array.shape)
    dtype = "<f8" if double else "<f4"
    for values, name in ((array, "data"), (diff, "diff")):
        if values is not None:
            packed = np.ascontiguousarray(values, dtype).reshape(-1).view(np.uint8)
            piece = packed.tobytes() if numbers is None else numbers.add(packed.data)
            getattr(blob, f"double_{name}" if double else name).append(piece)
    return blob


def _values(blob: Any, numbers: Mapping[bytes, Piece]) -> Array | None:
    """What is packed; None where its bytes are no whole numbers."""
    if blob.double_data:
        return _joined(blob.double_data, _DOUBLE, numbers)
    if not blob.data and blob.raw_data_type in _RAW_TYPES and blob.raw_data:
        values = _joined([blob.raw_data], _RAW_TYPES[blob.raw_data_type], numbers)
        return values.astype(np.float32) if values is not None and values.dtype == np.float16 else values
    return _joined(blob.data, _FLOAT, numbers)


def _joined(keys: Iterable[bytes], dtype: np.dtype[Any], numbers: Mapping[bytes, Piece]) -> Array | None:
    pieces = [numbers.get(key, key) for key in keys]
    data = pieces[0] if len(pieces) == 1 and isinstance(pieces[0], memoryview) else bytearray().join(pieces)
    return None if len(data) % dtype.itemsize else np.frombuffer(data, dtype)


def _unpacked(blob: Any) -> Array:
    """The numbers of a blob written one field each, as Caffe did before it packed them."""
    plain = caffe.BlobProto.FromString(blob.SerializeToString())
    if plain.double_data:
        return np.array(plain.double_data, np.float64)
    return np.array(plain.data, np.float32)
