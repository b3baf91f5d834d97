"""The paper's layers and the forks' are guests: with both hidden, the rest of sdcaffe stands and LeNet trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from sdcaffe.log import parse_log

# Run before anything else in a program of its own: nothing can import the two packages after it.
HIDE = """
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if (name + ".").startswith(("sdcaffe.paper.", "sdcaffe.forks.")):
            raise ModuleNotFoundError(f"{name} is hidden", name=name)

sys.meta_path.insert(0, Hidden())
"""

# Caffe's examples/mnist/lenet_train_test.prototxt but for the source of its digits and its smaller batches.
LENET = """
name: "LeNet"
layer { name: "mnist" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 32 } }
layer { name: "mnist" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
  hdf5_data_param { source: "test.txt" batch_size: 50 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 stride: 1
    weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 50 kernel_size: 5 stride: 1
    weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "lenet.prototxt" test_iter: 2 test_interval: 25 test_initialization: false
base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv" gamma: 0.0001 power: 0.75
display: 5 max_iter: 25 snapshot_prefix: "lenet" solver_mode: CPU random_seed: 1
"""


def hidden(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDE + code], cwd=folder, capture_output=True, text=True)


def write_digits(folder: Path, name: str, count: int, seed: int) -> None:
    """Digits of a kind: class c is a bright row of a noisy 28 x 28 picture, at a height of its own."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    pictures = random.uniform(0, 0.5, (count, 1, 28, 28)).astype(np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        picture[0, 4 + 2 * label] += 0.5
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file["data"], file["label"] = pictures, labels.astype(np.float32)
    (folder / f"{name}.txt").write_text(f"{name}.h5\n")


def test_lenet_trains_without_the_guests(tmp_path: Path) -> None:
    write_digits(tmp_path, "train", 640, seed=1)
    write_digits(tmp_path, "test", 100, seed=2)
    (tmp_path / "lenet.prototxt").write_text(LENET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    run = 'from sdcaffe.cli import main; assert main(["train", "--solver", "solver.prototxt", "--device", "cpu"]) == 0'
    guests = 'print([name for name in sys.modules if name.startswith(("sdcaffe.paper", "sdcaffe.forks"))])'
    done = hidden(f"{run}; {guests}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
    (tmp_path / "train.log").write_text(done.stderr)
    log = parse_log(tmp_path / "train.log")
    losses = [row.loss for row in log.train]
    assert losses[-1] < losses[0] / 2
    assert log.test[-1].outputs["accuracy"] > 0.9
    assert (tmp_path / "lenet_iter_25.caffemodel").is_file()


def test_no_room_of_the_core_imports_a_guest(tmp_path: Path) -> None:
    rooms = ["proto", "graph", "layers", "data", "net", "solver", "run", "log", "tools", "pycaffe"]
    code = f'from sdcaffe.layers import import_all\nfor room in {rooms}: import_all("sdcaffe." + room)'
    done = hidden(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_layer_of_a_guest_is_then_unknown(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text('layer { name: "l" type: "KLLoss" }')
    done = hidden('import sdcaffe; sdcaffe.Net("net.prototxt")', tmp_path)
    assert 'unknown layer type "KLLoss" in layer "l"' in done.stderr


NEED_GUESTS = {
    "sdcaffe.paper": [
        ["compare"],
        ["reproduce", "--dry-run"],
        ["self-distill", "net.prototxt", "-o", "out.prototxt"],
        ["directions", "net.prototxt", "--weights", "net.caffemodel", "-o", "out.png"],
        ["convert", "dense-blocks", "old.caffemodel", "net.prototxt", "new.caffemodel"],
    ],
    "sdcaffe.forks": [
        ["detect", "net.prototxt", "picture.png", "--weights", "net.caffemodel", "-o", "found"],
        ["convert-annoset", "--anno_type=detection", "--label_map_file=map.prototxt", "pictures/", "boxes.txt", "db"],
    ],
}


def test_a_command_that_needs_a_guest_says_so_in_one_line(tmp_path: Path) -> None:
    code = "import sys; from sdcaffe.cli import main\n"
    code += f"for command in {[command for of in NEED_GUESTS.values() for command in of]}: assert main(command) == 1\n"
    done = hidden(code + 'sys.stderr.write("--\\n"); assert main(["--help"]) == 0', tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stderr.splitlines()
    assert last == "--"
    wanted = [guest for guest, commands in NEED_GUESTS.items() for _ in commands]
    errors = [line for line in lines if "sdcaffe: error:" in line]
    assert len(errors) == len(wanted)
    for guest, line in zip(wanted, errors, strict=True):
        assert line.startswith(f"sdcaffe: error: this command needs {guest}"), line
    assert "  compare " in done.stdout
