"""Detectors' rows in an exported model: a rounding may exchange boxes of nearly equal scores, and nothing more."""

from __future__ import annotations

import onnx
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_check import TOLERANCE, check
from sdcaffe.converters.onnx_metadata import ModelError

YOLO = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 24 dim: 6 dim: 6 } } }
layer { name: "out" type: "Yolov3DetectionOutput" bottom: "data" top: "out" yolov3_detection_output_param {
  num_classes: 3 mask_group_num: 1 anchors_scale: 32 mask: 0 mask: 1 mask: 2 confidence_threshold: 0.05
  biases: 20 biases: 37 biases: 49 biases: 94 biases: 73 biases: 201 } }
"""
SSD = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 6 dim: 8 dim: 1 } } }
layer { name: "prior" type: "Input" top: "prior" input_param { shape { dim: 1 dim: 2 dim: 32 } } }
layer { name: "loc" type: "Convolution" bottom: "data" top: "loc" convolution_param { num_output: 4 kernel_size: 1
  weight_filler { type: "gaussian" std: 0.4 } } }
layer { name: "flat" type: "Flatten" bottom: "loc" top: "flat" }
layer { name: "conf" type: "Convolution" bottom: "data" top: "conf" convolution_param { num_output: 3 kernel_size: 1
  weight_filler { type: "gaussian" std: 0.4 } } }
layer { name: "sure" type: "Sigmoid" bottom: "conf" top: "sure" }
layer { name: "flat_sure" type: "Flatten" bottom: "sure" top: "flat_sure" }
layer { name: "out" type: "DetectionOutput" bottom: "flat" bottom: "flat_sure" bottom: "prior" top: "out"
  detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 20 confidence_threshold: 0.1
  nms_param { nms_threshold: 0.9 } } }
"""


def exported(text):
    """A net with drawn weights, and its ONNX file's model."""
    with open("net.prototxt", "w") as file:
        file.write(text)
    torch.manual_seed(1)
    net = sdcaffe.Net(proto.read_net("net.prototxt"), phase=proto.TEST)
    net.save("net.caffemodel")
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx", "--static"]) == 0
    return net, onnx.load("net.onnx")


def reordered(model, parts):
    """The model with the rows of its output cut into `parts`, (start, end, step) each, and joined in that order."""
    graph = onnx.ModelProto.FromString(model.SerializeToString()).graph
    for node in graph.node:
        node.output[:] = ["rows" if name == "out" else name for name in node.output]
    for i, part in enumerate(parts):
        names = [f"part {i} {what}" for what in ("starts", "ends", "axes", "steps")]
        for name, value in zip(names, (part[0], part[1], 2, part[2]), strict=True):
            graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value]))
        graph.node.append(onnx.helper.make_node("Slice", ["rows", *names], [f"part {i}"]))
    graph.node.append(onnx.helper.make_node("Concat", [f"part {i}" for i in range(len(parts))], ["out"], axis=2))
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


END = 1 << 30


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("yolo"))
        return exported(YOLO)


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        ([(0, 4, 1), (5, 6, 1), (4, 5, 1), (6, END, 1)], True),
        ([(END, -END, -1)], False),
        ([(8, END, 1), (0, 8, 1)], False),
        ([(0, END, 1), (0, 3, 1)], False),
    ],
    ids=["two neighbours exchanged", "the other way round", "the best last", "three rows too many"],
)
def test_only_neighbours_may_be_exchanged(parts, same, yolo):
    net, model = yolo
    runs = [{"data": (1, 24, 6, 6)}]
    assert check(model.SerializeToString(), net, {"out": "out"}, runs).difference <= TOLERANCE
    other = reordered(model, parts).SerializeToString()
    try:
        found = check(other, net, {"out": "out"}, runs).difference <= TOLERANCE
    except ModelError:
        found = False
    assert found == same


def test_what_a_detection_reads_is_found_where_the_file_has_no_flatten(tmp_path, monkeypatch):
    """The file's own scores, 1e-3 apart from the net's, are what its detections are held against."""
    monkeypatch.chdir(tmp_path)
    net, model = exported(SSD)
    names = {name for node in model.graph.node for name in node.output}
    assert "flat_sure" not in names
    for node in model.graph.node:
        node.output[:] = ["exact" if name == "sure" else name for name in node.output]
    at = next(i for i, node in enumerate(model.graph.node) if "exact" in node.output)
    model.graph.initializer.append(onnx.helper.make_tensor("less", onnx.TensorProto.FLOAT, [], [0.999]))
    model.graph.node.insert(at + 1, onnx.helper.make_node("Mul", ["exact", "less"], ["sure"]))
    found = check(model.SerializeToString(), net, {"out": "out"}, [{"data": (1, 6, 8, 1), "prior": (1, 2, 32)}])
    assert found.output == "sure"
    assert 5e-4 < found.difference < 2e-3
