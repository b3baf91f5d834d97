"""Texts of a binary net that are not UTF-8, as C++ writes them: refused by their place where the net is upgraded."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdcaffe import proto
from sdcaffe.cli import main


def field(number: int, payload: bytes) -> bytes:
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + bytes([len(payload)]) + payload


ODD = b"a\xe9"
V1, V0 = field(4, b"fc") + b"\x28\x0e", field(1, b"fc") + field(2, b"innerproduct")
NETS = {
    "name": field(1, ODD) + field(2, V1),
    "input[1]": field(2, V1) + field(3, b"x") + field(3, ODD),
    "layers[0].name": field(2, b"\x28\x0e" + field(4, ODD)),
    "layers[0].bottom[0]": field(2, V1 + field(2, ODD)),
    "layers[1].top[1]": field(2, V1) + field(2, V1 + field(3, b"x") + field(3, ODD)),
    "layers[0].param[0]": field(2, V1 + b"\xca\x3e" + bytes([len(ODD)]) + ODD),
    "layers[0].include[0].stage[0]": field(2, V1 + b"\x82\x02\x04" + b"\x22" + bytes([2]) + ODD),
    "layers[0].data_param.source": field(2, field(4, b"d") + b"\x28\x05" + field(11, field(1, ODD))),
    "layers[0].layer.name": field(2, field(1, field(1, ODD) + field(2, b"relu"))),
    "layers[0].layer.type": field(2, field(1, field(1, b"a") + field(2, ODD))),
    "layers[0].layer.source": field(2, field(1, V0 + field(16, ODD))),
}


@pytest.mark.parametrize("place", NETS)
def test_an_old_net_is_refused_by_the_place(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.caffemodel").write_bytes(NETS[place])
    assert main(["upgrade", str(tmp_path / "w.caffemodel"), str(tmp_path / "o.caffemodel")]) == 1
    error = capsys.readouterr().err
    assert f"w.caffemodel: {place} is not UTF-8" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o.caffemodel").exists()


def test_a_net_of_the_current_form_keeps_its_bytes(tmp_path: Path) -> None:
    net = field(1, ODD) + b"\xa2\x06" + bytes([4]) + field(1, ODD)
    (tmp_path / "w.caffemodel").write_bytes(net)
    assert main(["upgrade", str(tmp_path / "w.caffemodel"), str(tmp_path / "o.caffemodel")]) == 0
    assert (tmp_path / "o.caffemodel").read_bytes().endswith(net)
    assert proto.read_weights(tmp_path / "o.caffemodel")[0].name == "a\ufffd"
