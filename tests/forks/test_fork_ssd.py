"""SSD's head: PriorBox and DetectionOutput against numpy, alone and in a net."""

from __future__ import annotations

import logging

import fork_reference as reference
import numpy as np
import pytest
import torch
from fork_layers import make, net_param, run, values

import sdcaffe
from sdcaffe import proto

PRIORS = [
    ("min_size: 6", {"min_size": [6]}),
    ("min_size: 6 max_size: 11", {"min_size": [6], "max_size": [11]}),
    ("min_size: 6.9 max_size: 11.2", {"min_size": [6], "max_size": [11]}),  # cut to whole pixels
    (
        "min_size: 6 min_size: 9 max_size: 8 max_size: 12 aspect_ratio: 2 aspect_ratio: 3",
        {"min_size": [6, 9], "max_size": [8, 12], "ratios": [2, 3]},
    ),
    ("min_size: 6 aspect_ratio: 2 flip: false", {"min_size": [6], "ratios": [2], "flip": False}),
    ("min_size: 6 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 2", {"min_size": [6], "ratios": [1, 2, 2]}),
    ("min_size: 6 aspect_ratio: 2 aspect_ratio: 0.5", {"min_size": [6], "ratios": [2, 0.5]}),
    ("min_size: 30 clip: true", {"min_size": [30], "clip": True}),
    ("min_size: 6 variance: 0.25", {"min_size": [6], "variance": [0.25]}),
    (
        "min_size: 6 aspect_ratio: 2 variance: 0.125 variance: 0.25 variance: 0.5 variance: 1",
        {"min_size": [6], "ratios": [2], "variance": [0.125, 0.25, 0.5, 1]},
    ),
    ("min_size: 6 img_size: 40", {"min_size": [6], "image_h": 40, "image_w": 40}),
    ("min_size: 6 img_h: 40 img_w: 30", {"min_size": [6], "image_h": 40, "image_w": 30}),
    ("min_size: 6 step: 5 offset: 0.25", {"min_size": [6], "step_h": 5, "step_w": 5, "offset": 0.25}),
    ("min_size: 6 step_h: 5 step_w: 7.5", {"min_size": [6], "step_h": 5, "step_w": 7.5}),
]


@pytest.mark.parametrize(("body", "options"), PRIORS)
def test_prior_box(body, options):
    wanted = {"image_h": 20, "image_w": 24, **options}
    expected = reference.prior_boxes(3, 4, wanted.pop("image_h"), wanted.pop("image_w"), **wanted)
    layer = make("PriorBox", f"prior_box_param {{ {body} }}", [(2, 5, 3, 4), (2, 3, 20, 24)], double=False)
    top = run(layer, np.zeros((2, 5, 3, 4)), np.zeros((2, 3, 20, 24)))
    assert top.dtype == np.float32
    assert np.allclose(top, expected, rtol=1e-6, atol=1e-7)


def test_prior_boxes_follow_the_feature_map():
    layer = make("PriorBox", "prior_box_param { min_size: 6 }", [(1, 2, 3, 4), (1, 3, 20, 24)])
    assert layer.setup([(1, 2, 2, 2), (1, 3, 16, 16)]) == [(1, 2, 16)]
    expected = reference.prior_boxes(2, 2, 16, 16, min_size=[6])
    assert np.allclose(layer(torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 16, 16)).numpy(), expected, atol=1e-7)


def head(n, priors, classes, location_classes=1, seed=0):
    """Random offsets, confidences and prior boxes, in which many boxes overlap."""
    random = np.random.RandomState(seed)
    centre, size = random.rand(priors, 2), random.rand(priors, 2) * 0.4 + 0.1
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    variances = random.choice([0.1, 0.2], (priors, 4))
    location = random.randn(n, priors * location_classes * 4) * 0.7
    return location, random.rand(n, priors * classes), np.stack([boxes.ravel(), variances.ravel()])[None]


DETECTIONS = [
    ("code_type: CENTER_SIZE nms_param { nms_threshold: 0.45 top_k: 20 } keep_top_k: 12 confidence_threshold: 0.25",
     {"code": "CENTER_SIZE", "overlap": 0.45, "top_k": 20, "keep": 12, "threshold": 0.25}),
    ("", {}),
    ("code_type: CORNER_SIZE nms_param { nms_threshold: 0 }", {"code": "CORNER_SIZE", "overlap": 0}),
    ("code_type: CENTER_SIZE variance_encoded_in_target: true", {"code": "CENTER_SIZE", "encoded": True}),
    ("variance_encoded_in_target: true", {"encoded": True}),
    ("share_location: false code_type: CENTER_SIZE", {"share": False, "code": "CENTER_SIZE"}),
    ("background_label_id: -1 nms_param { top_k: 3 }", {"background": -1, "top_k": 3}),
    ("background_label_id: 2 keep_top_k: 0", {"background": 2, "keep": 0}),
    ("nms_param { nms_threshold: 0.9 eta: 0.8 }", {"overlap": 0.9, "eta": 0.8}),
    ("nms_param { nms_threshold: 0.3 eta: 0.5 }", {"eta": 0.5}),
    ("confidence_threshold: 1.5", {"threshold": 1.5}),
    ("confidence_threshold: 0.95", {"threshold": 0.95}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "options"), DETECTIONS)
def test_detection_output(body, options):
    n, priors, classes = 3, 24, 3
    location, confidence, prior = head(n, priors, classes, 1 if options.get("share", True) else classes)
    options = {key: float(np.float32(value)) if isinstance(value, float) else value for key, value in options.items()}
    options.setdefault("overlap", float(np.float32(0.3)))
    expected = reference.detections(location, confidence, prior, classes=classes, **options)
    shapes = [location.shape, confidence.shape, prior.shape]
    layer = make("DetectionOutput", f"detection_output_param {{ num_classes: {classes} {body} }}", shapes)
    top = run(layer, location, confidence, prior)
    assert top.shape == expected.shape
    assert np.allclose(top, expected, rtol=1e-10, atol=1e-12)


def test_an_image_without_a_detection_has_no_row_beside_one_that_has():
    location, confidence, prior = head(2, 4, 2)
    confidence[1] = 0
    body = "detection_output_param { num_classes: 2 confidence_threshold: 0.01 }"
    layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
    top = run(layer, location, confidence, prior)
    assert set(top[0, 0, :, 0]) == {0}


def test_a_box_of_infinite_size_is_no_trouble():
    location, confidence, prior = head(1, 3, 2)
    location[0, 2:4] = 1e9
    confidence[:] = 0.5
    body = "detection_output_param { num_classes: 2 code_type: CENTER_SIZE nms_param { nms_threshold: 1 } }"
    layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
    top = run(layer, location, confidence, prior)
    assert np.isinf(top[0, 0, 0, 3:]).all()
    assert np.isfinite(top[0, 0, 1:]).all()
    assert len(top[0, 0]) == 3


def test_equal_confidences_keep_the_order_of_the_boxes():
    location, confidence, prior = head(1, 5, 2)
    confidence[:] = 0.5
    body = "detection_output_param { num_classes: 2 nms_param { nms_threshold: 1 } }"
    layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
    expected = reference.detections(location, confidence, prior, classes=2, overlap=1)
    assert np.allclose(run(layer, location, confidence, prior), expected, rtol=1e-10)


def test_what_the_fork_writes_to_files_is_said_to_be_left_out_once(caplog):
    location, confidence, prior = head(1, 4, 2)
    body = 'detection_output_param { num_classes: 2 visualize: true save_output_param { output_directory: "out" } }'
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
        layer.setup([location.shape, confidence.shape, prior.shape])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "save_output_param is ignored" in messages[0]
    assert "visualize is ignored" in messages[1]


NET = """
layer { name: "in" type: "Input" top: "data" top: "f1" top: "f2"
        input_param { shape { dim: 2 dim: 3 dim: 32 dim: 32 } shape { dim: 2 dim: 4 dim: 4 dim: 4 }
                      shape { dim: 2 dim: 4 dim: 2 dim: 2 } } }
layer { name: "norm" type: "Normalize" bottom: "f1" top: "norm"
        norm_param { across_spatial: false channel_shared: false scale_filler { type: "constant" value: 4 } } }
%s
layer { name: "loc" type: "Concat" bottom: "a_loc_flat" bottom: "b_loc_flat" top: "loc" }
layer { name: "conf" type: "Concat" bottom: "a_conf_flat" bottom: "b_conf_flat" top: "conf" }
layer { name: "prior" type: "Concat" bottom: "a_prior" bottom: "b_prior" top: "prior" concat_param { axis: 2 } }
layer { name: "by_box" type: "Reshape" bottom: "conf" top: "by_box" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "soft" type: "Softmax" bottom: "by_box" top: "soft" softmax_param { axis: 2 } }
layer { name: "soft_flat" type: "Flatten" bottom: "soft" top: "soft_flat" }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "soft_flat" bottom: "prior" top: "out"
        include { phase: TEST }
        detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE
          nms_param { nms_threshold: 0.45 top_k: 10 } keep_top_k: 8 confidence_threshold: 0.3 } }
"""
SOURCE = """
layer { name: "%(x)s_loc" type: "Convolution" bottom: "%(from)s" top: "%(x)s_loc"
        convolution_param { num_output: 16 kernel_size: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "%(x)s_loc_perm" type: "Permute" bottom: "%(x)s_loc" top: "%(x)s_loc_perm"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "%(x)s_loc_flat" type: "Flatten" bottom: "%(x)s_loc_perm" top: "%(x)s_loc_flat" }
layer { name: "%(x)s_conf" type: "Convolution" bottom: "%(from)s" top: "%(x)s_conf"
        convolution_param { num_output: 12 kernel_size: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "%(x)s_conf_perm" type: "Permute" bottom: "%(x)s_conf" top: "%(x)s_conf_perm"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "%(x)s_conf_flat" type: "Flatten" bottom: "%(x)s_conf_perm" top: "%(x)s_conf_flat" }
layer { name: "%(x)s_prior" type: "PriorBox" bottom: "%(from)s" bottom: "data" top: "%(x)s_prior"
        prior_box_param { min_size: %(size)d max_size: %(max)d aspect_ratio: 2 flip: true clip: false
                          variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
"""


def mini_ssd():
    sources = SOURCE % {"x": "a", "from": "norm", "size": 8, "max": 12}
    return net_param(NET % (sources + SOURCE % {"x": "b", "from": "f2", "size": 16, "max": 20}))


def test_a_head_of_two_feature_maps_gives_the_detections_of_numpy():
    torch.manual_seed(1)
    net = sdcaffe.Net(mini_ssd(), sdcaffe.TEST)
    f1, f2 = values(2, 4, 4, 4), values(2, 4, 2, 2, seed=1)
    out = net({"data": np.zeros((2, 3, 32, 32)), "f1": f1, "f2": f2})["out"].numpy()

    location, confidence, prior = [], [], []
    for x, feature, side, low, high in (
        ("a", reference.normalize(f1, np.full(4, 4.0), False), 4, 8, 12),
        ("b", f2, 2, 16, 20),
    ):
        for name, found, each in (("loc", location, 16), ("conf", confidence, 12)):
            weight = net.params[f"{x}_{name}"][0].detach().double().numpy().reshape(each, 4)
            found.append(np.einsum("oc,nchw->nhwo", weight, feature).reshape(2, -1))
        options = {"min_size": [low], "max_size": [high], "ratios": [2], "variance": [0.1, 0.1, 0.2, 0.2]}
        prior.append(reference.prior_boxes(side, side, 32, 32, **options))
    scores = np.exp(np.concatenate(confidence, 1).reshape(2, -1, 3))
    scores /= scores.sum(2, keepdims=True)
    expected = reference.detections(
        np.concatenate(location, 1), scores.reshape(2, -1), np.concatenate(prior, 2),
        classes=3, code="CENTER_SIZE", overlap=0.45, top_k=10, keep=8, threshold=0.3,
    )  # fmt: skip
    assert out.shape == expected.shape == (1, 1, 16, 7)
    assert np.allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_the_head_trains_without_its_last_layer():
    net = sdcaffe.Net(mini_ssd(), sdcaffe.TRAIN)
    assert "out" not in net.layers
    blobs = net.compute(net.feed({"data": np.zeros((2, 3, 32, 32)), "f1": np.ones((2, 4, 4, 4)),
                                  "f2": np.ones((2, 4, 2, 2))}), keep=("loc", "soft_flat")).blobs  # fmt: skip
    (blobs["loc"].square().sum() + blobs["soft_flat"].square().sum()).backward()
    learned = [p for name, blobs in net.params.items() for p in blobs]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
    assert proto.format(net.param).count("prior_box_param") == 2
