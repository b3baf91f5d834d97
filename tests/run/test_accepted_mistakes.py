"""What BVLC Caffe trains with though it makes no sense is refused by its place in the solver, before a net is built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdcaffe import Solver
from sdcaffe.cli import main
from sdcaffe.errors import SolverError

COUNTS = "max_iter snapshot display test_interval stepsize average_loss iter_size test_iter stepvalue device_id"
FACTORS = "base_lr gamma power momentum momentum2 rms_decay delta weight_decay clip_gradients"
GOOD = 'lr_policy: "fixed"\nnet: "none.prototxt"\n'


def with_field(field: str, value: str) -> str:
    rest = {"base_lr": "0.1", "max_iter": "4"}
    rest.pop(field, None)
    return GOOD + f"{field}: {value}\n" + "".join(f"{name}: {number}\n" for name, number in rest.items())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [(field, value, "it must be 0 or more") for field in COUNTS.split() for value in ("-1", "-2147483648")]
    + [(field, value, "it must be a finite number") for field in FACTORS.split() for value in ("nan", "inf", "-inf")],
)
def test_refused_by_its_place(
    field: str,
    value: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.prototxt").write_text(with_field(field, value))
    assert main(["train", "s.prototxt"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"sdcaffe: error: s.prototxt:3:1: {field} is ")
    assert told in error.splitlines()[0]
    assert os.listdir() == ["s.prototxt"]


def test_a_prefix_that_names_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.prototxt").write_text(with_field("snapshot_prefix", r'"a\000b"'))
    assert main(["train", "s.prototxt"]) == 1
    assert "s.prototxt:3:1: snapshot_prefix holds a zero byte" in capsys.readouterr().err
    with pytest.raises(SolverError, match="snapshot_prefix holds a zero byte"):
        Solver("s.prototxt")
    assert os.listdir() == ["s.prototxt"]


def test_the_second_of_several_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.prototxt").write_text(with_field("stepvalue", "7\nstepvalue: -8"))
    assert main(["train", "s.prototxt"]) == 1
    assert "s.prototxt:4:1: stepvalue is -8" in capsys.readouterr().err


def test_a_solver_of_ones_own_takes_what_caffe_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 } } }\n'
        'layer { name: "s" type: "Silence" bottom: "x" }'
    )
    Path("s.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: -1 stepsize: -1')
    assert Solver("s.prototxt").iter == 0


@pytest.mark.parametrize("name", ["out.abc", "out", "out.caffemodel.txt", "out.PT", ".", "out.pt.gz", "out.onnx"])
def test_weights_of_no_known_ending(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "weights", str(tmp_path / "none.caffemodel"), str(tmp_path / name)]) == 1
    assert "ends in none of .caffemodel, .h5, .pt, .pth, .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.abc", "out", "out.pt", "out.onnx.gz", "out.ONNX"])
def test_an_export_of_no_known_ending(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "n.prototxt"), str(tmp_path / "w"), "-o", str(tmp_path / name)]) == 1
    assert f"{name}: is to be an ONNX file, whose name ends in .onnx" in capsys.readouterr().err


def test_one_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.prototxt").write_text(with_field("stepvalue", "[1, -2]"))
    assert main(["train", "s.prototxt"]) == 1
    assert capsys.readouterr().err.startswith("sdcaffe: error: s.prototxt:3:1: stepvalue is -2; it must be 0 or more\n")
