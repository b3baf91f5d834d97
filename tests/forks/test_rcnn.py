"""Faster R-CNN's and R-FCN's layers: against numpy, in nets that train, exported, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fork_layers import gradients_agree, make, net_param, run, values
from fork_reference import c_round
from written import open_module

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
PSROI = "psroi_pooling_param { spatial_scale: 0.25 output_dim: 2 group_size: 3 }"
REGIONS = np.array(
    [[0, 2, 3, 20, 17], [1, 0, 0, 39, 31], [0, 9.5, 4.5, 9.5, 4.5], [1, 60, 60, 80, 80], [0, 30, 2, 8, 9.0]]
)


def psroi(x, regions, scale, outputs, group):
    """Cell by cell, as R-FCN's paper and recordings have it."""
    top = np.zeros((len(regions), outputs, group, group))
    for r, c, i, j in np.ndindex(*top.shape):
        x1, y1, x2, y2 = (c_round(v) for v in regions[r, 1:])
        sides = []
        for cell, low, high, limit in ((i, y1, y2, x.shape[2]), (j, x1, x2, x.shape[3])):
            start = low * scale
            size = max((high + 1) * scale - start, 0.1) / group
            sides.append(slice(*(min(max(int(v), 0), limit) for v in
                                 (np.floor(start + cell * size), np.ceil(start + (cell + 1) * size)))))  # fmt: skip
        window = x[int(regions[r, 0]), (c * group + i) * group + j][tuple(sides)]
        top[r, c, i, j] = window.mean() if window.size else 0
    return top


def test_psroi_pooling():
    x = values(2, 18, 8, 10)
    layer = make("PSROIPooling", PSROI, [x.shape, REGIONS.shape])
    assert np.allclose(run(layer, x, REGIONS), psroi(x, REGIONS, 0.25, 2, 3), **TIGHT)
    assert gradients_agree(layer, x, REGIONS)


@pytest.mark.parametrize("sigma", [0.5, 1, 3])
def test_smooth_l1_loss(sigma):
    a, b = 3 * values(4, 6), values(4, 6, seed=1)
    inside, outside = np.abs(values(4, 6, seed=2)), np.abs(values(4, 6, seed=3))
    layer = make("SmoothL1Loss", f"smooth_l1_loss_param {{ sigma: {sigma} }}", [(4, 6)] * 4)
    size = np.abs(inside * (a - b))
    edge = 1 / sigma**2
    # The linear part begins where it touches the parabola: the integral of the slope, which is size / edge up to 1.
    slope_sum = np.where(size < edge, size * size / edge / 2, edge / 2 + (size - edge))
    assert np.allclose(run(layer, a, b, inside, outside), (outside * slope_sum).sum() / 4, **TIGHT)
    assert gradients_agree(layer, a, b, inside, outside)


FASTER = """
layer { name: "data" type: "DummyData" top: "data" top: "rois" top: "label" top: "target"
  dummy_data_param {
    shape { dim: 1 dim: 3 dim: 16 dim: 16 } shape { dim: 6 dim: 5 } shape { dim: 6 } shape { dim: 6 dim: 4 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 0 }
    data_filler { type: "constant" value: 1 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "maps"
  convolution_param { num_output: 24 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "slice" type: "Slice" bottom: "maps" top: "score_maps" top: "box_maps" slice_param { slice_point: 8 } }
layer { name: "score" type: "PSROIPooling" bottom: "score_maps" bottom: "rois" top: "scores"
  psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 } }
layer { name: "box" type: "PSROIPooling" bottom: "box_maps" bottom: "rois" top: "boxes"
  psroi_pooling_param { spatial_scale: 1 output_dim: 4 group_size: 2 } }
layer { name: "mean" type: "Pooling" bottom: "scores" top: "score" pooling_param { pool: AVE global_pooling: true } }
layer { name: "mean_box" type: "Pooling" bottom: "boxes" top: "box" pooling_param { pool: AVE global_pooling: true } }
layer { name: "ask" type: "Softmax" bottom: "score" top: "prob" }
layer { name: "cost" type: "SoftmaxWithLossOHEM" bottom: "score" bottom: "label" top: "t0" top: "t1" top: "each"
  loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }
layer { name: "hard" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "each" bottom: "label" bottom: "target"
  top: "hard_label" top: "weight" box_annotator_ohem_param { roi_per_img: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "hard_label" top: "loss"
  loss_param { ignore_label: -1 } }
layer { name: "flat" type: "Flatten" bottom: "box" top: "moves" }
layer { name: "flat_weight" type: "Flatten" bottom: "weight" top: "weights" }
layer { name: "box_loss" type: "SmoothL1LossOHEM" bottom: "moves" bottom: "target" bottom: "weights" top: "box_loss"
  loss_weight: 1 }
layer { name: "rpn_loss" type: "SmoothL1Loss" bottom: "moves" bottom: "target" top: "rpn_loss" %s }
"""


def train(folder):
    (folder / "net.prototxt").write_text(FASTER % "loss_weight: 1")
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 8 snapshot: 4 snapshot_prefix: "net"\n'
        "random_seed: 3 display: 1"
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0


def test_an_r_fcn_head_trains_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path)
    whole = (tmp_path / "net_iter_8.solverstate").read_bytes()
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_4.solverstate"]) == 0
    assert (tmp_path / "net_iter_8.solverstate").read_bytes() == whole


def test_without_a_loss_weight_smooth_l1_trains_nothing():
    param = net_param(FASTER.split("layer")[0] + 'layer { name: "x" type: "Input" top: "a" top: "b"'
                      ' input_param { shape { dim: 2 dim: 3 } } }'
                      'layer { name: "l" type: "SmoothL1Loss" bottom: "a" bottom: "b" top: "l" }')  # fmt: skip
    net = sdcaffe.Net(param, sdcaffe.TRAIN)
    result = net.compute(net.feed({"a": np.ones((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)}))
    assert float(result.loss) == 0


DEPLOY = """
layer { name: "data" type: "Input" top: "data" top: "rois"
  input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } shape { dim: 6 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "maps" convolution_param { num_output: 8 kernel_size: 1
  weight_filler { type: "xavier" } } }
layer { name: "pool" type: "PSROIPooling" bottom: "maps" bottom: "rois" top: "out"
  psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 } }
"""


def test_psroi_pooling_is_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(DEPLOY)
    net = sdcaffe.Net("net.prototxt", sdcaffe.TEST)
    net.save("net.caffemodel")
    random = np.random.default_rng(0)
    corners = random.uniform(0, 8, (6, 2))
    rois = np.concatenate([np.zeros((6, 1)), corners, corners + 5], 1).astype(np.float32)
    feeds = {"data": random.standard_normal((1, 3, 16, 16)).astype(np.float32), "rois": rois}
    expected = psroi(net_maps(net, feeds), rois.astype(np.float64), 1, 2, 2)
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, feeds)[0], expected, atol=1e-5)
    assert main(["convert", "module", "net.prototxt", "written.py", "--weights", "net.caffemodel"]) == 0
    written = open_module(tmp_path / "written.py")
    with torch.no_grad():
        assert np.allclose(written(*map(torch.from_numpy, feeds.values())).numpy(), expected, atol=1e-5)


def net_maps(net, feeds):
    weight = net.params["conv"][0].data.numpy().reshape(8, 3).astype(np.float64)
    return np.einsum("oc,nchw->nohw", weight, feeds["data"].astype(np.float64))


REFUSED = [
    ("SmoothL1Loss", "", [(2, 3)] * 3, "outside weights"),
    ("SmoothL1Loss", "smooth_l1_loss_param { sigma: 0 }", [(2, 3)] * 2, "sigma"),
    ("SmoothL1Loss", "", [(2, 3), (3, 2)], "shape of bottom 0"),
    ("PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 3 }", [(1, 18, 4, 4), (2, 5)], "spatial_scale"),
    ("PSROIPooling", PSROI, [(1, 17, 4, 4), (2, 5)], "18"),
    ("PSROIPooling", PSROI, [(1, 18, 4, 4), (2, 4)], "5 numbers"),
    ("BoxAnnotatorOHEM", "", [(4, 5), (4,), (4,), (4, 8)], "roi_per_img"),
    ("BoxAnnotatorOHEM", "box_annotator_ohem_param { roi_per_img: 1 }", [(4, 5), (3,), (4,), (4, 8)], "bottom 1"),
    ("Proposal", "proposal_param { scale: 1 }", [(1, 2, 3, 3), (1, 4, 3, 3), (1, 4)], "ratio"),
    ("Proposal", "proposal_param { ratio: 1 scale: 1 }", [(2, 2, 3, 3), (2, 4, 3, 3), (1, 4)], "one image"),
    ("SoftmaxWithLossOHEM", "loss_weight: 1", [(4, 3), (4,)], "loss_weight"),
]


@pytest.mark.parametrize(("kind", "body", "shapes", "word"), REFUSED)
def test_what_is_refused(kind, body, shapes, word):
    tops = 2 if kind in ("BoxAnnotatorOHEM", "SoftmaxWithLossOHEM") else 1
    with pytest.raises(SdcaffeError, match=word):
        make(kind, body, shapes, tops=tops)


def test_a_region_of_an_item_that_is_not_there():
    layer = make("PSROIPooling", PSROI, [(1, 18, 4, 4), (1, 5)])
    with pytest.raises(SdcaffeError, match="item 1"):
        layer(torch.zeros(1, 18, 4, 4), torch.tensor([[1.0, 0, 0, 4, 4]]))


@pytest.mark.parametrize(("phase", "most"), [(sdcaffe.TRAIN, 3), (sdcaffe.TEST, 1)])
def test_a_python_layer_as_py_faster_rcnn_writes_them(phase, most, monkeypatch):
    from sdcaffe import pycaffe

    pycaffe.install()
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    param = net_param("""
layer { name: "in" type: "Input" top: "a" top: "maps"
  input_param { shape { dim: 1 dim: 6 } shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "regions" type: "Python" bottom: "a" top: "rois"
  python_param { module: "rcnn_layers" layer: "Regions" param_str: "{\\"feat_stride\\": 2}" } }
layer { name: "pool" type: "ROIPooling" bottom: "maps" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 } }
""")
    net = sdcaffe.Net(param, phase)
    a = np.array([[1, 0, 1, 1, 0, 1]], np.float32)
    feeds = {"a": a, "maps": np.zeros((1, 2, 4, 4), np.float32)}
    blobs = net.compute(net.feed(feeds), ["rois", "pool"]).blobs
    assert blobs["rois"][:, 1].tolist() == [0, 4, 6][:most]
    assert tuple(blobs["pool"].shape) == (most, 2, 2, 2)
