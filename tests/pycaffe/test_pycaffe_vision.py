"""Classifier, Detector and draw."""

from __future__ import annotations

import os
import sys
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from pycaffe_nets import input_layer, layer

from sdcaffe import pycaffe as caffe
from sdcaffe.errors import SdcaffeError
from sdcaffe.pycaffe import draw
from sdcaffe.pycaffe.proto import caffe_pb2

MEAN = "reduction_param { operation: MEAN axis: 1 }"
AVERAGE = input_layer("data", 4, 3, 4, 4) + layer("mean", "Reduction", "data", "mean", MEAN)  # of all its values
IDENTITY = input_layer("data", 1, 3, 8, 8) + layer("same", "Power", "data", "same")


@pytest.fixture
def model(tmp_path):
    def write(text):
        (tmp_path / "deploy.prototxt").write_text(text)
        return str(tmp_path / "deploy.prototxt")

    return write


def image(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).random(shape).astype(np.float32)


# ---------------------------------------------------------------- classifier


def test_a_classifier_scores_the_centre_crop_or_ten_crops(model):
    net = caffe.Classifier(model(AVERAGE), None, image_dims=(6, 6), raw_scale=255, mean=np.array([1.0, 2.0, 3.0]))
    images = [image(6, 6, 3), image(6, 6, 3, seed=1)]
    centre = net.predict(images, oversample=False)
    np.testing.assert_allclose(centre, [255 * im[1:5, 1:5].mean() - 2 for im in images], rtol=1e-5)
    crops = [(y, x) for y in (0, 2) for x in (0, 2)] + [(1, 1)]
    want = [[np.mean([255 * im[y : y + 4, x : x + 4].mean() - 2 for y, x in crops])] for im in images]
    np.testing.assert_allclose(net.predict(images), want, rtol=1e-5)


def test_a_classifier_resizes_to_its_input_and_swaps_channels(model):
    net = caffe.Classifier(model(IDENTITY), None, channel_swap=(2, 1, 0), input_scale=2)
    picture = image(5, 9, 3)
    (blob,) = net.predict([picture], oversample=False)
    want = 2 * caffe.io.resize_image(picture, (8, 8)).transpose(2, 0, 1)[::-1]
    np.testing.assert_allclose(blob, want, rtol=1e-6)


@pytest.mark.parametrize("oversample", [True, False])
def test_image_dims_smaller_than_the_input_are_refused(model, oversample):
    net = caffe.Classifier(model(IDENTITY), None, image_dims=(9, 6))
    with pytest.raises(SdcaffeError, match=r"image_dims \(9, 6\) are smaller than the net's input \(8, 8\)"):
        net.predict([image(5, 9, 3)], oversample)


# ---------------------------------------------------------------- detector


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png"), pixels / 255


def test_a_detector_scores_windows_warped_to_its_input(model, photo):
    net = caffe.Detector(model(IDENTITY), None, raw_scale=255)
    file, pixels = photo
    windows = [np.array([2, 3, 10, 15]), np.array([0, 0, 20, 30])]
    found = net.detect_windows([(file, windows)])
    assert [(entry["filename"], list(entry["window"])) for entry in found] == [(file, list(w)) for w in windows]
    for entry, (top, left, bottom, right) in zip(found, windows, strict=True):
        warped = caffe.io.resize_image(pixels[top:bottom, left:right].astype(np.float32), (8, 8))
        np.testing.assert_allclose(entry["prediction"], 255 * warped.transpose(2, 0, 1), rtol=1e-4, atol=1e-3)
    assert net.detect_windows([]) == []


def test_context_surrounds_a_window_and_the_mean_what_lies_outside(model, photo):
    """A window of 4 x 4 with a border of 2 in an input of 8: 8 x 8 pixels around it, of which some are outside."""
    file, pixels = photo
    net = caffe.Detector(
        model(IDENTITY), None, raw_scale=255, mean=np.array([10.0, 20.0, 30.0]), channel_swap=(2, 1, 0), context_pad=2
    )
    (inside,) = net.detect_windows([(file, [np.array([8, 8, 11, 11])])])
    around = caffe.io.resize_image(pixels[6:14, 6:14].astype(np.float32), (8, 8))
    blob = 255 * around.transpose(2, 0, 1)[::-1] - np.array([10, 20, 30]).reshape(3, 1, 1)
    assert np.abs(inside["prediction"] - blob).max() < 60  # the box is rounded: half a pixel more or less
    (outside,) = net.detect_windows([(file, [np.array([0, 0, 3, 3])])])
    np.testing.assert_allclose(outside["prediction"][:, 0], 0, atol=1e-4)  # the mean, subtracted
    np.testing.assert_allclose(outside["prediction"][:, :, 0], 0, atol=1e-4)
    assert np.abs(outside["prediction"][:, 4:, 4:]).min() > 0
    with pytest.raises(SdcaffeError, match="context_pad 4 does not fit an input of 8 x 8"):
        net.configure_crop(4)


def test_selective_search_is_used_where_it_is_installed(model, photo, monkeypatch):
    net = caffe.Detector(model(IDENTITY), None)
    with pytest.raises(SdcaffeError, match="give windows to detect_windows"):
        net.detect_selective_search([photo[0]])
    module = types.ModuleType("selective_search_ijcv_with_python")
    module.get_windows = lambda files, cmd: [np.array([[0, 0, 5, 5]]) for _ in files]
    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", module)
    (found,) = net.detect_selective_search([photo[0]])
    assert found["prediction"].shape == (3, 8, 8)


# ---------------------------------------------------------------- draw


def drawn():
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(shape=dict(dim=[1, 3, 8, 8]))
    n.conv1 = caffe.layers.Convolution(n.data, num_output=4, kernel_size=3, param=dict(lr_mult=7))
    n.only = caffe.layers.Sigmoid(n.conv1, include=dict(phase=caffe.TEST))
    return n.to_proto()


def test_a_net_is_drawn_as_svg_and_dot(tmp_path):
    draw.draw_net_to_file(drawn(), str(tmp_path / "net.svg"), rankdir="TB")
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    assert root.tag.endswith("svg")
    assert "conv1" in "".join(root.itertext())
    draw.draw_net_to_file(drawn(), str(tmp_path / "net.dot"), phase=caffe.TRAIN)
    dot = (tmp_path / "net.dot").read_text()
    assert "rankdir=LR" in dot
    assert "conv1" in dot
    assert "only" not in dot


def test_a_graph_is_text_with_or_without_multipliers():
    plain = draw.get_pydot_graph(drawn(), "LR", label_edges=False).to_string()
    assert "lr mult" not in plain
    assert "only" in plain
    assert "lr mult 7" in draw.get_pydot_graph(drawn(), "LR", display_lrm=True).to_string()
    assert draw.draw_net(drawn(), "BT", ext="raw").startswith(b"digraph")
    assert type(drawn()) is caffe_pb2.NetParameter


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for graphviz")
def test_other_formats_are_graphvizs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SdcaffeError, match="png is drawn by graphviz's program dot, which is not installed"):
        draw.draw_net(drawn(), "LR")
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\nread line\necho "$1 $line"\n')
    program.chmod(0o755)
    assert draw.draw_net(drawn(), "LR", ext="pdf").startswith(b"-Tpdf digraph")
    program.write_text("#!/bin/sh\necho no such format >&2\nexit 1\n")
    with pytest.raises(SdcaffeError, match="dot cannot draw xyz: no such format"):
        draw.draw_net(drawn(), "LR", ext="xyz")


@pytest.mark.parametrize("kind", [caffe.Classifier, caffe.Detector])
def test_a_net_without_an_input(kind, model):
    with pytest.raises(IndexError, match="no input for images"):
        kind(model(""), None)
