"""Holds a net of one layer against an array in every form it has: the net, its ONNX model, its PyTorch module."""

from __future__ import annotations

import inspect

import numpy as np
import onnxruntime
import torch
from written import open_module

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main

sdcaffe.discover()


def net_text(body, arrays):
    """The prototxt of a layer "x" of bottoms "b0", "b1", ... as whose inputs `arrays` are given."""
    inputs = ""
    for i, array in enumerate(arrays):
        dims = " ".join(f"dim: {n}" for n in array.shape)
        inputs += f'layer {{ name: "b{i}" type: "Input" top: "b{i}" input_param {{ shape {{ {dims} }} }} }}\n'
    bottoms = " ".join(f'bottom: "b{i}"' for i in range(len(arrays)))
    return f'{inputs}layer {{ name: "x" {bottoms} top: "x" {body} }}\n'


def agree_everywhere(tmp_path, monkeypatch, body, arrays, want, blobs=(), tolerance=1e-5, top="x"):
    """Assert that each form gives `want` in the test phase, to `tolerance` of its largest, as the blob `top`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(net_text(body, arrays))
    net = sdcaffe.Net(proto.read_net("net.prototxt"), phase=proto.TEST)
    for blob, values in zip(net.layers["x"].blobs, blobs, strict=True):
        blob.data.copy_(torch.as_tensor(values).reshape(blob.shape))
    net.save("net.caffemodel")
    given = {f"b{i}": np.asarray(array, np.float32) for i, array in enumerate(arrays)}
    close(net({name: torch.tensor(array) for name, array in given.items()})[top], want, tolerance)
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    close(session.run(None, {one.name: given[one.name] for one in session.get_inputs()})[0], want, tolerance)
    weights = ["--weights", "net.caffemodel"] if len(net.layers["x"].blobs) else []
    assert main(["convert", "module", "net.prototxt", "module.py", *weights]) == 0
    module = open_module(tmp_path / "module.py")
    found = module(*[torch.tensor(given[name]) for name in inspect.signature(module.forward).parameters])
    close(found[top] if isinstance(found, dict) else found, want, tolerance)


def close(found, want, tolerance):
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == want.shape
    assert np.abs(found - want).max() <= tolerance * max(np.abs(want).max(), 1e-6)
