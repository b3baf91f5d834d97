"""Detectors with a Proposal, or YOLO's detection outputs, in ONNX files: what ONNX Runtime gives beside the net."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.onnx_runtime import open_session

PROPOSED = """
layer { name: "in" type: "Input" top: "f" top: "image"
  input_param { shape { dim: 1 dim: 8 dim: 6 dim: 7 } shape { dim: 1 dim: 3 } } }
layer { name: "s" type: "Convolution" bottom: "f" top: "s"
  convolution_param { num_output: 18 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "m" type: "Convolution" bottom: "f" top: "m"
  convolution_param { num_output: 36 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "p" type: "Proposal" bottom: "s" bottom: "m" bottom: "image" top: "rois" top: "score"
  proposal_param { FIELDS } }
BEHIND
"""
ROI = """
layer { name: "roi" type: "ROIPooling" bottom: "f" bottom: "rois" top: "roi"
  roi_pooling_param { spatial_scale: 0.0625 pooled_h: 3 pooled_w: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "roi" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
PSROI = """
layer { name: "ps" type: "PSROIPooling" bottom: "f" bottom: "rois" top: "ps"
  psroi_pooling_param { spatial_scale: 0.0625 output_dim: 2 group_size: 2 } }
layer { name: "mean" type: "Pooling" bottom: "ps" top: "mean" pooling_param { pool: AVE kernel_size: 2 } }
"""
PVANET = "ratio: 0.5 ratio: 1 ratio: 2 scale: 1 scale: 2 scale: 4 min_size: 12 post_nms_topn: 30"
YOLO = """
layer { name: "in" type: "Input" top: "a" top: "b"
  input_param { shape { dim: 2 dim: 16 dim: 3 dim: 3 } shape { dim: 2 dim: 16 dim: 5 dim: 5 } } }
layer { name: "boxes" type: "Yolov3DetectionOutput" bottom: "a" bottom: "b" top: "boxes"
  yolov3_detection_output_param { num_classes: 3 num_box: 2 confidence_threshold: 0.3 nms_threshold: 0.3
    biases: 20 biases: 37 biases: 49 biases: 94 biases: 73 biases: 60 biases: 9 biases: 7
    anchors_scale: 32 anchors_scale: 16 mask: 0 mask: 1 mask: 2 mask: 3 mask_group_num: 2 } }
"""


def exported(text, folder):
    sdcaffe.layers.discover()
    torch.manual_seed(1)
    (folder / "net.prototxt").write_text(text)
    net = sdcaffe.Net(str(folder / "net.prototxt"), sdcaffe.TEST)
    net.save(str(folder / "net.caffemodel"))
    export(str(folder / "net.prototxt"), str(folder / "net.caffemodel"), str(folder / "net.onnx"))
    return net


def check(net, path, given):
    net.reshape({name: values.shape for name, values in given.items()})
    with torch.no_grad():
        expected = {name: blob.numpy() for name, blob in net(given).items()}
    names = sorted(expected)
    for name, found in zip(names, open_session(str(path), "net.onnx").run(names, given), strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)
    return expected


@pytest.mark.parametrize(
    ("fields", "behind"), [(PVANET, ROI), (PVANET, PSROI), ("max_rois: 20", ROI)], ids=["roi", "psroi", "synopsys"]
)
def test_a_proposal_and_what_follows_it(fields, behind, tmp_path):
    net = exported(PROPOSED.replace("FIELDS", fields).replace("BEHIND", behind), tmp_path)
    random = np.random.RandomState(2)
    features = random.randn(1, 8, 6, 7).astype(np.float32)
    given = {"f": features, "image": np.array([[96, 112, 1]], np.float32)}
    expected = check(net, tmp_path / "net.onnx", given)
    assert 5 < len(expected["score"]) <= 30
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back, {name: values.shape for name, values in given.items()})
    check(sdcaffe.Net(back[0], sdcaffe.TEST, back[1]), tmp_path / "net.onnx", given)


def test_yolos_boxes_for_any_batch_and_none(tmp_path):
    net = exported(YOLO, tmp_path)
    random = np.random.RandomState(2)
    for n in (1, 3):
        given = {"a": random.randn(n, 16, 3, 3), "b": random.randn(n, 16, 5, 5)}
        expected = check(
            net, tmp_path / "net.onnx", {name: values.astype(np.float32) for name, values in given.items()}
        )
        assert expected["boxes"].shape[2] > 5
        given = {name: np.full(values.shape, -9, np.float32) for name, values in given.items()}
        assert check(net, tmp_path / "net.onnx", given)["boxes"].shape == (1, 1, n, 7)
