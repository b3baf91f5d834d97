"""YOLO's layers with every option against float64 numpy, in a net that trains, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import yolo_reference as reference
from fork_layers import make, run, values

from sdcaffe.cli import main
from sdcaffe.errors import LayerError, SdcaffeError

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def body(field, param):
    words = []
    for name, value in param.items():
        for one in value if isinstance(value, list) else [value]:
            words.append(f"{name}: {str(one).lower() if isinstance(one, bool) else one}")
    return f"{field} {{ {' '.join(words)} }}"


def labels(random, n, classes, most=7):
    """Lists of (class, x, y, w, h) an image, as float32 holds them."""
    found = []
    for _ in range(n):
        count = random.randint(0, most + 1)
        boxes = [random.uniform(0.05, 0.95, (count, 2)), random.uniform(0.05, 0.6, (count, 2))]
        found.append(
            np.concatenate([random.randint(0, classes, (count, 1)), *boxes], 1).astype(np.float32).astype(float)
        )
    return found


def in_rows(boxes):
    rows = np.zeros((len(boxes), 300, 5))
    for i, own in enumerate(boxes):
        rows[i, : len(own)] = own
    return rows


def as_detections(boxes):
    """Detection labels (1, 1, boxes, 8) of such lists, mixed."""
    rows = [
        [i, label + 1, 0, x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0]
        for i, own in enumerate(boxes)
        for label, x, y, w, h in own
    ]
    return np.array(rows[::2] + rows[1::2] + [[-1] * 8]).reshape(1, 1, -1, 8)


def loss_and_gradient(layer, x, label):
    bottom = torch.tensor(x, requires_grad=True)
    loss = layer(bottom, torch.tensor(label))
    loss.backward(torch.tensor(2.0, dtype=torch.float64))
    return loss.item(), bottom.grad.numpy() / 2


@pytest.mark.parametrize("kind", ["MSE", "IOU", "GIOU", "DIOU", "CIOU"])
@pytest.mark.parametrize("seed", range(8))
def test_yolov3_with_every_option(kind, seed):
    random = np.random.RandomState(seed)
    anchors, classes = random.randint(2, 6), random.randint(1, 4)
    num = random.randint(1, anchors + 1)
    param = {
        "num_class": classes,
        "num": num,
        "object_scale": 2.0,
        "class_scale": 1.5,
        "coord_scale": 3.0,
        "thresh": [0.125, 0.5][seed & 1],
        "anchors_scale": [8, 32][seed >> 1 & 1],
        "biases": [float(v) for v in random.randint(8, 100, 2 * anchors)],
        "mask": [int(v) for v in random.permutation(anchors)[:num]],
        "use_logic_gradient": bool(seed & 1),
        "use_focal_loss": bool(seed & 2),
        "iou_loss": kind,
        "iou_normalizer": 0.5,
        "iou_thresh": [0.25, 0.5, 1.0][seed % 3],
        "max_delta": [0.0625, 10.0][seed >> 2 & 1],
        "accumulate": bool(seed & 4),
        "label_smooth_eps": [0.0, 0.125][seed >> 1 & 1],
    }
    x = random.randn(2, num * (5 + classes), random.randint(2, 5), random.randint(2, 5))
    boxes = labels(random, 2, classes)
    layer = make("Yolov3", body("yolov3_param", param), [x.shape, (2, 1500)])
    loss, gradient = loss_and_gradient(layer, x, in_rows(boxes).reshape(2, 1500))
    expected, slope = reference.Yolov3(x, in_rows(boxes), param).result()
    assert np.isclose(loss, expected, **TIGHT)
    assert np.allclose(gradient, slope, **TIGHT)


@pytest.mark.parametrize("intel", [False, True], ids=["mobilenet_yolo", "intel"])
@pytest.mark.parametrize("seed", range(6))
def test_region_loss_with_every_option(intel, seed):
    random = np.random.RandomState(seed)
    num = [2, 5, 3][seed % 3]
    param = {
        "num_class": 3,
        "num": num,
        "bias_match": seed & 1,
        "rescore": seed >> 1 & 1,
        "object_scale": 5.0,
        "class_scale": 1.5,
        "noobject_scale": 0.5,
        "coord_scale": 3.0,
        "thresh": [0.125, 0.5][seed & 1],
        "biases": [float(v) for v in random.uniform(0.5, 4, 10).astype(np.float32)],
    }
    x, boxes = random.randn(2, num * 8, 4, 4), labels(random, 2, 3)
    label = as_detections(boxes) if intel else in_rows(boxes).reshape(2, 1500)
    layer = make("RegionLoss", body("region_loss_param", param), [x.shape, label.shape])
    if intel:  # in the order of the mixed rows
        rows = label.reshape(-1, 8)
        low, high = rows[:, 3:5], rows[:, 5:7]
        of_all = np.concatenate([rows[:, 1:2] - 1, (low + high) / 2, high - low], 1)
        boxes = [of_all[rows[:, 0] == i] for i in (0, 1)]
    loss, gradient = loss_and_gradient(layer, x, label)
    expected, slope = reference.region_loss(x, boxes, param, intel)
    assert np.isclose(loss, expected, **TIGHT)
    assert np.allclose(gradient, slope, **TIGHT)


def test_intels_region_loss_maps_classes(tmp_path):
    (tmp_path / "map.txt").write_text("2\n0\n1\n")
    random = np.random.RandomState(0)
    param = {"num_class": 3, "num": 5, "biases": [1.0] * 10}
    x, boxes = random.randn(1, 40, 3, 3), [np.array([[1, 0.5, 0.5, 0.2, 0.3]])]
    mapped = {**param, "class_map": f'"{tmp_path}/map.txt"'}
    found = [
        make("RegionLoss", body("region_loss_param", p), [x.shape, (1, 1, 1, 8)])(
            torch.tensor(x), torch.tensor(as_detections([np.array([[label, *boxes[0][0, 1:]]])])[:, :, :1])
        ).item()
        for label, p in ((1, mapped), (0, param), (1, param))
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("score_type", ["OBJ", "PROB", "MULTIPLY"])
@pytest.mark.parametrize("nms", [0.25, 0.5, -1.0])
def test_eval_detection(score_type, nms):
    random = np.random.RandomState(len(score_type))
    param = {"side": 3, "num_class": 2, "num_object": 5, "threshold": 0.25, "score_type": score_type, "nms": nms}
    param["biases"] = [float(v) for v in random.uniform(0.5, 3, 10).astype(np.float32)]
    x, boxes = random.randn(2, 35, 3, 3), labels(random, 2, 2)
    label = as_detections(boxes)
    layer = make("EvalDetection", body("eval_detection_param", param), [x.shape, label.shape])
    top = run(layer, x, label)
    expected = reference.eval_detection(x, boxes, {**param, "nms": max(nms, 0)})
    if nms < 0:
        expected[:, 2:] = 0
    else:
        assert expected[:, 4::4].sum() > 0  # some are right
    assert np.allclose(top, expected, atol=1e-6)


def test_a_gaussian_box_of_version_3():
    """Behind each of the box's four numbers stands its doubt; x's counts twice."""
    x = values(1, 10, 1, 2, seed=4)
    text = "num_classes: 1 num_box: 1 biases: 16 biases: 24 anchors_scale: 16 mask_group_num: 1 mask: 0"
    layer = make(
        "Yolov3DetectionOutput",
        f"yolov3_detection_output_param {{ {text} confidence_threshold: 0 nms_threshold: 1 gaussian_box: true }}",
        [x.shape],
    )
    rows = run(layer, x).reshape(-1, 7)
    expected = []
    for i in range(2):
        v = x[0, :, 0, i]
        s = reference.sigmoid(v)
        score = s[9] * s[8] * (4 - 2 * s[1] - s[3] - s[5] - s[7]) / 4
        half = np.array([np.exp(v[4]) * 16 / 32, np.exp(v[6]) * 24 / 16]) / 2
        middle = np.array([(i + s[0]) / 2, s[2]])
        expected.append([0, 1, score, *(middle - half), *(middle + half)])
    assert np.allclose(rows, sorted(expected, key=lambda row: -row[2]))


def test_without_a_detection_there_is_a_row_an_image():
    text = "num_classes: 1 num_box: 1 biases: 1 biases: 1 confidence_threshold: 1.5"
    layer = make("YoloDetectionOutput", f"yolo_detection_output_param {{ {text} }}", [(2, 6, 2, 2)])
    assert run(layer, np.zeros((2, 6, 2, 2))).tolist() == [[[[0] + [-1] * 6, [1] + [-1] * 6]]]


TRAINED = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 4 dim: 8 dim: 8 } shape { dim: 2 dim: 1500 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 0 } } }
layer { name: "squares" type: "Reorg" bottom: "data" top: "squares" reorg_param { stride: 2 } }
layer { name: "conv" type: "Convolution" bottom: "squares" top: "maps"
  convolution_param { num_output: 12 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "Yolov3" bottom: "maps" bottom: "label" top: "loss"
  yolov3_param { num_class: 1 num: 2 biases: 10 biases: 14 biases: 23 biases: 27 mask: 0 mask: 1 } }
layer { name: "up" type: "Upsample" bottom: "maps" top: "up" upsample_param { scale: 2 } }
layer { name: "up_loss" type: "RegionLoss" bottom: "up" bottom: "label" top: "up_loss"
  region_loss_param { num_class: 1 num: 2 biases: 1 biases: 1 biases: 2 biases: 2 biases: 1 biases: 1 biases: 1
    biases: 1 biases: 1 biases: 1 } }
"""


def test_a_yolo_net_trains_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TRAINED)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 6 snapshot: 3 snapshot_prefix: "net"\n'
        "random_seed: 3 display: 1"
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    whole = (tmp_path / "net_iter_6.solverstate").read_bytes()
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_3.solverstate"]) == 0
    assert (tmp_path / "net_iter_6.solverstate").read_bytes() == whole


BIASES = " ".join(["biases: 1"] * 10)
REFUSED = [
    ("Reorg", "", [(1, 4, 2, 2)], "stride"),
    ("Reorg", "reorg_param { stride: 2 }", [(1, 3, 2, 2)], "multiple of 4"),
    ("Reorg", "reorg_param { stride: 2 }", [(1, 4, 3, 2)], "multiples of 2"),
    ("Reorg", "reorg_param { stride: 2 reverse: true }", [(1, 6, 2, 2)], "multiple of 4"),
    ("Yolov3", "yolov3_param { num: 2 mask: 0 biases: 1 biases: 1 }", [(1, 50, 2, 2), (1, 1500)], "mask"),
    ("Yolov3", "yolov3_param { num: 1 mask: 1 biases: 1 biases: 1 }", [(1, 25, 2, 2), (1, 1500)], "anchor 1"),
    ("Yolov3", "yolov3_param { num: 1 mask: 0 biases: 1 biases: 1 }", [(1, 24, 2, 2), (1, 1500)], "25"),
    ("Yolov3", "yolov3_param { num: 1 mask: 0 biases: 1 biases: 1 }", [(1, 25, 2, 2), (1, 150)], "300 rows"),
    ("RegionLoss", "region_loss_param { biases: 1 biases: 1 }", [(1, 125, 2, 2), (1, 1500)], "biases"),
    ("RegionLoss", f"region_loss_param {{ {BIASES} }}", [(1, 125, 2, 3), (1, 1500)], "as high as wide"),
    (
        "RegionLoss",
        f'region_loss_param {{ {BIASES} softmax_tree: "t" }}',
        [(1, 125, 2, 2), (1, 1, 3, 8)],
        "softmax_tree",
    ),
    ("EvalDetection", "eval_detection_param { num_object: 2 }", [(1, 50, 7, 7), (1, 1, 2, 8)], "num_object"),
    ("Yolov3DetectionOutput", "", [(1, 75, 2, 2)], "num_classes"),
    ("YoloDetectionOutput", "yolo_detection_output_param { num_classes: 2 }", [(1, 35, 2, 2)], "biases"),
]


@pytest.mark.parametrize(("kind", "text", "shapes", "word"), REFUSED)
def test_what_is_refused(kind, text, shapes, word):
    with pytest.raises(SdcaffeError, match=word):
        make(kind, text, shapes)


def test_a_label_that_is_no_class():
    layer = make(
        "Yolov3", "yolov3_param { num_class: 2 num: 1 mask: 0 biases: 9 biases: 9 }", [(1, 7, 2, 2), (1, 1500)]
    )
    label = torch.zeros(1, 300, 5)
    label[0, 0] = torch.tensor([2, 0.5, 0.5, 0.2, 0.2])
    with pytest.raises(SdcaffeError, match="label 2 is out of range"):
        layer(torch.zeros(1, 7, 2, 2), label.reshape(1, 1500))


def test_yolo_seg():
    x = values(3, 2, 4, 5)
    label = (values(3, 2, 4, 5, seed=1) > 0.6).astype(float)
    counts = label.sum((2, 3))
    layer = make("YoloSeg", "yolo_seg_param { object_scale: 0.1 }", [x.shape, label.shape, counts.shape])
    want, slope = 0.0, np.zeros_like(x)
    for at in np.ndindex(x.shape):
        ones = counts[:, at[1]].sum()
        scale = 0.1 * (2 - ones / (3 * 20 - ones)) if label[at] else 0.1
        apart = scale * (1 / (1 + math.exp(-x[at])) - label[at])
        want += apart**2 / 3
        slope[at] = apart / 3
    bottom = torch.tensor(x, requires_grad=True)
    loss = layer(bottom, torch.tensor(label), torch.tensor(counts))
    loss.backward()
    assert loss.item() == pytest.approx(want, rel=1e-6)
    assert np.allclose(bottom.grad.numpy(), slope, rtol=1e-6)
    with pytest.raises(LayerError, match="counts"):
        make("YoloSeg", "", [x.shape, label.shape, (3, 3)])
