"""Numbers that go between files and arrays past protobuf are those that protobuf itself reads and writes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_files import refusal

from sdcaffe import proto
from sdcaffe.errors import WeightsError
from sdcaffe.proto import schema
from sdcaffe.proto.numbers import Source, places, put, taken

GROUP = b"\x83\x7d\x08\x01\x84\x7d"  # field 2000, a group, which no message of Caffe has
UNKNOWN = b"\xc2\x3e\x03abc"  # field 1000, a string


def blob(count: int, first: float = 0, double: bool = False) -> Any:
    message = proto.BlobProto()
    message.shape.dim.append(count)
    (message.double_data if double else message.data).extend(np.arange(count) + first)
    return message


def net(*blobs: Any) -> Any:
    result = proto.NetParameter(name="n")
    result.layer.add(name="empty", type="ReLU")
    result.layer.add(name="a", type="InnerProduct", blobs=blobs).phase = proto.TEST
    result.layers.add(name="old", type="CONVOLUTION", blobs=blobs)
    result.layers.add().layer.MergeFrom(proto.V0LayerParameter(name="older", type="conv", blobs=blobs))
    return result


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 100_000])
@pytest.mark.parametrize("double", [False, True])
def test_layers_of_every_age(count: int, double: bool, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(net(blob(count, 0.5, double), blob(3)).SerializeToString())
    found = {entry.name: entry.blobs for entry in proto.read_weights(tmp_path / "x")}
    assert list(found) == ["old", "older", "empty", "a"]
    for name in ("old", "older", "a"):
        first, second = found[name]
        assert first is not None
        assert first.dtype == (np.float64 if double and count else np.float32)
        assert first.flags.writeable
        assert first.tolist() == (np.arange(count) + 0.5).tolist()
        assert second is not None
        assert second.tolist() == [0, 1, 2]


def test_each_array_has_memory_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(net(blob(1000), blob(1000)).SerializeToString())
    entries = proto.read_weights(tmp_path / "x")
    for array in (array for entry in entries for array in entry.blobs if array is not None):
        array += 1
        assert array.flags.aligned
        assert array[0] == 1


@pytest.mark.parametrize("odd", [GROUP, UNKNOWN, UNKNOWN * 1200])
@pytest.mark.parametrize("place", ["file", "layer", "blob"])
def test_fields_that_nobody_knows_are_read_past(odd: bytes, place: str, tmp_path: Path) -> None:
    """Before the numbers and behind them; after very many, protobuf reads the numbers itself."""
    inner = blob(2000, 7).SerializeToString()
    for level, tag in (("blob", b"\x3a"), ("layer", b"\xa2\x06"), ("file", b"")):
        inner = odd + inner + odd if place == level else inner
        inner = tag + length(len(inner)) + inner if tag else inner
    (tmp_path / "x").write_bytes(b"\x0a\x01n" + inner)
    (entry,) = proto.read_weights(tmp_path / "x")
    assert entry.blobs[0] is not None
    assert entry.blobs[0].tolist() == (np.arange(2000) + 7).tolist()


def length(value: int) -> bytes:
    return bytes([value & 127 | 128, value >> 7 & 127 | 128, value >> 14])


def test_pieces_of_every_size_and_numbers_that_are_not_packed(tmp_path: Path) -> None:
    numbers = np.arange(5000, dtype="<f4")
    shape = proto.BlobProto(shape=proto.BlobShape(dim=[5000])).SerializeToString()
    pieces = b"".join(
        b"\x2a" + length(part.nbytes) + part.tobytes() for part in np.split(numbers, [1, 3, 1000, 1001, 4000])
    )
    single = b"".join(b"\x2d" + number.tobytes() for number in numbers)
    for data in (pieces + shape, shape + pieces, single + shape):
        (tmp_path / "x").write_bytes(data)
        assert proto.read_blob(tmp_path / "x").tolist() == numbers.tolist()


@given(st.binary(max_size=60), st.integers(0, 3))
@settings(max_examples=300)
def test_what_is_taken_out_and_put_back_is_the_same(tail: bytes, cut: int) -> None:
    """Of any bytes, protobuf's or not."""
    kind = schema.raw_message("NetParameter")
    whole = net(blob(600)).SerializeToString()
    data = whole[: len(whole) - cut * 700] + tail
    where = places(kind.DESCRIPTOR)
    message, numbers = taken(Source(io.BytesIO(data)), len(data), where)
    assert b"".join(put(message, numbers, where)) == data
    assert len(message) < len(data) - 1000 * len(numbers)


@pytest.mark.parametrize("count", [0, 5, 100_000])
def test_a_file_is_protobufs_own_bytes_behind_the_seal(count: int, tmp_path: Path) -> None:
    param = proto.NetParameter(name="n")
    param.layer.add(name="a", type="InnerProduct", bottom=["x"], top=["y"]).phase = proto.TEST
    values, gradients = np.arange(count, dtype=np.float32), np.ones(count, np.float32)
    proto.write_weights(tmp_path / "x", param, {"a": [values]}, {"a": [gradients]})
    param.layer[0].blobs.append(blob(count))
    param.layer[0].blobs[0].diff.extend(gradients)
    data = (tmp_path / "x").read_bytes()
    expected = param.SerializeToString()
    assert data[17:] == expected if count else proto.NetParameter.FromString(data[17:]) == param


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(net(blob(1000)).SerializeToString())
    monkeypatch.setattr(
        "sdcaffe.reading.os.fstat", lambda fd: path.stat().__class__((33188, 0, 0, 0, 0, 0, 99999, 0, 0, 0))
    )
    assert "has become shorter while it was read" in refusal(WeightsError, proto.read_weights, path)
