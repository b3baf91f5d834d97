"""Exported files as OpenCV's dnn module reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_nets import ROOT, TINY, write_net, write_weights

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_open import Options
from sdcaffe.net import Net

cv2 = pytest.importorskip("cv2")


def check(model: str, weights: str, options: Options, folder: Path) -> None:
    export(model, weights, str(folder / "net.onnx"), options)
    net = Net(model, proto.TEST, weights)
    given = np.random.default_rng(0).normal(size=net.blob_shapes["data"]).astype(np.float32)
    with torch.no_grad():
        ((name, expected),) = net({"data": given}).items()
    theirs = cv2.dnn.readNetFromONNX(str(folder / "net.onnx"))
    theirs.setInput(given, "data")
    got = theirs.forward(name)
    assert np.abs(got.reshape(expected.shape) - expected.numpy()).max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("options", [Options(), Options(opset=11, static=True), Options(opset=13)], ids=str)
def test_groups_deconvolution_and_scales_open_in_opencv(options: Options, tmp_path: Path) -> None:
    check(*write_net(TINY, tmp_path), options, tmp_path)


def test_a_segmentation_net_of_fixed_sizes_opens_in_opencv(tmp_path: Path) -> None:
    model = ROOT / "prototxt" / "quickstart_segmentation" / "deploy.prototxt"
    check(str(model), write_weights(model, tmp_path / "net.caffemodel"), Options(opset=13, static=True), tmp_path)
