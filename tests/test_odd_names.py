"""Files whose names are not UTF-8 are read and written as any others; what is said of them shows the byte."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main

FILES = Path(__file__).parent / "goldens" / "files"
ODD = os.fsdecode(b"w\xff")
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
"""
TRAINED = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }
"""
# In this order: what one writes, another reads. ODD stands for W.
COMMANDS = [
    ("summary W.prototxt", []),
    ("draw W.prototxt -o W.svg", ["W.svg"]),
    ("upgrade W.prototxt W2.prototxt", ["W2.prototxt"]),
    ("convert weights W.caffemodel W.pt", ["W.pt"]),
    ("convert weights W.pt W.caffemodel.h5", ["W.caffemodel.h5"]),
    ("convert weights W.caffemodel.h5 W.safetensors --net W.prototxt", ["W.safetensors"]),
    ("convert mean W.npy W.binaryproto", ["W.binaryproto"]),
    ("convert module W.prototxt W.py --weights W.caffemodel", ["W.py"]),
    ("export W.prototxt W.caffemodel -o W.onnx --classes W.names", ["W.onnx"]),
    ("classify W.onnx W.png --scale 1", []),
    ("convert onnx-to-caffe W.onnx W3.prototxt W3.caffemodel", ["W3.prototxt", "W3.caffemodel"]),
    ("convert-imageset --resize_height=4 --resize_width=4 ./ W.list W_lmdb", ["W_lmdb"]),
    ("compute-image-mean W_lmdb W4.binaryproto", ["W4.binaryproto"]),
    ("convert-imageset --resize_height=4 --resize_width=4 --backend leveldb ./ W.list W_leveldb", ["W_leveldb"]),
    ("compute-image-mean W_leveldb W5.binaryproto", ["W5.binaryproto"]),
    ("parse-log W.log .", ["W.log.train", "W.log.test"]),
    ("plot W.log -o W.png.svg", ["W.png.svg"]),
]


def test_every_command_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        Path(f"{ODD}.prototxt").write_text(NET)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    net = proto.read_net(f"{ODD}.prototxt")
    blobs = {"ip": [np.zeros((2, 48), "f4"), np.zeros(2, "f4")]}
    proto.write_weights(f"{ODD}.caffemodel", net, blobs)
    shutil.copy(FILES / "caffe_train.log", f"{ODD}.log")
    shutil.copy(FILES / "mean.npy", f"{ODD}.npy")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save("a.png")
    os.rename("a.png", f"{ODD}.png")
    Path(f"{ODD}.names").write_text("cat\ndog\n")
    Path(f"{ODD}.list").write_bytes(b"w\xff.png 0\n")
    for command, outputs in COMMANDS:
        assert main([word.replace("W", ODD) for word in command.split()]) == 0, (command, capsys.readouterr().err)
        for output in outputs:
            assert os.path.exists(output.replace("W", ODD)), command
    said = capsys.readouterr().out
    assert "Wrote w\\xff.pt: 1 layers with blobs" in said
    assert said.isascii()


@pytest.mark.parametrize("name", ["loop", "a\0b"])
@pytest.mark.parametrize("command", [command for command, _ in COMMANDS])
def test_every_command_refuses_a_name_of_no_file(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link that leads to itself, and a name that no system takes."""
    monkeypatch.chdir(tmp_path)
    ends = (".prototxt", ".caffemodel", ".pt", ".npy", ".onnx", ".png", ".list", "_lmdb", ".log", ".caffemodel.h5")
    for link in [f"loop{end}" for end in ends]:
        os.symlink(link, link)
    assert main([word.replace("W", name) for word in command.split()]) in (1, 2)
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith("sdcaffe: error: ") for line in told if "error" in line] == [True]
    assert sorted(os.listdir()) == sorted(f"loop{end}" for end in ends)


def test_a_solver_names_its_run_after_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message can hold the name: what is written shows the byte."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TRAINED)
    try:
        Path(f"{ODD}.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert main(["train", f"{ODD}.prototxt"]) == 0
    assert main(["train", f"{ODD}.prototxt", "--snapshot", "auto"]) == 0
    assert {"w\\xff.log", "w\\xff_iter_1.caffemodel", "w\\xff_iter_1.solverstate"} < set(os.listdir())
