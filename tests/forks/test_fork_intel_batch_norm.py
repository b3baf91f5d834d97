"""Intel's words for BatchNorm: statistics of parts of a batch, and fillers that belong to the Scale behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import gradients_agree, make, run, values
from fork_written import agree_everywhere

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import LayerError, WeightsError

X = values(6, 3, 2, 4)
BODY = "batch_norm_param { stats_batch_size: 2 moving_average_fraction: 0.5 eps: 0.01 }"


def own_statistics(x):
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 0.01), mean.ravel(), variance.ravel()


def test_each_part_is_normalised_by_itself_and_moves_the_running_statistics():
    layer = make("BatchNorm", BODY, [X.shape], phase="TRAIN")
    parts = [own_statistics(X[i : i + 2]) for i in (0, 2, 4)]
    assert np.allclose(run_once(layer, X), np.concatenate([top for top, _, _ in parts]), atol=1e-10)
    mean, variance, weight = (blob.numpy() for blob in layer.blobs)
    shares = np.array([0.25, 0.5, 1])  # each part halves what is there
    assert np.allclose(mean, shares @ np.stack([m for _, m, _ in parts]))
    assert np.allclose(variance, shares @ np.stack([v * 16 / 15 for _, _, v in parts]))
    assert weight == pytest.approx(1.75)


def run_once(layer, x):
    with torch.no_grad():
        return layer(torch.tensor(x)).numpy()


def test_its_gradient():
    layer = make("BatchNorm", BODY, [X.shape], phase="TRAIN")
    x = torch.tensor(X, requires_grad=True)
    weights = torch.tensor(values(*X.shape, seed=3))
    (layer(x) * weights).sum().backward()
    for place in [(0, 0, 0, 0), (1, 2, 1, 3), (3, 1, 0, 2), (5, 0, 1, 1)]:
        steps = []
        for step in (1e-5, -1e-5):
            moved = X.copy()
            moved[place] += step
            tops = np.concatenate([own_statistics(moved[i : i + 2])[0] for i in (0, 2, 4)])
            steps.append((tops * weights.numpy()).sum())
        assert x.grad[place].item() == pytest.approx((steps[0] - steps[1]) / 2e-5, abs=1e-6)


def test_in_the_test_phase_it_is_a_batch_norm(tmp_path, monkeypatch):
    layer = make("BatchNorm", BODY, [(3, 3, 2, 4)])
    for blob, numbers in zip(layer.blobs, ([2, 4, 6], [8, 2, 18], [2]), strict=True):
        blob.data.copy_(torch.tensor(numbers))
    mean, variance = np.array([1, 2, 3])[:, None, None], np.array([4, 1, 9])[:, None, None]
    want = (X[:3] - mean) / np.sqrt(variance + 0.01)
    assert np.allclose(run(layer, X[:3]), want)
    assert gradients_agree(layer, X[:3])
    blobs = [np.array([2, 4, 6]), np.array([8, 2, 18]), np.array([2])]
    agree_everywhere(tmp_path, monkeypatch, f'type: "BatchNorm" {BODY}', [X[:3]], want, blobs)


def test_a_batch_that_has_no_such_parts():
    with pytest.raises(LayerError, match=r"stats_batch_size \(=4\) must divide the batch of 6"):
        make("BatchNorm", "batch_norm_param { stats_batch_size: 4 }", [X.shape], phase="TRAIN")


NET = """
%s
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 4 dim: 2 dim: 3 dim: 3 } } }
layer { name: "b" type: "BatchNorm" bottom: "d" top: "d" batch_norm_param { %s } }
layer { name: "s" type: "Scale" bottom: "d" top: "d" scale_param { bias_term: true filler { value: 3 } } }
layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
"""


def net(tmp_path, head, fields, text=NET, phase=proto.TRAIN):
    (tmp_path / "net.prototxt").write_text(text % (head, fields))
    return sdcaffe.Net(tmp_path / "net.prototxt", phase)


def test_the_nets_statistics_are_its_batch_norms(tmp_path):
    whole, parts = net(tmp_path, "", ""), net(tmp_path, "bn_stats_batch_size: 2", "")
    x = torch.tensor(values(4, 2, 3, 3), dtype=torch.float32)
    assert torch.allclose(parts({"d": x})["r"][:2], whole({"d": x[:2].repeat(2, 1, 1, 1)})["r"][:2], atol=1e-5)
    assert not torch.allclose(parts({"d": x})["r"], whole({"d": x})["r"], atol=0.1)


def test_its_fillers_fill_the_scale(tmp_path):
    made = net(tmp_path, "", "filler { value: 0.25 } bias_filler { value: 7 }")
    assert [blob.tolist() for blob in made.params["s"]] == [[0.25, 0.25], [7, 7]]
    assert len(made.params["b"]) == 3
    made.save(tmp_path / "w.caffemodel")
    again = net(tmp_path, "", "filler { value: 0.5 }")
    assert again.params["s"][0].tolist() == [0.5, 0.5]
    loaded = sdcaffe.Net(tmp_path / "net.prototxt", proto.TRAIN, weights=tmp_path / "w.caffemodel")
    assert loaded.params["s"][0].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("head", ['engine: "CAFFE"', ""])
def test_caffes_engine_does_not_look_at_them(tmp_path, head):
    engine = "" if head else "engine: CAFFE"
    assert net(tmp_path, head, f"filler {{ value: 0.25 }} {engine}").params["s"][0].tolist() == [3, 3]


def test_without_a_scale_there_is_nothing_to_fill(tmp_path):
    text = NET.replace('type: "Scale"', 'type: "TanH"').replace(
        "scale_param { bias_term: true filler { value: 3 } }", ""
    )
    with pytest.raises(LayerError, match="write a Scale behind it") as caught:
        net(tmp_path, "", "filler { value: 1 }", text)
    assert str(caught.value.where).endswith("net.prototxt:4:77")


def test_five_blobs_are_not_taken_on_a_guess(tmp_path):
    made = net(tmp_path, "", "filler { value: 1 }")
    stored = proto.NetParameter(name="intel")
    layer = stored.layer.add(name="b", type="BatchNorm")
    for numbers in ([1, 1], [0, 0], [5, 5], [6, 6], [1]):
        blob = layer.blobs.add(data=numbers)
        blob.shape.dim.append(len(numbers))
    proto.write_binary(tmp_path / "w.caffemodel", stored)
    with pytest.raises(WeightsError, match='layer "b"'):
        sdcaffe.Net(tmp_path / "net.prototxt", proto.TRAIN, weights=tmp_path / "w.caffemodel")
    assert made.params["b"][2].tolist() == [0]
