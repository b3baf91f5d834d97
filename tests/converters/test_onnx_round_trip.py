"""What Caffe and its forks recorded of layers, sent out as ONNX and fetched back; and torchvision's classifiers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from onnx_nets import (
    NETS,
    OTHERS,
    RECORDED,
    SSD,
    all_recordings,
    arrays,
    net_name,
    write_recorded,
    write_weights,
)

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.net import Net

QUICK = [
    RECORDED / "lstm",
    RECORDED / "argmax_val",
    OTHERS / "proposal",
    OTHERS / "upsample_mask_scale",
    OTHERS / "yolov3_detection",
    SSD / "det_ssd",
]
CLASSIFIERS = (
    *("resnet18", "resnet50", "vgg11_bn", "mobilenet_v2", "squeezenet1_1", "densenet121", "googlenet"),
    "shufflenet_v2_x1_0",
)


def check_recorded(name: str, folder: Path, target: Path) -> None:
    """The net that comes back gives what was recorded; where that was not the TEST phase, what the net gave."""
    model, weights = write_recorded([name], target, folder)
    export(model, weights, str(target / "net.onnx"))
    first = Net(model, proto.TEST, weights)
    shapes = {blob: first.blob_shapes[blob] for blob in first.inputs}
    back = str(target / "back.prototxt"), str(target / "back.caffemodel")
    done = onnx_to_caffe(str(target / "net.onnx"), *back, shapes)
    assert done.agreement.difference <= 1e-5
    second = Net(back[0], proto.TEST, back[1])
    values = arrays(name, "bottom", folder)
    given = {blob: torch.from_numpy(array) for blob, array in zip(first.inputs, values, strict=True)}
    with torch.no_grad():
        expected = {blob: array.numpy() for blob, array in first(given).items()}
        got = {blob.removesuffix("_out"): array.numpy() for blob, array in second(given).items()}
    with np.load(folder / f"{name}.npz") as file:
        if str(file["phase"]) == "TEST":
            expected = dict(zip(first.layers[name].layer_param.top, arrays(name, "top", folder), strict=True))
    same = set(got) & set(expected)  # the others are inputs that nobody reads, as PriorBox's: outputs too, as in Caffe
    assert same
    for blob in same:
        np.testing.assert_allclose(got[blob], expected[blob].reshape(got[blob].shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.name)
def test_a_recorded_layer_goes_out_and_comes_back(path: Path, tmp_path: Path) -> None:
    check_recorded(path.name, path.parent, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", all_recordings(), ids=lambda path: path.name)
def test_every_recorded_layer_goes_out_and_comes_back(path: Path, tmp_path: Path) -> None:
    check_recorded(path.name, path.parent, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS, ids=net_name)
def test_every_net_goes_out_and_comes_back(model: Path, tmp_path: Path) -> None:
    export(str(model), write_weights(model, tmp_path / "net.caffemodel"), str(tmp_path / "net.onnx"))
    done = onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "b.prototxt"), str(tmp_path / "b.caffemodel"))
    assert done.agreement.difference <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["tracing", "dynamo"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_of_torchvision_becomes_a_caffe_net(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    more = {"init_weights": True} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, **more).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    path = str(tmp_path / "net.onnx")
    free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        side = 224 if name == "vgg11_bn" else 96
        torch.onnx.export(module, (torch.randn(1, 3, side, side),), path, dynamo=dynamo, input_names=["x"], **free)
    done = onnx_to_caffe(path, str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    assert done.agreement.difference <= 1e-5
    assert done.agreement.shapes == ((1, 3, side, side), (2, 3, side, side))
