"""Inner products with a margin, CenterLoss, SeLu and SeLuDropout against float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from fork_layers import fill, gradients_agree, make, values
from fork_written import agree_everywhere

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.errors import LayerError, SdcaffeError

TYPES = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "QUADRUPLE": 4}
X, W, LABEL = values(8, 5), values(4, 5, seed=1), np.array([0, 1, 2, 3, 3, 2, 1, 0.0])
FADES = "base: 8 gamma: 0.5 power: 2 iteration: 3 lambda_min: 0.1"


def fades(passed):
    return max(8 * (1 + 0.5 * (3 + passed)) ** -2, 0.1)


def widened(angle, times):
    """cos(times * angle), turned over where needed so that it falls all the way from 0 to pi."""
    k = math.floor(times * angle / math.pi)
    return (-1) ** k * math.cos(times * angle) - 2 * k


def products(x, w, times, weight, unit):
    """By angles: what each layer's own class gets in place of the plain product."""
    top = np.empty((len(x), len(w)))
    for i, row in enumerate(x):
        for j, vector in enumerate(w):
            vector = vector / np.linalg.norm(vector) if unit else vector
            plain = row @ vector
            size = np.linalg.norm(row) * np.linalg.norm(vector)
            own = size * widened(math.acos(plain / size), times) if j == LABEL[i] and times > 1 else plain
            top[i, j] = (own + weight * plain) / (1 + weight)
    return top


def layer_of(kind, type_name, tops=2, more=FADES):
    field = {"MarginInnerProduct": "margin_inner_product_param"}.get(kind, "largemargin_inner_product_param")
    body = f"{field} {{ num_output: 4 type: {type_name} {more} }}"
    return fill(make(kind, body, [X.shape, LABEL.shape], phase="TRAIN", tops=tops), W)


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("kind", ["MarginInnerProduct", "LargeMarginInnerProduct"])
def test_margins_by_their_angles(kind, type_name):
    layer = layer_of(kind, type_name)
    for passed in (1, 2, 3):  # lambda falls with each
        top, weight = layer(torch.tensor(X), torch.tensor(LABEL))
        assert weight.item() == pytest.approx(fades(passed), rel=1e-6)
        want = products(X, W, TYPES[type_name], fades(passed), kind == "MarginInnerProduct")
        assert np.allclose(top.detach().numpy(), want, atol=1e-6)
    if kind == "MarginInnerProduct":
        assert np.allclose(np.linalg.norm(layer.blobs[0].detach().numpy(), axis=1), 1)


@pytest.mark.parametrize("type_name", TYPES)
def test_l_softmaxs_gradient_is_the_true_one(type_name):
    layer = layer_of("LargeMarginInnerProduct", type_name, tops=1, more="base: 0.7")
    assert gradients_agree(layer, X, LABEL)


@pytest.mark.parametrize("type_name", ["DOUBLE", "TRIPLE", "QUADRUPLE"])
def test_spherefaces_gradient_is_a_direction(type_name):
    times, weight = TYPES[type_name], 0.7
    layer = layer_of("MarginInnerProduct", type_name, tops=1, more="base: 0.7")
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    grad = values(8, 4, seed=2)
    bottom = torch.tensor(X, requires_grad=True)
    (layer(bottom, torch.tensor(LABEL)) * torch.tensor(grad)).sum().backward()
    assert np.allclose(layer.blobs[0].grad.numpy(), grad.T @ X)  # as if there were no margin
    want = grad @ unit
    for i, row in enumerate(X):
        own, size = unit[int(LABEL[i])], np.linalg.norm(row)
        cosine, step = row @ own / size, 1e-6
        high, low = (widened(math.acos(cosine + d), times) for d in (step, -step))
        along = (high - low) / (2 * step)  # of |x| f(cos): along the vector f', along x (f - cos f') / |x|
        beside = (widened(math.acos(cosine), times) - cosine * along) / size
        direction = (along * own + beside * row) / math.hypot(along, beside)
        want[i] += grad[i, int(LABEL[i])] * (direction - own) / (1 + weight)
    assert np.allclose(bottom.grad.numpy(), want, atol=1e-5)


def test_center_loss():
    centers = values(3, 5, seed=3)
    label = np.array([0, 0, 2, 0, 2, 0, 0, 2.0])
    body = "center_loss_param { num_output: 3 }"
    layer = fill(make("CenterLoss", body, [X.shape, label.shape]), centers)
    bottom = torch.tensor(X, requires_grad=True)
    loss = layer(bottom, torch.tensor(label))
    distances = [np.linalg.norm(x - centers[int(c)]) ** 2 for x, c in zip(X, label, strict=True)]
    assert loss.item() == pytest.approx(sum(distances) / 16)
    (0.01 * loss).backward()
    assert np.allclose(bottom.grad.numpy(), 0.01 * (X - centers[label.astype(int)]) / 8)
    for c in range(3):  # the loss weight has no part in this one
        own = X[label == c]
        want = len(own) * (centers[c] - own.mean(0)) / (1 + len(own)) if len(own) else np.zeros(5)
        assert np.allclose(layer.blobs[0].grad[c].numpy(), want)


def test_center_loss_needs_a_number_of_classes():
    with pytest.raises(LayerError, match="num_output"):
        make("CenterLoss", "", [(2, 3), (2,)])


def test_selu(tmp_path, monkeypatch):
    x = values(3, 8)
    want = np.where(x > 0, 1.050700987 * x, 1.050700987 * 1.67326324 * np.expm1(x))
    assert gradients_agree(make("SeLu", "", [x.shape]), x)
    agree_everywhere(tmp_path, monkeypatch, 'type: "SeLu"', [x], want)
    other = make("SeLu", "selu_param { lambda: 2 alpha: 0.5 }", [x.shape])
    assert np.allclose(other(torch.tensor(x)).numpy(), np.where(x > 0, 2 * x, np.expm1(x)))


def test_selu_dropout_keeps_mean_and_variance(tmp_path, monkeypatch):
    torch.manual_seed(0)
    layer = make("SeLuDropout", "selu_dropout_param { dropout_ratio: 0.3 }", [(400, 500)], phase="TRAIN")
    bottom = torch.randn(400, 500, dtype=torch.float64, requires_grad=True)
    top = layer(bottom)
    assert abs(top.mean().item()) < 0.01
    assert abs(top.var().item() - 1) < 0.02
    top.sum().backward()
    kept = bottom.grad != 0
    assert abs(kept.double().mean().item() - 0.7) < 0.01
    assert len(top[~kept].unique()) == 1
    (slope,) = bottom.grad[kept].unique()
    dropped = top[~kept][0].item()  # a * alpha + b; what is kept is a * x + b
    assert torch.allclose(top[kept], slope * (bottom[kept] + 1.75809934) + dropped, atol=1e-6)
    x = values(3, 8)
    agree_everywhere(tmp_path, monkeypatch, 'type: "SeLuDropout"', [x], x)


NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 6 dim: 4 }
  shape { dim: 6 } data_filler { type: "gaussian" std: 1 } data_filler { type: "uniform" min: 0 max: 2.99 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "sphere" type: "MarginInnerProduct" bottom: "fc" bottom: "label" top: "sphere" top: "lambda"
  margin_inner_product_param { num_output: 3 type: QUADRUPLE base: 10 gamma: 1 weight_filler { type: "xavier" } } }
layer { name: "large" type: "LargeMarginInnerProduct" bottom: "fc" bottom: "label" top: "large" top: "mu"
  largemargin_inner_product_param { num_output: 3 type: TRIPLE base: 9 gamma: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sphere" bottom: "label" top: "loss" }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "large" bottom: "label" top: "loss2" }
layer { name: "center" type: "CenterLoss" bottom: "fc" bottom: "label" top: "center" loss_weight: 0.1
  center_loss_param { num_output: 3 center_filler { type: "xavier" } } }
"""


def test_a_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 8 snapshot: 3 snapshot_prefix: "net"\n'
        "random_seed: 3 display: 1 iter_size: 2"
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    whole = (tmp_path / "net_iter_8.caffemodel").read_bytes()
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_3.solverstate"]) == 0
    assert (tmp_path / "net_iter_8.caffemodel").read_bytes() == whole


def test_what_is_deployed(tmp_path, monkeypatch):
    """L-Softmax's becomes a plain product of its vectors; SphereFace's net ends before its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    net = sdcaffe.Net("net.prototxt", sdcaffe.TEST)
    net.save("net.caffemodel")
    wanted = ["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx", "--end", "large", "--end", "fc"]
    assert main(wanted) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    x = values(6, 4).astype(np.float32)
    large, fc = session.run(["large", "fc"], {"data": x})
    assert np.allclose(large, fc @ net.layers["large"].blobs[0].detach().numpy().T, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("MarginInnerProduct", "", [(2, 3), (2,)], "num_output"),
        ("LargeMarginInnerProduct", "largemargin_inner_product_param { num_output: 2 }", [(2, 3), (3,)], "2 labels"),
        ("SeLuDropout", "selu_dropout_param { dropout_ratio: 0 }", [(2, 3)], "dropout_ratio"),
    ],
)
def test_what_is_wrong_is_named(kind, body, shapes, word):
    with pytest.raises(LayerError, match=word):
        make(kind, body, shapes)


def test_a_label_there_is_no_class_for():
    with pytest.raises(SdcaffeError, match="out of range"):
        layer_of("MarginInnerProduct", "DOUBLE")(torch.tensor(X), torch.tensor(LABEL + 1))
