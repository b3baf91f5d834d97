"""The sizes of the losses' gradients, against central differences of the losses in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest

from sdcaffe import Net, proto
from sdcaffe.layers import discover
from sdcaffe.paper.gradients import sizes

discover()

NET = """
layer { name: "data" type: "DummyData" top: "data_a" top: "data_b" top: "label"
  dummy_data_param { shape { dim: 3 dim: 4 } shape { dim: 3 dim: 4 } shape { dim: 3 }
    data_filler { type: "gaussian" } data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "both" type: "Concat" bottom: "data_a" bottom: "data_b" top: "data" concat_param { axis: 0 } }
layer { name: "feature" type: "InnerProduct" bottom: "data" top: "feature"
  inner_product_param { num_output: 5 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "feature" top: "fc"
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "f" type: "Slice" bottom: "feature" top: "feature_a" top: "feature_b" slice_param { axis: 0 } }
layer { name: "z" type: "Slice" bottom: "fc" top: "logits_a" top: "logits_b" slice_param { axis: 0 } }
layer { name: "loss_a" type: "SoftmaxWithLoss" bottom: "logits_a" bottom: "label" top: "loss_a" }
layer { name: "loss_b" type: "SoftmaxWithLoss" bottom: "logits_b" bottom: "label" top: "loss_b" }
"""


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def slope_norm(loss, weights, step=1e-6):
    """The norm of a gradient by central differences."""
    total = 0.0
    for w in weights:
        for index in np.ndindex(w.shape):
            kept = w[index]
            ends = []
            for sign in (1, -1):
                w[index] = kept + sign * step
                ends.append(loss())
            w[index] = kept
            total += ((ends[0] - ends[1]) / (2 * step)) ** 2
    return total**0.5


def test_sizes_are_those_of_central_differences(monkeypatch):
    param = proto.NetParameter()
    proto.text.parse(NET, param, "net")
    net = Net(param, proto.TRAIN)
    batch = net.load()
    monkeypatch.setattr(net, "load", lambda: batch)
    found = sizes(net)
    made = net.compute(batch, ["data_a", "data_b"]).blobs
    a, b = (made[name].detach().double().numpy() for name in ("data_a", "data_b"))
    weights = [blobs[0].detach().double().numpy() for blobs in net.params.values()]
    first, last = weights

    def logits(x):
        return x @ first.T @ last.T

    def cross_entropy():
        return -sum(log_softmax(logits(x))[:, 1].mean() for x in (a, b))

    def discrepancy():
        return (((a - b).mean(0) @ first.T) ** 2).sum()

    assert found["cross_entropy"] == pytest.approx(slope_norm(cross_entropy, weights), rel=1e-4)
    assert found["mmd"] == pytest.approx(slope_norm(discrepancy, weights), rel=1e-4)
    for temperature in (1, 3):
        # as printed, the slope of branch a's logits is (pa - pb) / n: that of T D(pb||pa) with pb held constant
        held = [np.exp(log_softmax(logits(x) / temperature)) for x in (a, b)]

        def divergence(temperature=temperature, held=held):
            ours = [log_softmax(logits(x) / temperature) for x in (a, b)]
            return -temperature * ((held[1] * ours[0]).sum() + (held[0] * ours[1]).sum()) / len(a)

        assert found[f"kl_{temperature}"] == pytest.approx(slope_norm(divergence, weights), rel=1e-4)
