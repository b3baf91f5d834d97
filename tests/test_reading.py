"""Whatever path a command, a net, a list or a state names: only a regular file is opened, and nothing is waited for."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from sdcaffe import proto, reading
from sdcaffe.cli import main
from sdcaffe.errors import DataError, SdcaffeError

NET = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "run"'
KINDS = ["pipe", "/dev/zero", "folder", "link", "socket"]

COMMANDS = [
    "summary PATH",
    "time PATH --iterations=1",
    "draw PATH o.svg",
    "train PATH",
    "train solver.prototxt --snapshot PATH",
    "train solver.prototxt --weights PATH",
    "test net.prototxt --weights PATH --iterations 1",
    "upgrade PATH o.prototxt",
    "convert weights PATH o.pt",
    "convert weights PATH o.caffemodel --net net.prototxt",
    "convert weights weights.caffemodel o.pt --like PATH",
    "convert mean PATH o.npy",
    "convert module net.prototxt o.py --weights PATH",
    "convert onnx-to-caffe PATH o.prototxt o.caffemodel",
    "export PATH weights.caffemodel -o o.onnx",
    "export net.prototxt PATH -o o.onnx",
    "export net.prototxt weights.caffemodel -o o.onnx --classes PATH",
    "classify net.prototxt PATH x.png",
    "classify net.prototxt weights.caffemodel x.png --mean PATH",
    "parse-log PATH .",
    "plot PATH -o o.svg",
    "self-distill PATH o.prototxt",
    "convert-imageset root/ PATH out_lmdb",
    "compute-image-mean PATH o.binaryproto",
    "compute-image-mean PATH o.binaryproto --backend=leveldb",
    "convert-mnist-data PATH PATH out_lmdb",
    "extract-features PATH net.prototxt y out_lmdb 1",
    "pycaffe PATH",
]
NAMED = [
    'type: "HDF5Data" top: "a" hdf5_data_param { source: "PATH" batch_size: 1 }',
    'type: "HDF5Data" top: "a" hdf5_data_param { source: "list.txt" batch_size: 1 }',
    'type: "ImageData" top: "a" top: "b" image_data_param { source: "PATH" batch_size: 1 }',
    'type: "ImageData" top: "a" top: "b" image_data_param { source: "labels.txt" batch_size: 1 }',
    'type: "WindowData" top: "a" top: "b" window_data_param { source: "PATH" batch_size: 1 } '
    "transform_param { crop_size: 8 }",
    'type: "WindowData" top: "a" top: "b" window_data_param { source: "windows.txt" batch_size: 1 } '
    "transform_param { crop_size: 8 }",
    'type: "Data" top: "a" data_param { source: "PATH" batch_size: 1 backend: LMDB }',
    'type: "Data" top: "a" data_param { source: "PATH" batch_size: 1 backend: LEVELDB }',
    'type: "Data" top: "a" data_param { source: "synthetic:test" batch_size: 1 } transform_param { mean_file: "PATH" }',
    'type: "InfogainLoss" bottom: "x" bottom: "x" top: "a" infogain_loss_param { source: "PATH" }',
]


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path of the kind asked for, in a folder with a net, a solver and weights."""
    monkeypatch.chdir(tmp_path)
    kind = request.param
    if kind == "pipe":
        os.mkfifo("pipe")
    elif kind == "folder":
        os.mkdir("folder")
    elif kind == "link":
        os.symlink("/dev/zero", "link")
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind("socket")
        server.close()
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    net = proto.read_net("net.prototxt")
    proto.write_weights("weights.caffemodel", net, {"ip": [np.zeros((2, 3), "f4"), np.zeros(2, "f4")]})
    Path("list.txt").write_text(kind)
    Path("labels.txt").write_text(f"{kind} 0\n")
    Path("windows.txt").write_text(f"# 0 {kind} 3 8 8 1\n1 1 0 0 4 4\n")
    return str(kind)


@pytest.mark.parametrize("path", KINDS[:3], indirect=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_opens_regular_files_only(command: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(os.listdir("."))
    assert main(command.replace("PATH", path).split()) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("sdcaffe: error: ")] == lines[-1:]
    assert set(os.listdir(".")) - before <= {"run.log"}


@pytest.mark.parametrize("path", KINDS, indirect=True)
@pytest.mark.parametrize("layer", NAMED)
def test_a_net_opens_regular_files_only(layer: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.prototxt").write_text(f"{NET}\nlayer {{ name: 'data' {layer.replace('PATH', path)} }}")
    assert main(["time", "-model", "data.prototxt", "-iterations", "1", "-phase", "TRAIN"]) == 1
    assert "sdcaffe: error: " in capsys.readouterr().err


@pytest.mark.parametrize("path", KINDS, indirect=True)
def test_a_state_leads_to_regular_files_only(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    proto.write_state("s.solverstate", proto.State(iter=1, learned_net=path, history=[]))
    for command in ("train solver.prototxt --snapshot s.solverstate", "export net.prototxt s.solverstate -o o.onnx"):
        assert main(command.split()) == 1
        message = f"s.solverstate: its weights {path} are no regular file, here and beside it"
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("learned_net", ["a\0b", "\0", "x" * 5000, "no/such/file", "."])
def test_a_state_with_a_name_that_is_none(
    learned_net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    proto.write_state("s.solverstate", proto.State(iter=1, learned_net=learned_net, history=[]))
    assert main(["train", "solver.prototxt", "--snapshot", "s.solverstate"]) == 1
    assert "here and beside it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_what_cannot_be_a_name_is_an_error(name: str) -> None:
    for function in (reading.read, reading.check):
        with pytest.raises(DataError):
            function(name)
    assert not reading.is_regular(name)
    with pytest.raises(DataError), proto.atomic_write(name, DataError):
        pass


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(11))
    assert reading.read(path, most=11) == bytes(11)
    with pytest.raises(DataError, match=r"large: cannot read the list: has 11 bytes; at most 10 are read"):
        reading.read(path, DataError, "the list", 10)


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 27)
    monkeypatch.setattr(reading, "free_memory", lambda: 1000)
    with pytest.raises(DataError, match="has 134217728 bytes, more than the 1000 bytes of memory that are free"):
        reading.read(path)


def test_a_file_that_says_no_size_is_read() -> None:
    assert b"MemAvailable" in reading.read("/proc/meminfo")
    assert 0 < reading.free_memory() < 1 << 62


def test_a_regular_file_that_would_be_waited_for_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc/kmsg, which a test had better not read: who reads it takes it from others."""
    out, into = os.pipe()
    assert not reading._has_something(out)
    os.write(into, b"x")
    assert reading._has_something(out)
    os.close(into)
    os.close(out)
    path = tmp_path / "kmsg"
    path.touch()
    assert reading.read(path) == b""
    monkeypatch.setattr(reading, "_has_something", lambda descriptor: False)
    with pytest.raises(DataError, match="kmsg: has nothing to be read yet"):
        reading.read(path)


@pytest.mark.parametrize("name", ["m.binaryproto", "m.npy", "m.caffemodel", "m.solverstate", "m.prototxt", "m.onnx"])
def test_a_file_beyond_all_formats_is_refused_before_it_is_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.touch()
    os.truncate(path, 1 << 33)
    before = time.process_time()
    for command in ("convert mean {} o.npy", "convert weights {} o.pt", "summary {}", "upgrade {} o.caffemodel"):
        assert main([word.format(path) for word in command.split()]) == 1
        assert capsys.readouterr().err.count("sdcaffe: error: ") == 1
    for read in (proto.read_blob, proto.read_state, proto.read_net, proto.read_weights):
        with pytest.raises(SdcaffeError):
            read(path)
    assert time.process_time() - before < 5
