"""A PReLU of one slope is nn.PReLU() to torch, one number to ONNX, and a blob without axes to Caffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import write_net
from torch import nn

from sdcaffe import proto
from sdcaffe.converters.module_source import convert as convert_module
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.weights import convert
from sdcaffe.net import Net

ONE_SLOPE = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "act" type: "PReLU" bottom: "conv" top: "conv" prelu_param { channel_shared: true } }
layer { name: "rows" type: "Reshape" bottom: "conv" top: "rows" reshape_param { shape { dim: 0 dim: 4 dim: -1 } } }
layer { name: "act2" type: "PReLU" bottom: "rows" top: "out" prelu_param { channel_shared: true } }
"""


def torchs() -> nn.ModuleDict:
    torch.manual_seed(3)
    return nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "act": nn.PReLU(init=0.1), "act2": nn.PReLU(init=-0.4)})


def output(module: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        top: torch.Tensor = module["act2"](module["act"](module["conv"](x)).flatten(2))
    return top


@pytest.mark.parametrize(("ending", "by_order"), [(".pt", False), (".safetensors", False), (".pt", True)])
def test_torchs_slopes_come_in(ending: str, by_order: bool, tmp_path: Path) -> None:
    model, weights = write_net(ONE_SLOPE, tmp_path)
    module = torchs()
    state = module.state_dict()
    theirs = tmp_path / f"theirs{ending}"
    if ending == ".pt":
        torch.save(state, theirs)
    else:
        pytest.importorskip("safetensors.torch").save_file(state, theirs)
    net = Net(model, proto.TEST, weights)
    for target in ("ours.caffemodel", "ours.caffemodel.h5"):
        convert(theirs, tmp_path / target, net=net, by_order=by_order)
        entries = {entry.name: entry.blobs for entry in proto.read_weights(tmp_path / target)}
        assert [entries[name][0].shape for name in ("act", "act2")] == [(), ()]
        x = torch.randn(2, 3, 4, 5)
        got = Net(model, proto.TEST, str(tmp_path / target))({"x": x})["out"]
        torch.testing.assert_close(got, output(module, x), rtol=1e-5, atol=1e-6)


def test_slopes_go_to_torch_and_come_back(tmp_path: Path) -> None:
    model, weights = write_net(ONE_SLOPE, tmp_path)
    net = Net(model, proto.TEST, weights)
    convert(weights, tmp_path / "ours.h5")
    torch.save({f"m.{key}": value for key, value in torchs().state_dict().items()}, tmp_path / "like.pt")
    ways = {
        "plain.pt": convert(weights, tmp_path / "plain.pt"),
        "hdf5.pt": convert(tmp_path / "ours.h5", tmp_path / "hdf5.pt", net=net),
        "named.pt": convert(weights, tmp_path / "named.pt", net=net, like=tmp_path / "like.pt"),
    }
    convert_module(model, tmp_path / "net.py", weights)
    x = torch.randn(2, 3, 4, 5)
    expected = net({"x": x})["out"].detach()
    for name in (*ways, "net.pt"):
        state = torch.load(tmp_path / name, weights_only=True)
        module = torchs()
        module.load_state_dict({key.removeprefix("m."): value for key, value in state.items()})
        torch.testing.assert_close(output(module, x), expected, rtol=1e-5, atol=1e-6)
    convert(tmp_path / "plain.pt", tmp_path / "back.caffemodel")  # which cannot know that the slope is a PReLU's
    again = Net(model, proto.TEST, str(tmp_path / "back.caffemodel"))
    torch.testing.assert_close(again({"x": x})["out"].detach(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("axes", [2, 3, 4])
@pytest.mark.parametrize("slope", [(), (1,), (1, 1, 1), "channel"])
def test_slopes_of_an_onnx_file(axes: int, slope: tuple[int, ...] | str, tmp_path: Path) -> None:
    shape = (2, 6, 4, 5)[:axes]
    if slope == "channel":
        slope = (6, *[1] * (axes - 2))
    if len(slope) > axes:
        pytest.skip("more axes than the blob")
    values = np.random.default_rng(0).uniform(0.1, 0.9, slope).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "s"], ["y"], name="act")],
        "slopes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *shape[1:]])],
        [numpy_helper.from_array(values, "s")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "net.onnx")
    back = str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back)
    (entry,) = [entry for entry in proto.read_weights(back[1]) if entry.blobs]
    assert entry.blobs[0].shape == (() if values.size == 1 else (6,))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    got = Net(back[0], proto.TEST, back[1])({"x": torch.from_numpy(x)})["y"].detach().numpy()
    np.testing.assert_allclose(got, np.where(x > 0, x, x * values), rtol=1e-6)
    export(*back, str(tmp_path / "again.onnx"))
    assert [node.op_type for node in onnx.load(tmp_path / "again.onnx").graph.node] == ["PRelu"]
