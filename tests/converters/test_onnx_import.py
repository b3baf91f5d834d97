from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import ROOT, TINY, write_net, write_weights

from sdcaffe import layers, proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

RNG = np.random.default_rng(0)
CLASSIFIERS = [p for p in sorted(ROOT.glob("prototxt/**/deploy*.prototxt")) if p.parent.name != "quickstart_ssd"]


def outputs(model: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    session = open_session(str(model), str(model))
    found: list[np.ndarray] = session.run(None, inputs)
    return found


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def sizes(layer: object) -> str:
    """A layer without what only training reads."""
    copy = proto.LayerParameter()
    copy.CopyFrom(layer)
    for field in ("param", "batch_norm_param"):
        copy.ClearField(field)
    for name in ("convolution_param", "inner_product_param"):
        if copy.HasField(name):
            for filler in ("weight_filler", "bias_filler"):
                getattr(copy, name).ClearField(filler)
    if copy.HasField("power_param") and copy.power_param.shift == 0:
        copy.power_param.ClearField("shift")  # a default that is written out
    return str(copy)


def there_and_back(model: Path, folder: Path, *, fold: bool) -> tuple[Path, Path]:
    """A net of random weights exported, imported and exported again: the two ONNX files."""
    weights = write_weights(model, folder / "net.caffemodel")
    export(str(model), weights, str(folder / "first.onnx"), Options(fold=fold))
    onnx_to_caffe(str(folder / "first.onnx"), str(folder / "back.prototxt"), str(folder / "back.caffemodel"))
    export(
        str(folder / "back.prototxt"),
        str(folder / "back.caffemodel"),
        str(folder / "second.onnx"),
        Options(fold=fold),
    )
    return folder / "first.onnx", folder / "second.onnx"


def check_round_trip(model: Path, folder: Path) -> None:
    layers.discover()
    shape = Net(model, proto.TEST).blob_shapes["data"]
    x = RNG.standard_normal((2, *shape[1:])).astype(np.float32)
    for fold in (True, False):
        first, second = there_and_back(model, folder, fold=fold)
        for got, expected in zip(outputs(second, data=x), outputs(first, data=x), strict=True):
            close(got, expected)
    original = [layer for layer in proto.read_net(model).layer if layer.type != "Dropout"]
    back = proto.read_net(folder / "back.prototxt").layer
    assert [sizes(layer) for layer in back] == [sizes(layer) for layer in original]
    old = {entry.name: entry.blobs for entry in proto.read_weights(folder / "net.caffemodel") if entry.blobs}
    new = {entry.name: entry.blobs for entry in proto.read_weights(folder / "back.caffemodel") if entry.blobs}
    assert list(new) == list(old)
    for layer in original:
        if layer.type == "BatchNorm":  # sums over the moving average become its values
            weight = float(old[layer.name][2][0])
            old[layer.name] = [
                *((blob.astype(np.float64) * (1 / weight)).astype(np.float32) for blob in old[layer.name][:2]),
                np.ones(1, np.float32),
            ]
        for got, expected in zip(new.get(layer.name, ()), old.get(layer.name, ()), strict=True):
            assert got.tobytes() == expected.tobytes()


def test_a_net_comes_back_layer_by_layer_and_bit_for_bit(tmp_path: Path) -> None:
    check_round_trip(ROOT / "prototxt" / "quickstart" / "deploy.prototxt", tmp_path)


IN_PLACE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BN" bottom: "conv" top: "conv" bn_param { bn_mode: LEARN } }
layer { name: "mvn" type: "MVN" bottom: "conv" top: "conv" }
layer { name: "lrn" type: "LRN" bottom: "conv" top: "conv" }
layer { name: "six" type: "ReLU6" bottom: "conv" top: "conv" }
layer { name: "soft" type: "Softmax" bottom: "conv" top: "conv" }
"""


def test_layers_come_back_in_place(tmp_path: Path) -> None:
    (tmp_path / "in_place.prototxt").write_text(IN_PLACE)
    check_round_trip(tmp_path / "in_place.prototxt", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda path: path.parent.name)
def test_every_deploy_net_comes_back(model: Path, tmp_path: Path) -> None:
    check_round_trip(model, tmp_path)


def test_a_folded_net_computes_the_same(tmp_path: Path) -> None:
    """Groups, Deconvolution, BatchNorm that a Scale was folded into, InnerProduct."""
    model, weights = write_net(TINY, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    seen: list[tuple[int, int]] = []
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel.h5")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back, tick=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    x = RNG.standard_normal((3, 3, 8, 8)).astype(np.float32)
    net = Net(tmp_path / "back.prototxt", proto.TEST, tmp_path / "back.caffemodel.h5")
    with torch.no_grad():
        close(net({"data": x})["prob"].numpy(), Net(model, proto.TEST, weights)({"data": x})["prob"].numpy())


class Strange(torch.nn.Module):
    """Operators that Caffe has, as PyTorch writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 1), bias=False)
        self.bn = torch.nn.BatchNorm2d(8, eps=1e-3)
        self.prelu = torch.nn.PReLU(8)
        self.up = torch.nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.fc = torch.nn.Linear(6, 5)
        self.linear = torch.nn.Linear(5, 4)
        self.register_buffer("shift", torch.arange(6.0).reshape(6, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.avg_pool2d(self.prelu(self.bn(self.conv(x))), 3, 2, 1)
        x = torch.nn.functional.elu(self.up(x), 0.5) * 2 - 0.5
        a, b = x.split([2, 4], 1)
        x = torch.cat([b.sigmoid(), a.clamp(-1, 1)], 1)
        x = torch.nn.functional.max_pool2d(x * x + x.tanh(), 2, ceil_mode=True) - self.shift
        return self.linear(self.fc(x.mean((2, 3))).abs().sqrt())


@pytest.mark.parametrize("legacy", [False, True])
def test_operators_of_another_maker(legacy: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check_torch(Strange(), (3, 3, 9, 12), tmp_path, legacy=legacy)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_nets_of_torchvision(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check_torch(getattr(torchvision.models, name)(weights=None, num_classes=10), (2, 3, 224, 224), tmp_path)


def check_torch(module: torch.nn.Module, shape: tuple[int, ...], folder: Path, *, legacy: bool = False) -> None:
    """Export a module by PyTorch's own exporter, import it: the Caffe net computes what the module does."""
    for part in module.eval().modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, 0, 0.3)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.3)
    x = torch.from_numpy(RNG.standard_normal(shape).astype(np.float32))
    with warnings.catch_warnings(action="ignore"):
        free = {"dynamic_axes": {"x": {0: "n"}}} if legacy else {"dynamic_shapes": ({0: torch.export.Dim.AUTO},)}
        path = str(folder / "net.onnx")
        torch.onnx.export(module, (x,), path, input_names=["x"], dynamo=not legacy, external_data=False, **free)
    onnx_to_caffe(path, str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    net = Net(folder / "net.prototxt", proto.TEST, folder / "net.caffemodel")
    with torch.no_grad():
        (got,) = net({"x": x}).values()
        close(got.numpy(), module(x).numpy())


# ---- what is refused ----


def model_of(nodes: list[onnx.NodeProto], shape: list[int | str], *weights: onnx.TensorProto) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])
    graph = helper.make_graph(nodes, "net", [x], [y], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def told(model: onnx.ModelProto, **metadata: str) -> onnx.ModelProto:
    helper.set_model_props(model, metadata)
    return model


def node(op: str, inputs: list[str], name: str = "bad", output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=name, **attributes)


def tensor(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.standard_normal(shape).astype(np.float32), name)


IMAGE: list[int | str] = [1, 4, 8, 8]

REFUSED = {
    "an operator that Caffe lacks": (
        model_of([node("Erf", ["x"])], IMAGE),
        r'node "bad" \(Erf\) has no counterpart in Caffe',
    ),
    "another domain": (
        model_of([node("Relu", ["x"], domain="com.strange")], IMAGE),
        r'node "bad" \(Relu\) has no counterpart|is not valid ONNX',
    ),
    "sides padded differently": (
        model_of([node("Conv", ["x", "w"], pads=[0, 1, 1, 1])], IMAGE, tensor("w", 2, 4, 3, 3)),
        r'node "bad" \(Conv\) pads its sides by \[0, 1\] before and \[1, 1\] behind',
    ),
    "padding left out of a mean": (
        model_of([node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], IMAGE),
        r'node "bad" \(AveragePool\) leaves its padding out',
    ),
    "an attribute": (
        model_of([node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[2, 2])], IMAGE),
        r'node "bad" \(MaxPool\) has dilations \[2, 2\]; Caffe has only \[1, 1\]',
    ),
    "weights that are computed": (
        model_of([node("Relu", ["x"], "r", "v"), node("Conv", ["x", "v"])], IMAGE),
        r'node "bad" \(Conv\) takes "v" from other nodes',
    ),
    "blobs that spread": (
        model_of([node("GlobalMaxPool", ["x"], "g", "p"), node("Max", ["x", "p"])], IMAGE),
        r'node "bad" \(Max\) takes \(1, 4, 8, 8\) and \(1, 4, 1, 1\)',
    ),
    "a height that is free": (
        model_of([node("Relu", ["x"])], ["n", 4, "h", 8]),
        r'input "x" leaves axis 2 free; Caffe needs a number: --shape x=1,\.\.\.',
    ),
    "a height that its metadata says, larger than a number of ONNX": (
        told(model_of([node("Relu", ["x"])], ["n", 4, "h", 8]), shapes=f'{{"x": [1, 4, {10**30}, 8]}}'),
        rf'input "x" has {10**30} values along axis 2',
    ),
    "a shape that hangs on values": (
        model_of([node("NonZero", ["x"], "n", "i"), node("Cast", ["i"], to=1)], IMAGE),
        r'node "bad" \(Cast\) reads "i", which are no float32|node "n" \(NonZero\) has no counterpart',
    ),
    "a circle": (
        model_of([node("Add", ["x", "z"], "a", "y"), node("Relu", ["y"], "b", "z")], IMAGE),
        "is not valid ONNX",
    ),
    "types that do not fit": (
        model_of([node("Cast", ["x"], "c", "i", to=7), node("Add", ["x", "i"])], IMAGE),
        "is not valid ONNX",
    ),
    "an input of unreasonable size": (
        model_of([node("Relu", ["x"])], [1, 4, 10**6, 10**6]),
        "more than is reasonable",
    ),
    "a name that is no text": (
        model_of([node("Relu", ["x"], 'a"\n}')], IMAGE),
        r"the name 'a\"\\n}' of a node, or of what it reads or makes, is not printable",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_caffe_lacks_is_said_of_the_node_and_nothing_is_written(what: str, tmp_path: Path) -> None:
    model, message = REFUSED[what]
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_shape_is_given_where_the_model_leaves_it_free(tmp_path: Path) -> None:
    model = model_of([node("Relu", ["x"])], ["n", 4, "h", "w"])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    files = [str(tmp_path / name) for name in ("net.onnx", "net.prototxt", "net.caffemodel")]
    assert main(["convert", "onnx-to-caffe", *files, "--shape", "x=2,4,5,6"]) == 0
    assert Net(files[1], proto.TEST, files[2]).blob_shapes == {"x": (2, 4, 5, 6), "y": (2, 4, 5, 6)}
    assert main(["convert", "onnx-to-caffe", *files, "--shape", "z=2,4,5,6"]) == 1
    assert main(["convert", "onnx-to-caffe", *files, "--shape", "x=2,4,5"]) == 1


def external(model: onnx.ModelProto, location: str, **more: int) -> bytes:
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        weight.external_data.add(key=key, value=str(value))
    return model.SerializeToString()


def conv() -> onnx.ModelProto:
    return model_of([node("Conv", ["x", "w"], "conv")], IMAGE, tensor("w", 2, 4, 3, 3))


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    model = conv()
    numbers = numpy_helper.to_array(model.graph.initializer[0])
    (tmp_path / "w.bin").write_bytes(bytes(64) + numbers.tobytes())
    (tmp_path / "net.onnx").write_bytes(external(model, "w.bin", offset=64))
    onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    (entry,) = [e for e in proto.read_weights(tmp_path / "net.caffemodel") if e.blobs]
    assert entry.name == "conv"
    assert entry.blobs[0].tobytes() == numbers.tobytes()


@pytest.mark.parametrize(
    ("location", "message"),
    [("../w.bin", "outside its folder"), ("/dev/zero", "outside its folder"), ("none.bin", "No such file"),
     ("short.bin", "does not hold their 288 bytes"), (".", "Is a directory")],
)  # fmt: skip
def test_weights_elsewhere_or_cut_short_are_refused(location: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(288))
    (folder / "short.bin").write_bytes(bytes(287))
    (folder / "net.onnx").write_bytes(external(conv(), location))
    with pytest.raises(ModelError, match=message):
        onnx_to_caffe(str(folder / "net.onnx"), str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    assert not (folder / "net.prototxt").exists()


def test_weights_that_claim_more_than_there_is_are_refused(tmp_path: Path) -> None:
    for dims, message in (([10**11, 4, 3, 3], "more than a file can hold"), ([3, 4, 3, 3], "damaged|not valid")):
        model = conv()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=message):
            onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))


def test_a_file_cut_anywhere_or_with_any_byte_changed_is_one_error_or_a_net(tmp_path: Path) -> None:
    data = conv().SerializeToString()
    target = tmp_path / "net.prototxt"
    for i in range(0, len(data), 7):
        changed = bytearray(data)
        changed[i] ^= 1 << (i % 8)
        for content in (data[:i], bytes(changed)):
            (tmp_path / "net.onnx").write_bytes(content)
            try:
                onnx_to_caffe(str(tmp_path / "net.onnx"), str(target), str(tmp_path / "net.caffemodel"))
            except ModelError:
                assert not target.exists()
            target.unlink(missing_ok=True)
