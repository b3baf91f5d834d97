"""Prototxts and caffemodels as another reader of Caffe's files has them: OpenCV's dnn module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_nets import GOLDENS, ROOT, TINY, write_net, write_weights

from sdcaffe import proto
from sdcaffe.net import Net

cv2 = pytest.importorskip("cv2")

IMAGES = sorted((GOLDENS / "files" / "images").glob("*"))[:3]
DEPLOYED = sorted(ROOT.glob("prototxt/**/deploy*.prototxt"))
QUICK = (
    "quickstart",
    "cifar100/resnet32_projection",
    "cifar10/densenet40",
    "cifar100/preact_resnet18",
    "quickstart_ssd",
)


def check(model: Path, weights: str, folder: Path, *, fused: bool = True) -> None:
    """Pictures through OpenCV and through Net: the same scores in front of the Softmax."""
    text = model.read_text()
    # OpenCV calls by another name what BVLC Caffe calls round_mode; it knows no other way to write it.
    (folder / "opencv.prototxt").write_text(text.replace("round_mode: FLOOR", "ceil_mode: false"))
    theirs = cv2.dnn.readNetFromCaffe(str(folder / "opencv.prototxt"), weights)
    ours = Net(model, proto.TEST, weights)
    height, width = ours.blob_shapes["data"][2:]
    pictures = [cv2.imread(str(path)) for path in IMAGES]
    blob = cv2.dnn.blobFromImages(pictures, 1 / 60, (width, height), (104, 117, 123), swapRB=True)
    scores = next(layer.bottom[0] for layer in ours.param.layer if layer.type == "Softmax")
    theirs.enableFusion(fused)
    theirs.setInput(blob, "data")
    got = theirs.forward(scores)
    with torch.no_grad():
        expected = ours({"data": blob}, keep=[scores])[scores].numpy()
    assert got.size == expected.size
    assert np.abs(got.reshape(expected.shape) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_groups_deconvolution_and_scales_of_all_layers(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    check(Path(model), weights, tmp_path, fused=False)  # OpenCV 4.14 fuses a BatchNorm wrongly into groups of up


@pytest.mark.parametrize("name", QUICK)
def test_deploy_nets_open_in_opencv(name: str, tmp_path: Path) -> None:
    model = ROOT / "prototxt" / name / "deploy.prototxt"
    check(model, write_weights(model, tmp_path / "net.caffemodel"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", DEPLOYED, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_every_deploy_net_opens_in_opencv(model: Path, tmp_path: Path) -> None:
    check(model, write_weights(model, tmp_path / "net.caffemodel"), tmp_path)


def test_deploy_nets_hold_caffes_own_layers_alone() -> None:
    own = {"Distort", "KLLoss", "MMDLoss", "DenseBlock"}  # and SSD's, which OpenCV has
    assert DEPLOYED
    assert not own & {layer.type for path in DEPLOYED for layer in proto.read_net(path).layer}
