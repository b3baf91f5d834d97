from __future__ import annotations

import io
import re
import time

import numpy as np
import pytest
import torch
from layer_reports import build, net_param

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.layers.base import Layer, register
from sdcaffe.log import setup
from sdcaffe.net import Net
from sdcaffe.tools.timing import LayerByLayer, Stopwatch, measure

FORWARD, BACKWARD = 0.02, 0.05  # seconds


class _Sleep(torch.autograd.Function):
    gradients: list[torch.Tensor] = []

    @staticmethod
    def forward(context, x):
        time.sleep(FORWARD)
        return x * 1

    @staticmethod
    def backward(context, gradient):
        time.sleep(BACKWARD)
        _Sleep.gradients.append(gradient)
        return gradient


@register("SleepForTiming")
class SleepForTiming(Layer):
    def setup(self, bottom_shapes):
        return bottom_shapes

    def forward(self, bottom):
        return _Sleep.apply(bottom)


DATA = """layer { name: "data" type: "DummyData" top: "a" top: "b"
  dummy_data_param { shape { dim: 4 dim: 3 } data_filler { value: 2 } data_filler { value: 0.5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "a" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.25 } } }
"""


def test_each_layer_has_its_own_time() -> None:
    net = build(
        DATA
        + """layer { name: "sleep" type: "SleepForTiming" bottom: "ip" top: "sleep" }
        layer { name: "loss" type: "EuclideanLoss" bottom: "sleep" bottom: "b" top: "loss" loss_weight: 3 }"""
    )
    _Sleep.gradients.clear()
    times = measure(net, 2)
    assert list(times.layers) == ["data", "ip", "sleep", "loss"]
    forward, backward = times.layers.pop("sleep")
    assert forward >= 2 * 1000 * FORWARD
    assert backward >= 2 * 1000 * BACKWARD
    assert times.forward >= forward + sum(f for f, _ in times.layers.values())
    assert times.backward >= backward + sum(b for _, b in times.layers.values())
    assert times.total >= times.forward + times.backward
    assert all(f < forward and b < backward for f, b in times.layers.values())
    # sleep = 3 * 2 * 0.25 everywhere; the loss is sum (sleep - b)^2 / (2 n), n = 4
    assert len(_Sleep.gradients) == 3
    for gradient in _Sleep.gradients:
        np.testing.assert_allclose(gradient.numpy(), np.full((4, 3), 3 * (1.5 - 0.5) / 4), rtol=1e-6)


def test_gradients_of_several_readers_add_up() -> None:
    net = build(
        DATA
        + """layer { name: "sleep" type: "SleepForTiming" bottom: "ip" top: "sleep" }
        layer { name: "one" type: "EuclideanLoss" bottom: "sleep" bottom: "b" top: "one" }
        layer { name: "two" type: "Reduction" bottom: "sleep" top: "two" loss_weight: 10 }"""
    )
    _Sleep.gradients.clear()
    passes = LayerByLayer(net)
    for step in passes.steps:
        passes.forward(step)
    for step in reversed(passes.steps):
        passes.backward(step)
    (gradient,) = _Sleep.gradients
    np.testing.assert_allclose(gradient.numpy(), np.full((4, 3), (1.5 - 0.5) / 4 + 10), rtol=1e-6)
    assert passes.loss == pytest.approx(12 / 8 + 10 * 12 * 1.5)


def test_a_net_with_fused_layers_runs_them_one_by_one() -> None:
    """The loss of the layers on their own is that of the net, where BatchNorm, Scale and ReLU are one."""
    torch.manual_seed(5)
    param = net_param("""
        layer { name: "data" type: "DummyData" top: "data" top: "label"
          dummy_data_param { shape { dim: 6 dim: 3 dim: 8 dim: 8 } shape { dim: 6 }
            data_filler { type: "gaussian" } data_filler { value: 1 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
        layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
        layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
        layer { name: "drop" type: "Dropout" bottom: "conv" top: "drop" propagate_down: false
          dropout_param { dropout_ratio: 0 } }
        layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
          inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
        layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }""")
    net = Net(param, proto.TRAIN)
    passes = LayerByLayer(net)
    for step in passes.steps:
        passes.forward(step)
    net.data_layers[0].cursor = 0
    assert passes.loss == pytest.approx(float(net.compute(net.load()).loss.detach()), rel=1e-5)
    times = measure(net, 1)
    assert {"conv", "bn", "scale", "relu", "ip", "loss", "accuracy", "ip_ip_0_split"} <= set(times.layers)


def test_a_layer_whose_tops_change_shape() -> None:
    """Of 4 items the Filter lets 3 through; the Reshape behind it is set up for these."""
    net = build(
        """layer { name: "data" type: "DummyData" top: "a" dummy_data_param { shape { dim: 4 dim: 3 dim: 2 } } }
        layer { name: "pick" type: "Input" top: "pick" input_param { shape { dim: 4 } } }
        layer { name: "filter" type: "Filter" bottom: "a" bottom: "pick" top: "filter" }
        layer { name: "reshape" type: "Reshape" bottom: "filter" top: "reshape"
          reshape_param { shape { dim: 0 dim: -1 } } }"""
    )
    passes = LayerByLayer(net)
    passes._values = net.feed({"pick": [1, 0, 1, 1]})
    for step in passes.steps:
        passes.forward(step)
    assert passes._values[net.graph.latest["reshape"]].shape == (3, 6)


@register("FailsForTiming")
class FailsForTiming(Layer):
    def setup(self, bottom_shapes):
        return bottom_shapes

    def forward(self, bottom):
        raise RuntimeError("not today")


def test_a_layer_that_fails_is_named() -> None:
    net = build(DATA + 'layer { name: "bad" type: "FailsForTiming" bottom: "ip" top: "bad" }')
    with pytest.raises(LayerError, match=r'layer "bad" \(FailsForTiming\): RuntimeError: not today'):
        measure(net, 1)


def test_a_deploy_net_is_timed_on_zeros() -> None:
    net = build("""layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "exp" type: "Exp" bottom: "data" top: "exp" }""")
    stream = io.StringIO()
    with setup(stream=stream):
        measure(net, 3)
    assert "Initial loss: 0\n" in stream.getvalue()
    assert len(re.findall(r"Iteration: \d forward-backward time: \S+ ms\.", stream.getvalue())) == 3
    assert re.search(r"\]       data\tforward: \S+ ms\.\n", stream.getvalue())


def test_a_stopwatch_counts_milliseconds() -> None:
    watch = Stopwatch(torch.device("cpu"))
    time.sleep(0.01)
    first = watch.stop()
    time.sleep(0.01)
    assert 10 <= first < watch.stop()
    watch.start()
    assert watch.stop() < 10


@register("GivenForTiming")
class GivenForTiming(Layer):
    """Tops from whoever runs the net, under a type of its own."""

    bottoms = 0
    given = True

    def setup(self, bottom_shapes):
        return [(2, 3)]

    def forward(self):
        raise AssertionError("nothing is computed")


def test_a_layer_whose_tops_are_given_is_not_run() -> None:
    net = build(
        """layer { name: "in" type: "GivenForTiming" top: "x" }
        layer { name: "loss" type: "Reduction" bottom: "x" top: "loss" loss_weight: 1 }"""
    )
    times = measure(net, 1)
    assert list(times.layers) == ["in", "loss"]
