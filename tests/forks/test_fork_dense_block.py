"""Tongcheng's DenseBlock beside its recordings: weights of its GPU code, dropout, every form, training, mistakes."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from fork_layers import fill, make
from fork_written import agree_everywhere

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import LayerError

BODY = "denseblock_param { numTransition: 2 initChannel: 3 growthRate: 2 %s }"
NET = """
layer { name: "in" type: "DummyData" top: "x" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 5 dim: 5 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "target" type: "DummyData" top: "y" dummy_data_param { shape { dim: 4 dim: 7 dim: 5 dim: 5 } } }
layer { name: "block" type: "DenseBlock" bottom: "x" top: "block" denseblock_param {
  numTransition: 2 initChannel: 3 growthRate: 2 use_BC: true use_dropout: true dropout_amount: 0.2
  Filter_Filler { type: "msra" } BN_Scaler_Filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "block" bottom: "y" top: "loss" }
"""


def arrays(squeezed, count, seed=1):
    """Blobs in the fork's order, float64; `count` 0 is what its GPU code leaves."""
    random = np.random.RandomState(seed)

    def normal(*shape):
        return 0.4 * random.randn(*shape)

    def norms(sizes):
        kinds = [normal, normal, normal, lambda *shape: 0.5 + random.rand(*shape)]
        return [kind(1, size, 1, 1) for kind in kinds for size in sizes]

    if not squeezed:
        return [normal(2, 3, 3, 3), normal(2, 5, 3, 3), *norms([3, 5]), np.array([count])]
    wide = [normal(8, 3, 1, 1), normal(8, 5, 1, 1), *norms([8, 8])]
    return [normal(2, 8, 3, 3), normal(2, 8, 3, 3), *norms([3, 5]), *wide, np.array([count])]


def convolved(maps, filters):
    """The mathematical convolution, as large as the maps: top(y, x) is the sum of f(a, b) * maps(y - a, x - b)."""
    n, _, height, width = maps.shape
    wide = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    top = np.zeros((n, len(filters), height, width))
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            moved = wide[:, :, 1 - a : 1 - a + height, 1 - b : 1 - b + width]
            top += np.einsum("nchw,oc->nohw", moved, filters[:, :, a + 1, b + 1])
    return top


def expected(x, blobs, squeezed):
    """The test phase in float64, from the formula: a transition at a time."""
    count = blobs[-1][0] or 1.0

    def active(maps, scale, bias, mean, variance):
        return np.maximum(scale * (maps - mean / count) / np.sqrt(variance / count + 1e-5) + bias, 0)

    for i in range(2):
        new = active(x, blobs[2 + i], blobs[4 + i], blobs[6 + i], blobs[8 + i])
        if squeezed:
            new = np.einsum("nchw,oc->nohw", new, blobs[10 + i][:, :, 0, 0])
            new = active(new, blobs[12 + i], blobs[14 + i], blobs[16 + i], blobs[18 + i])
        x = np.concatenate([x, convolved(new, blobs[i])], 1)
    return x


@pytest.mark.parametrize("squeezed", [False, True], ids=["plain", "BC"])
@pytest.mark.parametrize("count", [0.0, 1.7], ids=["gpu's", "cpu's"])
def test_a_deployed_net_gives_the_formulas_numbers_in_every_form(tmp_path, monkeypatch, squeezed, count):
    blobs, x = arrays(squeezed, count), np.random.RandomState(2).randn(2, 3, 5, 4)
    body = 'type: "DenseBlock" ' + BODY % ("use_BC: true" if squeezed else "")
    agree_everywhere(tmp_path, monkeypatch, body, [x], expected(x, blobs, squeezed), blobs)


def test_dropout_drops_maps_of_convolutions_alone_and_in_training_alone():
    body = BODY % "use_dropout: true dropout_amount: 0.25"
    blobs, x = arrays(False, 0.0), np.random.RandomState(2).randn(8, 3, 20, 20)
    dropping, plain = (fill(make("DenseBlock", text, [x.shape], phase="TRAIN"), *blobs) for text in (body, BODY % ""))
    with torch.no_grad():
        top, whole = dropping(torch.tensor(x)).numpy(), plain(torch.tensor(x)).numpy()
    assert np.array_equal(top[:, :3], x)
    first = top[:, 3:5]  # of the first convolution, which sees no dropped map
    kept = first != 0
    assert 0.72 < kept.mean() < 0.78
    assert np.allclose(first[kept], whole[:, 3:5][kept] / 0.75)
    tested = fill(make("DenseBlock", body, [x.shape]), *blobs)
    assert np.allclose(tested(torch.tensor(x)).detach(), expected(x, blobs, False))


def test_it_trains_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)

    def solver():
        text = 'net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 9 random_seed: 3'
        param = proto.SolverParameter()
        proto.parse(text + ' snapshot_prefix: "s"', param, "solver")
        return sdcaffe.Solver(param, device="cpu")

    whole = solver()
    start = [blob.clone() for blob in whole.net.params["block"]]
    whole.step(4)
    whole.snapshot()
    whole.step(4)
    resumed = solver()
    resumed.restore("s_iter_4.solverstate")
    resumed.step(4)
    for blob, other in zip(whole.net.params["block"], resumed.net.params["block"], strict=True):
        assert torch.equal(blob, other)
    assert float(whole.net.params["block"][-1]) == pytest.approx(sum(0.1**k for k in range(8)))
    learned = [not torch.equal(blob, old) for blob, old in zip(whole.net.params["block"], start, strict=True)]
    assert all(learned)


def test_the_file_written_is_the_forks(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    net = sdcaffe.Net(str(tmp_path / "net.prototxt"), sdcaffe.TRAIN)
    net.save(tmp_path / "w.caffemodel")
    net.close()
    (layer,) = [layer for layer in proto.read_weights(tmp_path / "w.caffemodel") if layer.type == "DenseBlock"]
    shapes = [np.shape(blob) for blob in layer.blobs]
    assert shapes == [np.shape(blob) for blob in arrays(True, 0.0)]
    assert all((blob == 1).all() for blob in layer.blobs[8:10])


def test_fields_that_the_fork_does_not_look_at(tmp_path, caplog):
    text = 'input: "x" input_shape { dim: 1 dim: 3 dim: 5 dim: 5 } layer { name: "b" type: "DenseBlock" bottom: "x" '
    (tmp_path / "net.prototxt").write_text(text + 'top: "y" ' + BODY % "pad_h: 2 workspace_MB: 9" + " }")
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        net = sdcaffe.Net(str(tmp_path / "net.prototxt"))
    assert "pad_h" in caplog.text
    assert "workspace_MB" in caplog.text
    assert net.blob_shapes["y"] == (1, 7, 5, 5)


@pytest.mark.parametrize(
    ("body", "shape", "phase", "message"),
    [
        (BODY % "", (1, 4, 5, 5), "TEST", r"needs a bottom \(n, 3, h, w\), not 1 4 5 5"),
        (BODY % "", (1, 3), "TEST", r"needs a bottom \(n, 3, h, w\)"),
        (
            BODY.replace("growthRate: 2", "growthRate: 0") % "",
            (1, 3, 5, 5),
            "TEST",
            "growthRate must be at least 1, not 0",
        ),
        (BODY % "dropout_amount: 1", (1, 3, 5, 5), "TEST", r"dropout_amount \(=1\) must be in \[0, 1\)"),
        (BODY % "", (1, 3, 1, 1), "TRAIN", "needs two values a channel"),
    ],
)
def test_settings_without_meaning(body, shape, phase, message):
    with pytest.raises(LayerError, match=message):
        make("DenseBlock", body, [shape], phase=phase)
