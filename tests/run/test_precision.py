"""bf16: convolutions and products as torch's autocast computes them, losses and outputs in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import sdcaffe
from sdcaffe import Net, proto
from sdcaffe.errors import SolverError

NET = """
layer { name: "in" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "fc" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" top: "loss" loss_weight: 0.5 }
"""


def test_bf16_is_autocast_for_layers_and_float32_for_the_loss():
    param = proto.NetParameter()
    proto.text.parse(NET, param, "net.prototxt")
    torch.manual_seed(0)
    net = Net(param, sdcaffe.TRAIN)
    net.precision = "bf16"
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))
    labels = torch.tensor([0.0, 3, 1, 4])
    loss, blobs = net.compute(net.feed({"x": x, "label": labels}), keep=["z"])
    loss.backward()
    (weight, bias), (matrix, offset) = net.params["conv"], net.params["fc"]
    parameters = [p.detach().clone().requires_grad_() for p in (weight, bias, matrix, offset)]
    with torch.autocast("cpu", torch.bfloat16):
        y = F.relu(F.conv2d(x, parameters[0], parameters[1]))
        z = F.linear(y.flatten(1), parameters[2], parameters[3])
    assert z.dtype == torch.bfloat16
    expected = 0.5 * F.cross_entropy(z.float(), labels.long())
    expected.backward()
    assert loss.dtype == blobs["z"].dtype == torch.float32
    torch.testing.assert_close(blobs["z"], z.float(), rtol=0, atol=0)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    for mine, theirs in zip((weight, bias, matrix, offset), parameters, strict=True):
        assert mine.grad.dtype == torch.float32
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2e-2, atol=1e-4)


def test_a_solver_trains_in_bf16_and_tests_in_fp32(caplog):
    param = sdcaffe.read_solver("prototxt/quickstart/solver_self_distilled.prototxt")
    param.precision, param.max_iter, param.test_iter[0], param.test_interval = "bf16", 2, 1, 2
    param.snapshot_after_train = False
    param.test_initialization = False
    solver = sdcaffe.Solver(param, device="cpu")
    solver.solve()
    assert solver.net.precision == "bf16"
    ours, mean = solver.test_nets[0], dict(solver.test_scores[0])
    plain = Net(ours.param, sdcaffe.TEST, share=solver.net)  # a net of its own is in fp32
    assert mean["loss"] == plain.forward()["loss"].item()
    for layer in plain.data_layers:
        layer.cursor = 0
    plain.precision = "bf16"
    assert mean["loss"] != plain.forward()["loss"].item()
    assert np.isfinite(solver.loss)
    assert all(p.dtype == torch.float32 for p in solver.net.parameters())


def test_an_unknown_precision_is_an_error_that_lists_those_there_are():
    param = sdcaffe.read_solver("prototxt/quickstart/solver_baseline.prototxt")
    param.precision = "bf61"
    with pytest.raises(SolverError, match=r'unknown precision "bf61".*bf16'):
        sdcaffe.Solver(param)
