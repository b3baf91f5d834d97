"""Nets cut at blobs, and nets whose data are elsewhere; judged by ONNX Runtime against the whole net's blobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_nets import write_net

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError, read_metadata, read_model
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.errors import DataError, GraphError
from sdcaffe.net import Net

BRANCHES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "halves" type: "Slice" bottom: "conv" top: "left" top: "right" }
layer { name: "act" type: "TanH" bottom: "right" top: "right" }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "side" type: "Pooling" bottom: "conv" top: "side" pooling_param { kernel_size: 2 stride: 2 } }
"""


def test_what_a_silence_takes_is_no_output(tmp_path: Path) -> None:
    model, weights = write_net(BRANCHES + 'layer { name: "quiet" type: "Silence" bottom: "side" }', tmp_path)
    assert Net(model).outputs == ["fc"]
    for cut, outputs in (([], ["fc"]), (["--end", "side"], ["side"]), (["--begin", "sum"], ["fc"])):
        assert main(["export", model, weights, "-o", str(tmp_path / "net.onnx"), *cut]) == 0
        session = open_session(str(tmp_path / "net.onnx"), "net")
        assert [value.name for value in session.get_outputs()] == outputs


@pytest.mark.parametrize(
    ("begins", "ends", "inputs", "outputs"),
    [
        ([], ["sum", "conv"], ["data"], ["sum", "conv"]),
        (["conv"], [], ["conv"], ["fc", "side"]),
        (["conv"], ["right"], ["conv"], ["right"]),
        (["right", "left"], [], ["left", "right"], ["fc"]),
        (["left"], ["fc", "right"], ["data", "left"], ["fc", "right"]),
        (["sum"], [], ["sum"], ["fc"]),
    ],
)
def test_a_net_is_cut_where_one_says(
    begins: list[str], ends: list[str], inputs: list[str], outputs: list[str], tmp_path: Path
) -> None:
    model, weights = write_net(BRANCHES, tmp_path)
    target = tmp_path / "part.onnx"
    cuts = [flag for name in begins for flag in ("--begin", name)] + [flag for name in ends for flag in ("--end", name)]
    assert main(["export", model, weights, "-o", str(target), *cuts]) == 0
    session = open_session(str(target), "part")
    assert [value.name for value in session.get_inputs()] == inputs
    assert [value.name for value in session.get_outputs()] == outputs
    for batch in (1, 3):
        x = torch.randn(batch, 3, 8, 8)
        with torch.no_grad():
            net = Net(model, proto.TEST, weights)
            net.reshape({"data": x.shape})
            blobs = net.forward({"data": x}, keep=["data", "conv", "left", "right", "sum", "fc", "side"])
        got = session.run(outputs, {name: blobs[name].numpy() for name in inputs})
        for name, array in zip(outputs, got, strict=True):
            np.testing.assert_allclose(array, blobs[name].numpy(), rtol=1e-4, atol=1e-5)


def test_a_module_is_cut_too(tmp_path: Path) -> None:
    model, weights = write_net(BRANCHES, tmp_path)
    target = tmp_path / "part.py"
    command = ["convert", "module", model, str(target), "--weights", weights]
    assert main([*command, "--begin", "conv", "--end", "sum", "--shape", "conv=2,4,5,7"]) == 0
    namespace: dict[str, object] = {"__name__": "part"}
    exec(compile(target.read_text(), str(target), "exec"), namespace)
    made = list(namespace.values())[-1]
    assert isinstance(made, type)
    conv = torch.rand(2, 4, 5, 7)
    torch.testing.assert_close(made()(conv), conv[:, :2] + conv[:, 2:].tanh())


def test_a_blob_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    model, weights = write_net(BRANCHES, tmp_path)
    for cut in ({"ends": ("nothing",)}, {"begins": ("nothing",)}):
        with pytest.raises(
            GraphError, match=r'no blob "nothing" to .* there are data, conv, left, right, sum, fc, side'
        ):
            export(model, weights, str(tmp_path / "part.onnx"), Options(**cut))


def test_a_begin_that_the_end_does_not_hang_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, weights = write_net(BRANCHES, tmp_path)
    target = tmp_path / "part.onnx"
    for command in (
        ["export", model, weights, "-o", str(target)],
        ["convert", "module", model, str(tmp_path / "part.py")],
    ):
        assert main([*command, "--begin", "fc", "--end", "sum"]) == 1
        error = capsys.readouterr().err
        assert error.endswith(' a net that begins at "fc" and ends at "sum" computes nothing from "fc"\n')
    assert not target.exists()
    assert not (tmp_path / "part.py").exists()


BEHIND = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
"""


def test_a_cut_behind_data_that_are_elsewhere_and_a_layer_in_place(tmp_path: Path) -> None:
    whole = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }'
    _, weights = write_net(whole + BEHIND, tmp_path)
    model = tmp_path / "train_val.prototxt"
    data = 'data_param { source: "elsewhere/lmdb" batch_size: 8 backend: LMDB }'
    model.write_text(f'layer {{ name: "data" type: "Data" top: "data" top: "label" {data} }}{BEHIND}')
    options = Options(begins=("conv",), shapes={"conv": (1, 3, 4, 4)})
    export(str(model), weights, str(tmp_path / "net.onnx"), options)
    blobs = {entry.name: entry.blobs for entry in proto.read_weights(weights)}["fc"]
    weight, bias = (np.asarray(blob, np.float64) for blob in blobs)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    (got,) = open_session(str(tmp_path / "net.onnx"), "").run(["fc"], {"conv": x})
    np.testing.assert_allclose(got, x.reshape(2, -1) @ weight.T + bias, rtol=1e-4, atol=1e-5)


ELSEWHERE = """
layer { name: "data" type: "TYPE" top: "data" top: "label" TRANSFORM SOURCE }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 6 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
KINDS = {
    "Data": 'data_param { source: "elsewhere/lmdb" batch_size: 8 backend: LMDB }',
    "ImageData": 'image_data_param { source: "elsewhere/list.txt" batch_size: 8 }',
    "HDF5Data": 'hdf5_data_param { source: "elsewhere/list.txt" batch_size: 8 }',
}
MEAN = 'transform_param { scale: 0.5 crop_size: 4 mean_file: "elsewhere/mean.binaryproto" }'


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_whose_data_are_elsewhere(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transform = "" if kind == "HDF5Data" else MEAN
    text = ELSEWHERE.replace("TYPE", kind).replace("TRANSFORM", transform).replace("SOURCE", KINDS[kind])
    form = text.splitlines()[2]
    whole = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }'
    _, weights = write_net(f"{whole}\n{form}", tmp_path)
    model = tmp_path / "train_val.prototxt"
    model.write_text(text)
    out = tmp_path / "net.onnx"
    command = ["export", str(model), weights, "-o", str(out), "--shape", "data=1,3,4,4"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert main([*command, "--fp16"]) == 0
    assert main(["convert", "module", str(model), str(tmp_path / "m.py"), "--weights", weights, *command[-2:]]) == 0
    with pytest.raises(DataError, match=r"elsewhere.*--shape data=1,C,H,W"):
        export(str(model), weights, str(out))
    if kind == "HDF5Data":
        return
    assert "not recorded: elsewhere/mean.binaryproto: No such file" in printed
    options = Options(shapes={"data": (1, 3, 4, 4)}, preprocess=True)
    with pytest.raises(ModelError, match=r"elsewhere/mean\.binaryproto: No such file.*give it by --mean"):
        export(str(model), weights, str(out), options)
    assert main([*command, "--mean", "1,2,3"]) == 0
    recorded = read_metadata({e.key: e.value for e in read_model(str(out)).metadata_props}, "").normalisation
    assert recorded is not None
    assert (recorded.mean, recorded.scale) == ([1, 2, 3], [0.5])
