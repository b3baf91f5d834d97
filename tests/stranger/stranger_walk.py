"""What a user does with a stranger's layers, in a program of its own: prints what a test compares, as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch

import sdcaffe
from sdcaffe.cli import main

BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "norm" type: "StrangeNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "scale" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "scale" top: "scale" }
layer { name: "gate" type: "StrangeGate" bottom: "scale" top: "gate"
  strange_gate_param { filler { type: "constant" value: 2 } } }
layer { name: "conv2" type: "Convolution" bottom: "gate" top: "conv2"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "norm2" type: "StrangeNorm" bottom: "conv2" top: "norm2" }
layer { name: "scale2" type: "Scale" bottom: "norm2" top: "scale2" scale_param { bias_term: true } }
layer { name: "relu2" type: "ReLU" bottom: "scale2" top: "relu2" }
layer { name: "last" type: "Convolution" bottom: "relu2" top: "last"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "pool" type: "Pooling" bottom: "last" top: "pool" pooling_param { pool: AVE global_pooling: true } }
"""
DEPLOY = """name: "strange"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }"""
TRAIN = """name: "strange"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 8 dim: 3 dim: 4 dim: 4 }
  shape { dim: 8 } data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" top: "loss" }'
SOLVER = """net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: {iterations} display: 1
snapshot: 2 snapshot_prefix: "{prefix}" solver_mode: CPU random_seed: 1"""


def run(*arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(list(arguments))
    if code:
        raise SystemExit(f"{arguments} ended with {code}: {out.getvalue()}")
    return out.getvalue()


def main_walk() -> dict[str, object]:
    Path("deploy.prototxt").write_text(DEPLOY + BODY)
    Path("train.prototxt").write_text(TRAIN + BODY + LOSS)
    found: dict[str, object] = {"layers": run("layers"), "norm": run("layers", "StrangeNorm")}
    for prefix, iterations in (("whole", 4), ("half", 2), ("rest", 4)):
        Path(f"{prefix}.prototxt").write_text(SOLVER.format(iterations=iterations, prefix=prefix))
    run("train", "--solver", "whole.prototxt")
    run("train", "--solver", "half.prototxt")
    run("train", "--solver", "rest.prototxt", "--snapshot", "half_iter_2.solverstate")
    whole, rest = (sdcaffe.read_weights(f"{name}_iter_4.caffemodel") for name in ("whole", "rest"))
    found["resumed alike"] = all(
        np.array_equal(a, b)
        for one, two in zip(whole, rest, strict=True)
        for a, b in zip(one.blobs, two.blobs, strict=True)
    )
    weights = "whole_iter_4.caffemodel"
    found["weights"] = {entry.name: [blob.tolist() for blob in entry.blobs] for entry in whole if entry.blobs}
    from strange_layers import StrangeNorm

    StrangeNorm.called.clear()
    training = sdcaffe.Net("train.prototxt", sdcaffe.TRAIN, weights)
    training.forward()
    found["called in training"] = list(StrangeNorm.called)
    StrangeNorm.called.clear()
    net = sdcaffe.Net("deploy.prototxt", sdcaffe.TEST, weights)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    with torch.no_grad():
        found["net"] = net.forward({"data": x})["pool"].tolist()
    found["called in the test phase"] = list(StrangeNorm.called)
    run("export", "deploy.prototxt", weights, "-o", "net.onnx")
    import onnx
    import onnxruntime

    found["operators"] = [node.op_type for node in onnx.load("net.onnx").graph.node]
    found["onnx"] = onnxruntime.InferenceSession("net.onnx").run(None, {"data": x})[0].tolist()
    run("convert", "module", "deploy.prototxt", "net.py", "--weights", weights)
    found["source"] = Path("net.py").read_text()
    namespace: dict[str, object] = {"__name__": "net"}
    exec(compile(Path("net.py").read_text(), "net.py", "exec"), namespace)
    module = namespace["Strange"]().eval()
    module.load_state_dict(torch.load("net.pt", weights_only=True))
    with torch.no_grad():
        found["module"] = module(torch.from_numpy(x)).tolist()
    run("draw", "deploy.prototxt", "-o", "net.svg")
    found["drawing"] = Path("net.svg").read_text()
    found["summary"] = run("summary", "deploy.prototxt")
    found["x"] = x.tolist()
    return found


if __name__ == "__main__":
    json.dump(main_walk(), sys.__stdout__)
