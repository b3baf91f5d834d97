"""Every flag that takes numbers, with numbers that make no sense: one line that refuses it, or a run that ends.

The flags are those of the parsers, so that a new one is tried too.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdcaffe import commands
from sdcaffe.cli import main
from sdcaffe.flags import Parser

VALUES = ("-1", "0", "nan", "inf", "1e400", str(2**63), "x", "")
NET = """name: "n"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "prob" type: "Softmax" bottom: "y" top: "prob" }
"""
TRAIN = """name: "n"
layer { name: "d" type: "DummyData" top: "x" top: "l"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "z" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "l" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "z" bottom: "l" top: "accuracy" }
"""
SMALL = 'source: "synthetic:train" batch_size: 2'
DISTILL = f"""name: "small"
layer {{ name: "data" type: "Data" top: "data" top: "label" data_param {{ {SMALL} }} include {{ phase: TRAIN }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" data_param {{ {SMALL} }} include {{ phase: TEST }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "logits" inner_product_param {{ num_output: 10 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "logits" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "logits" bottom: "label" top: "accuracy" }}
"""
DETECTOR = """name: "d"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "f" convolution_param { num_output: 2 kernel_size: 8 } }
layer { name: "prior" type: "PriorBox" bottom: "f" bottom: "x" top: "p" prior_box_param { min_size: 4 } }
layer { name: "loc" type: "InnerProduct" bottom: "f" top: "loc" inner_product_param { num_output: 4 } }
layer { name: "conf" type: "InnerProduct" bottom: "f" top: "c" inner_product_param { num_output: 2 } }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "c" bottom: "p" top: "found"
  detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.5 } keep_top_k: 2 } }
"""
XML = (
    "<annotation><size><width>8</width><height>8</height></size><object><name>1</name><difficult>0</difficult>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></object></annotation>"
)
SOLVER = 'net: "train.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "run"'
# A command line that is done in a moment, for each command that has such flags.
LINES = {
    "classify": "net.prototxt run_iter_1.caffemodel 0.png",
    "convert images": "classes o_lmdb",
    "convert-annoset": "./ boxes.txt o_lmdb --anno-type detection --label-map-file labels.prototxt",
    "convert-imageset": "./ list.txt o_lmdb",
    "convert-mnist-siamese-data": "images labels o_leveldb",
    "detect": "detector.prototxt 0.png --weights none.caffemodel -o found",
    "device-query": "",
    "directions": "train.prototxt --weights run_iter_1.caffemodel --iterations 1 --orders 1 --points 1 --csv o.csv",
    "export": "net.prototxt run_iter_1.caffemodel -o o.onnx",
    "extract-features": "run_iter_1.caffemodel train.prototxt y o_lmdb 1 lmdb",
    "reproduce": "--table study --dry-run",
    "self-distill": "distill.prototxt -o o.prototxt",
    "summary": "net.prototxt",
    "test": "train.prototxt --weights run_iter_1.caffemodel --iterations 1",
    "time": "train.prototxt --iterations 1",
    "train": "solver.prototxt",
}
# Flags of numbers that the type alone does not show.
BY_NAME = {"--gpu": "{}", "--shape": "x={},3,8,8", "--set": "base_lr={}", "--device": "cuda:{}", "--mean": "{}"}
SLOW = {"export", "reproduce"}  # what is accepted takes seconds


def parsers(group: str = commands.__name__, words: str = "") -> Iterator[tuple[str, Parser]]:
    for name in commands.names(group):
        module = commands.load(name, group)
        if commands.is_group(module):
            yield from parsers(module.__name__, f"{words}{name} ")
        else:
            parser = Parser(name, None)
            module.add_flags(parser)
            yield words + name, parser


def takes_numbers(action: argparse.Action) -> bool:
    if not callable(action.type):
        return False
    try:
        found = action.type("3")
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return not isinstance(found, str)


FLAGS = [
    (command, action.option_strings[-1], BY_NAME.get(action.option_strings[-1], "{}"))
    for command, parser in parsers()
    for action in parser._actions
    if action.option_strings and (action.option_strings[-1] in BY_NAME or takes_numbers(action))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place, before = tmp_path_factory.mktemp("numbers"), os.getcwd()
    os.chdir(place)
    for name, text in {"net": NET, "train": TRAIN, "distill": DISTILL, "detector": DETECTOR, "solver": SOLVER}.items():
        Path(f"{name}.prototxt").write_text(text)
    Path("classes/a").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype="u1")
    for name in ("0.png", "classes/a/0.png"):
        Image.fromarray(pixels).save(name)
    Path("list.txt").write_text("0.png 0\n")
    Path("boxes.txt").write_text("0.png 0.xml\n")
    Path("0.xml").write_text(XML)
    Path("labels.prototxt").write_text('item { name: "1" label: 1 display_name: "one" }')
    Path("images").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(8))
    Path("labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]))
    assert main(["train", "solver.prototxt"]) == 0
    from sdcaffe import Net, proto

    Net(proto.read_net("detector.prototxt"), proto.TEST).save("none.caffemodel")
    yield place
    os.chdir(before)


def test_every_command_with_such_flags_has_a_line() -> None:
    assert {command for command, _, _ in FLAGS} <= set(LINES) | {"convert module", "convert onnx-to-caffe"}


@pytest.mark.parametrize(
    ("command", "flag", "form"),
    [pytest.param(*found, marks=pytest.mark.slow if found[0] in SLOW else ()) for found in FLAGS if found[0] in LINES],
)
def test_numbers_that_make_no_sense(
    command: str, flag: str, form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for value in VALUES:
        code = main([*command.split(), *LINES[command].split(), f"{flag}={form.format(value)}"])
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("sdcaffe: error: ")]
        assert (code, len(told)) in ((0, 0), (1, 1), (2, 1)), (value, err)
        assert "Traceback" not in out + err
        for made in folder.glob("o_*"):
            shutil.rmtree(made)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
