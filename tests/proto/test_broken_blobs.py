"""A broken BlobProto is refused in files of every age, in states and alone, by whatever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError


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
