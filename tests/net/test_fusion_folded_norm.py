"""A norm of the test phase in the weights of the layer before it."""

from __future__ import annotations

import pytest
import torch
from small_nets import APART, CHAIN, net_of, normal
from torch.nn import functional as F

import sdcaffe

KINDS = ["", "bias_term: false", "kernel_size: 1 bias_term: false", "group: 2", ""]


def test_a_test_net_folds_convolutions_of_several_kinds():
    """Five in a row, of several widths, eps, with and without biases: each gets its own factor and bias."""
    text, top = "", "x"
    for i, kind in enumerate(KINDS):
        size = "" if "kernel" in kind else "kernel_size: 3 pad: 1"
        eps, with_bias = 1e-5 if i != 3 else 0.1, "true" if i % 2 else "false"
        text += f"""
layer {{ name: "c{i}" type: "Convolution" bottom: "{top}" top: "y{i}" convolution_param {{ num_output: {4 + 2 * i}
  {kind} {size} weight_filler {{ type: "msra" }} bias_filler {{ value: 0.{i}5 }} }} }}
layer {{ name: "b{i}" type: "BatchNorm" bottom: "y{i}" top: "y{i}" batch_norm_param {{ eps: {eps} }} }}
layer {{ name: "s{i}" type: "Scale" bottom: "y{i}" top: "y{i}" scale_param {{ bias_term: {with_bias} }} }}
layer {{ name: "r{i}" type: "ReLU" bottom: "y{i}" top: "y{i}" }}"""
        top = f"y{i}"
    net = net_of(text, sdcaffe.TEST)
    generator = torch.Generator().manual_seed(1)
    for name, blobs in net.params.items():
        for blob in blobs:
            if name[0] != "c":
                blob.data.copy_(0.5 + torch.rand(blob.shape, generator=generator))
    x = normal(2, 3, 4, 4)
    wanted = torch.from_numpy(x).double()
    for i in range(len(KINDS)):
        layers = [net.layers[f"{kind}{i}"] for kind in "cbs"]
        kernel, *bias = (p.detach().double() for p in layers[0].blobs)
        pad, group = layers[0].geometry.pad, layers[0].group
        wanted = F.conv2d(wanted, kernel, *bias or [None], padding=pad, groups=group)
        mean, variance, weight = (p.detach().double() for p in layers[1].blobs)
        scale = [p.detach().double() for p in layers[2].blobs]
        wanted = F.batch_norm(wanted, mean / weight, variance / weight, *scale, eps=layers[1].eps).relu()
    torch.testing.assert_close(net.forward({"x": x})[top].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", ["true", "false"])
def test_a_test_net_folds_statistics_into_the_convolution(bias):
    text = CHAIN.replace("bias_term: false", f"bias_term: {bias} bias_filler {{ value: 0.5 }}")
    apart = APART.replace("bias_term: false", f"bias_term: {bias} bias_filler {{ value: 0.5 }}")
    torch.manual_seed(3)
    folded = net_of(text, sdcaffe.TEST)
    torch.manual_seed(3)
    layers = net_of(apart, sdcaffe.TEST)
    assert len(folded.execution.plain) == 2  # the factors, then one convolution
    for net in (folded, layers):
        generator = torch.Generator().manual_seed(1)
        for name in ("bn", "scale"):
            for blob in net.params[name]:
                blob.data.copy_(torch.rand(blob.shape, generator=generator) + 0.5)
    x = normal(2, 3, 4, 4)
    torch.testing.assert_close(folded.forward({"x": x})["y"], layers.forward({"x": x})["r"], rtol=1e-5, atol=1e-5)
