"""A norm with its Scale and ReLU as one: the numbers, gradients and blobs of the layers one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import APART, CHAIN, LONG, net_of, normal
from torch.nn import functional as F


def test_a_fused_chain_gives_the_numbers_gradients_and_blobs_of_its_layers():
    torch.manual_seed(3)
    fused = net_of(CHAIN + "force_backward: true")
    torch.manual_seed(3)
    apart = net_of(APART + "force_backward: true")
    assert len(fused.execution.plain) == 2
    x, seed = normal(2, 3, 4, 4), torch.from_numpy(normal(2, 5, 4, 4))
    results = []
    for net, top in ((fused, "y"), (apart, "r")):
        batch = net.feed({"x": x})
        out = net.compute(batch).blobs[top]
        (out * seed).sum().backward()
        gradients = [blob.grad for blob in (net.params["conv"][0], *net.params["scale"])]
        results.append([out, *batch.values(), *net.params["bn"], *gradients, next(iter(batch.values())).grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


SUM = 'layer { name: "sum" type: "Eltwise" bottom: "r" bottom: "x" top: "sum" }\n'


@pytest.mark.parametrize("text", [LONG, LONG + SUM, LONG[: LONG.index('layer { name: "conv"')] + SUM])
@pytest.mark.parametrize("keep", [[], ["r"], ["s"]])
def test_a_chain_of_many_values(text, keep):
    """Where torch's batch norm would not do, forward and all gradients are those of float64."""
    net = net_of(text)
    assert any(
        op.overwritten is not None for op in net.execution.ops_making({net.graph.slot(name) for name in keep})
    ) == (text == LONG and "r" not in keep and "s" not in keep)
    values = 5 + 2 * normal(6, 3, 32, 32)
    batch = net.feed({"x": values})
    blobs = net.compute(batch, keep).blobs
    exact = torch.from_numpy(values).double().requires_grad_()
    weight, bias = (p.detach().double().requires_grad_() for p in net.params["scale"])
    kernel = [p.detach().double() for p in net.params.get("conv", [torch.zeros(2, 3, 3, 3)])]
    scaled = F.batch_norm(exact, None, None, weight, bias, training=True, eps=1e-5)
    rectified = scaled.relu()
    wanted = {"s": scaled, "r": rectified, "y": F.conv2d(rectified, *kernel), "sum": rectified + exact}
    tops = net.outputs
    seeds = [torch.from_numpy(normal(*wanted[name].shape)) for name in tops]
    sources = [exact, weight, bias, *(wanted[name] for name in keep)]
    gradients = torch.autograd.grad([wanted[name] for name in tops], sources, [seed.double() for seed in seeds])
    found = torch.autograd.grad(
        [blobs[name] for name in tops], [*batch.values(), *net.params["scale"], *(blobs[k] for k in keep)], seeds
    )
    for name, blob in blobs.items():
        torch.testing.assert_close(blob.double(), wanted[name], rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(found, gradients, strict=True):
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-4)
    mean, variance, _ = net.params["bn"]
    torch.testing.assert_close(mean.double(), exact.detach().mean((0, 2, 3)), rtol=5e-7, atol=0)
    torch.testing.assert_close(variance.double(), exact.detach().var((0, 2, 3)), rtol=1e-6, atol=0)


def test_a_hook_on_the_convolution_behind_a_chain_keeps_what_it_sees():
    net, seen = net_of(LONG), []
    net.layers["conv"].register_full_backward_hook(lambda layer, inward, outward: seen.append(inward[0]))
    (blob,) = net.compute(net.feed({"x": normal(6, 3, 32, 32)})).blobs.values()
    seed = torch.from_numpy(normal(*blob.shape))
    blob.backward(seed)
    wanted = F.conv_transpose2d(seed, net.params["conv"][0].detach())
    torch.testing.assert_close(seen[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_blob_inside_a_chain_can_be_kept():
    torch.manual_seed(3)
    text = CHAIN.replace('"y"', '"a"', 1)
    text = text.replace('type: "BatchNorm" bottom: "y" top: "y"', 'type: "BatchNorm" bottom: "a" top: "b"')
    text = text.replace('"scale" type: "Scale" bottom: "y"', '"scale" type: "Scale" bottom: "b"')
    net = net_of(text)
    x = normal(2, 3, 4, 4)
    kept = net.forward({"x": x}, keep=["a", "b"])
    a = kept["a"].detach().double().numpy()
    mean, variance = a.mean((0, 2, 3), keepdims=True), a.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(kept["b"].detach(), (a - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)
