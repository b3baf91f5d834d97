from __future__ import annotations

import shlex
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import onnx
import onnx.parser
import pytest
from command_lines import FILES, ROOT
from warm_commands import WarmCommands

from sdcaffe import Net, commands
from sdcaffe.cli import main

QUICKSTART = "prototxt/quickstart/train_val_baseline.prototxt"
OUTPUTS = (
    "curves.png",
    "net.svg",
    "net.prototxt",
    "mean.binaryproto",
    "images_lmdb",
    "boxes_lmdb",
    "found",
    "image_folder",
    "cifar10_databases",
    "mean.npy",
    "features_lmdb",
    "weights.pt",
    "net.py",
    "blocks.caffemodel",
    "mnist_train_lmdb",
    "mnist_siamese_train_leveldb",
)
SLOW = {"train": pytest.mark.slow}


def all_commands() -> Iterator[tuple[str, ModuleType]]:
    """Each command as it is typed, and its module; those of groups too."""
    for name in commands.names():
        module = commands.load(name)
        if not commands.is_group(module):
            yield name, module
            continue
        for inner in commands.names(module.__name__):
            yield f"{name} {inner}", commands.load(inner, module.__name__)


COMMANDS = dict(all_commands())


def write_dense_net(folder: Path) -> None:
    """A net of one dense block, and weights for it."""
    head = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }\n'
    block = 'layer { name: "d" type: "DenseBlock" bottom: "x" top: "y" dense_block_param { layers: 1 growth: 2 } }\n'
    (folder / "blocks.prototxt").write_text(head + block)
    Net(str(folder / "blocks.prototxt")).save(folder / "written_out.caffemodel")


def write_idx(folder: Path) -> None:
    """Three images of two by two pixels and their labels, as MNIST comes."""
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 3, 2, 2) + bytes(range(12)))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 3) + bytes([7, 0, 7]))


# What the examples read, and the recorded file that stands for it.
INPUTS = {
    "pictures": "images",
    "list.txt": "list.txt",
    "picture.png": "images/im01.png",
    "train_lmdb": "lmdb_raw",
    "old.prototxt": "v0.prototxt",
    "runs/quickstart/baseline.log": "caffe_train.log",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own where the quickstart was trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prototxt").symlink_to(ROOT / "prototxt")
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    for name, recorded in INPUTS.items():
        (tmp_path / name).symlink_to(FILES / recorded)
    (tmp_path / "script.py").write_text("import sys, caffe; caffe.Net(sys.argv[1], caffe.TEST).forward()")
    (tmp_path / "map.prototxt").write_text('item { name: "dog" label: 1 }')
    (tmp_path / "boxes.txt").write_text("im01.png im01.xml\n")
    detector = ROOT / "tests" / "forks" / "recordings" / "ssd" / "training" / "ssd_tiny"
    (tmp_path / "detector.prototxt").symlink_to(detector / "deploy.prototxt")
    (tmp_path / "detector.caffemodel").symlink_to(detector / "final.caffemodel")
    write_dense_net(tmp_path)
    write_idx(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW.get(n, ())) for n in COMMANDS])
def test_the_example_of_each_command_works(
    name: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    warm: WarmCommands,
) -> None:
    example = COMMANDS[name].EXAMPLE
    program, *arguments = shlex.split(example)
    assert program == "sdcaffe"
    if "baseline_iter_400.caffemodel" in example:
        net = Net(QUICKSTART)
        net.save("runs/quickstart/baseline_iter_400.caffemodel")
        net.close()
    if name == "convert onnx-to-caffe":
        graph = onnx.parser.parse_graph("net (float[n, 3] x) => (float[n, 3] y) { y = Relu (x) }")
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), "net.onnx")
    if name == "convert cifar":
        monkeypatch.delenv("SDCAFFE_DATA", raising=False)
        official = folder / "data" / "cifar-10-batches-bin"
        official.mkdir(parents=True)
        for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            (official / f"{batch}.bin").write_bytes(bytes(2 * 3073))
    if name == "pycaffe":  # changes the process it runs in
        done = subprocess.run(["sdcaffe", *arguments], env=warm.environment, capture_output=True, text=True)
        code, error = done.returncode, done.stderr
    else:
        code, error = main(arguments), capsys.readouterr().err
    no_gpu = name == "device-query" and "no NVIDIA driver" in error
    assert code == (1 if no_gpu else 0), error
    for output in OUTPUTS:
        assert (folder / output).exists() == (output in arguments)
