"""A broken BlobProto is refused in files of every age, in states and alone, by whatever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdcaffe import proto, reading
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.proto import numbers


def field(number: int, kind: int, payload: bytes) -> bytes:
    """A field of the wire format; `kind` 2 gets its length."""
    tag = number << 3 | kind
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + (bytes([len(payload) & 127 | 128, len(payload) >> 7]) if kind == 2 else b"") + payload


SHAPE = field(7, 2, field(1, 2, b"\x02\x03"))  # 2 x 3
BROKEN = {
    "bytes too few for a number": SHAPE + field(5, 2, bytes(23)),
    "one byte too many": SHAPE + field(5, 2, bytes(25)),
    "one number too few": SHAPE + field(5, 2, bytes(20)),
    "doubles of 7 bytes": SHAPE + field(8, 2, bytes(47)),
    "no number at all": SHAPE,
    "numbers as a varint": SHAPE + field(5, 0, b"\x01") * 6,
    "numbers as doubles": SHAPE + field(5, 1, bytes(8)) * 6,
    "two numbers of six": SHAPE + field(5, 5, bytes(4)) * 2,
    "packed and not packed": SHAPE + field(5, 2, bytes(12)) + field(5, 5, bytes(4)) * 2,
    "a shape that is a number": field(7, 0, b"\x03") + field(5, 2, bytes(24)),
    "a shape of bytes that are no message": field(7, 2, b"\xff\xff\xff") + field(5, 2, bytes(24)),
    "a negative axis": field(7, 2, field(1, 2, b"\xff" * 9 + b"\x01")) + field(5, 2, bytes(24)),
    "axes beyond counting": field(7, 2, field(1, 2, (b"\xff" * 8 + b"\x7f") * 4)) + field(5, 2, bytes(24)),
    "33 axes": field(7, 2, field(1, 2, b"\x01" * 33)) + field(5, 2, bytes(4)),
    "a negative number of images": field(1, 0, b"\xff" * 9 + b"\x01") + field(5, 2, bytes(24)),
    "four axes of another count": b"".join(field(n, 0, b"\x02") for n in (1, 2, 3, 4)) + field(5, 2, bytes(24)),
    "halves of an odd length": SHAPE + field(10, 0, b"\x02") + field(12, 2, bytes(11)),
    "an unknown raw type": SHAPE + field(10, 0, b"\x09") + field(12, 2, bytes(24)),
    "a field cut short": SHAPE + b"\x2a\x7f\x00",
    "a group without an end": SHAPE + b"\x2b",
    "a tag of no field": SHAPE + b"\x00\x00",
}
NAME = field(1, 2, b"fc")
FILES = {
    "current": lambda blob: field(100, 2, NAME + field(2, 2, b"InnerProduct") + field(7, 2, blob)),
    "V1": lambda blob: field(2, 2, field(4, 2, b"fc") + field(5, 0, b"\x0e") + field(6, 2, blob)),
    "V0": lambda blob: field(2, 2, field(1, 2, NAME + field(2, 2, b"innerproduct") + field(50, 2, blob))),
}


@pytest.mark.parametrize("age", FILES)
@pytest.mark.parametrize("flaw", BROKEN)
def test_in_weights(age: str, flaw: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(FILES[age](BROKEN[flaw]))
    with pytest.raises(WeightsError, match=r"w\.caffemodel"):
        proto.read_weights(path)
    for command in (
        ["convert", "weights", str(path), str(tmp_path / "o.pt")],
        ["upgrade", str(path), str(tmp_path / "o")],
    ):
        assert main(command) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["w.caffemodel"]


@pytest.mark.parametrize("flaw", BROKEN)
def test_in_states_and_means(flaw: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.solverstate").write_bytes(b"\x08\x02" + field(3, 2, BROKEN[flaw]))
    with pytest.raises(SnapshotError, match=r"s\.solverstate"):
        proto.read_state(tmp_path / "s.solverstate")
    (tmp_path / "m.binaryproto").write_bytes(BROKEN[flaw])
    with pytest.raises(WeightsError, match=r"m\.binaryproto"):
        proto.read_blob(tmp_path / "m.binaryproto")
    net = (
        'layer { name: "d" type: "Data" top: "a" data_param { source: "synthetic:test" batch_size: 1 } '
        f'transform_param {{ mean_file: "{tmp_path}/m.binaryproto" }} }}'
    )
    (tmp_path / "net.prototxt").write_text(net)
    assert main(["time", "-model", str(tmp_path / "net.prototxt"), "-iterations", "1"]) == 1
    assert "m.binaryproto" in capsys.readouterr().err


@pytest.mark.parametrize("flaw", BROKEN)
def test_in_a_message_at_hand(flaw: str) -> None:
    """What protobuf itself takes may still be no blob."""
    try:
        blob = proto.BlobProto.FromString(BROKEN[flaw])
    except Exception:  # DecodeError, whose class differs between versions of protobuf
        return
    with pytest.raises(SdcaffeError):
        proto.blob_to_array(blob)


EMPTY = field(7, 2, field(1, 2, b"\x00"))  # a blob of no numbers
MANY = {
    "layers": field(100, 2, b"") * 1500,
    "layers of Caffe's second age": field(2, 2, b"") * 1500,
    "layers behind a group": b"\x83\x7d\x84\x7d" + field(100, 2, b"") * 1500,
    "layers in a group": b"\x83\x7d" + field(100, 2, b"") * 1500 + b"\x84\x7d",
    "layers with a blob": (field(100, 2, field(7, 2, EMPTY))) * 750,
    "blobs": field(100, 2, NAME + field(7, 2, EMPTY) * 1500),
    "pieces of numbers": field(100, 2, NAME + field(7, 2, SHAPE + field(5, 2, b"") * 1500)),
    "other fields": field(3, 2, b"") * 1500 + field(100, 2, NAME),
    "other fields of a layer": field(100, 2, NAME + field(6, 2, b"") * 1500),
}


@pytest.mark.parametrize("what", MANY)
def test_fields_that_take_memory_without_numbers(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bytes of a file may be a layer, which takes some hundred times as many in memory."""
    (tmp_path / "w.caffemodel").write_bytes(MANY[what])
    monkeypatch.setattr(numbers, "_MOST_FIELDS", 1000)
    with pytest.raises(WeightsError, match="has more than 1000 fields around its numbers"):
        proto.read_weights(tmp_path / "w.caffemodel")


def test_what_stands_around_numbers_has_to_fit_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"".join(field(2000, 2, bytes(16_000)) for _ in range(100)) + FILES["current"](
        SHAPE + field(5, 2, bytes(24))
    )
    (tmp_path / "w.caffemodel").write_bytes(large)
    assert len(proto.read_weights(tmp_path / "w.caffemodel")) == 1
    monkeypatch.setattr(reading, "free_memory", lambda: 64 << 20)
    with pytest.raises(WeightsError, match="more than the 67108864 that are free"):
        proto.read_weights(tmp_path / "w.caffemodel")


def test_a_blob_of_very_many_axes_is_told_in_few_words(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").write_bytes(FILES["current"](field(7, 2, field(1, 2, b"\x01" * 9000))))
    with pytest.raises(WeightsError) as caught:
        proto.read_weights(tmp_path / "w.caffemodel")
    assert len(str(caught.value)) < 300
