"""SSD's head, PriorBox and DetectionOutput: what the recordings of single layers do not show, and whole detectors."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fork_layers import make, net_param, run

import sdcaffe
from sdcaffe import proto

RUNS = Path(__file__).parent / "recordings" / "ssd" / "training"


def test_prior_boxes_follow_the_feature_map():
    layer = make("PriorBox", "prior_box_param { min_size: 6 }", [(1, 2, 3, 4), (1, 3, 20, 24)])
    assert layer.setup([(1, 2, 2, 2), (1, 3, 16, 16)]) == [(1, 2, 16)]
    first = layer(torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 16, 16))[0, 0, :4]
    assert torch.allclose(first, torch.tensor([1, 1, 7, 7], dtype=torch.float64) / 16)  # 6 pixels around (4, 4) of 16


def head(n, priors, classes, location_classes=1, seed=0):
    """Random offsets, confidences and prior boxes, in which many boxes overlap."""
    random = np.random.RandomState(seed)
    centre, size = random.rand(priors, 2), random.rand(priors, 2) * 0.4 + 0.1
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    variances = random.choice([0.1, 0.2], (priors, 4))
    location = random.randn(n, priors * location_classes * 4) * 0.7
    return location, random.rand(n, priors * classes), np.stack([boxes.ravel(), variances.ravel()])[None]


def test_boxes_are_cut_to_the_image_before_they_are_compared():
    """The two overlap by 0.5 of their union as they are, by nothing of the image once they are cut."""
    location = np.zeros((1, 8))
    prior = np.array([[[-1.0, 0, 0.25, 1, -1, 0, -0.375, 1], [0.1] * 8]])
    confidence = np.array([[0, 0.9, 0, 0.8]])
    for body, labels in (("", 1), ("clip: true", 2)):
        body = f"detection_output_param {{ num_classes: 2 nms_param {{ nms_threshold: 0.4 }} {body} }}"
        layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
        assert run(layer, location, confidence, prior).shape[2] == labels
    assert run(layer, location, confidence, prior)[0, 0, 0].tolist() == [0, 1, 0.9, 0, 0, 0.25, 1]


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
    box = np.swapaxes(run(layer, location, confidence, prior)[0, 0, :, 3:], 0, 1)
    offset, first, variance = location.reshape(5, 4), *prior.reshape(2, 5, 4)
    assert np.allclose(box.T, first + variance * offset)


def test_what_is_not_done_is_said_once(caplog):
    location, confidence, prior = head(1, 4, 2)
    body = 'detection_output_param { num_classes: 2 visualize: true save_output_param { output_directory: "out" } }'
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        layer = make("DetectionOutput", body, [location.shape, confidence.shape, prior.shape])
        layer.setup([location.shape, confidence.shape, prior.shape])
    first, second = (record.getMessage() for record in caplog.records)
    assert "visualize, a window" in first
    assert "nothing is saved without label_map_file and name_size_file" in second


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


@pytest.mark.parametrize("run", sorted(path.parent for path in RUNS.glob("*/deploy.npz")), ids=lambda run: run.name)
def test_a_trained_detector_gives_the_forks_blobs(run):
    net = sdcaffe.Net(run / "deploy.prototxt", sdcaffe.TEST, run / "final.caffemodel")
    recorded = np.load(run / "deploy.npz")
    blobs = net.compute(net.feed({"data": recorded["data"]}), keep=set(recorded.files)).blobs
    for name in ("mbox_loc", "mbox_conf_flatten", "mbox_priorbox", "detection_out"):
        assert blobs[name].shape == recorded[name].shape
        assert np.allclose(blobs[name].detach().numpy(), recorded[name], rtol=1e-5, atol=1e-5), name


def test_the_head_trains_without_its_last_layer():
    net = sdcaffe.Net(mini_ssd(), sdcaffe.TRAIN)
    assert "out" not in net.layers
    blobs = net.compute(net.feed({"data": np.zeros((2, 3, 32, 32)), "f1": np.ones((2, 4, 4, 4)),
                                  "f2": np.ones((2, 4, 2, 2))}), keep=("loc", "soft_flat")).blobs  # fmt: skip
    (blobs["loc"].square().sum() + blobs["soft_flat"].square().sum()).backward()
    learned = [p for name, blobs in net.params.items() for p in blobs]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
    assert proto.format(net.param).count("prior_box_param") == 2
