"""A sum in the memory of a bottom: the same numbers and gradients, and blobs that are asked for stay."""

from __future__ import annotations

import pytest
import torch
from small_nets import net_of, normal
from torch.nn import functional as F

SUMMED = """
layer { name: "a" type: "Convolution" bottom: "x" top: "a"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "b" type: "Convolution" bottom: "x" top: "b"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "%s" bottom: "%s" top: "sum" }
"""


@pytest.mark.parametrize("bottoms", [("a", "b"), ("x", "b"), ("a", "x"), ("a", "a"), ("x", "x")])
@pytest.mark.parametrize("relu", ["", 'layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }'])
def test_a_sum_in_the_memory_of_a_bottom_gives_the_same(bottoms, relu):
    text = (
        SUMMED % bottoms
        + relu
        + "".join(
            f'layer {{ name: "quiet_{name}" type: "Silence" bottom: "{name}" }}' for name in {"a", "b"} - set(bottoms)
        )
    )
    net = net_of(text.replace("layer", "force_backward: true layer", 1))
    batch = net.feed({"x": normal(2, 3, 4, 4)})
    (x,) = batch.values()
    kept = x.detach().clone()
    out = net.compute(batch).blobs["sum"]
    out.square().sum().backward()
    assert torch.equal(x.detach(), kept)
    wanted_x = kept.requires_grad_()
    blobs = {name: F.conv2d(wanted_x, *(p.detach() for p in net.params[name])) for name in "ab"} | {"x": wanted_x}
    wanted = blobs[bottoms[0]] + blobs[bottoms[1]]
    wanted = wanted.relu() if relu else wanted
    wanted.square().sum().backward()
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(x.grad, wanted_x.grad)
    for name in {"a", "b"} & set(bottoms):  # asked for, a bottom keeps its own values
        torch.testing.assert_close(net.compute(batch, [name]).blobs[name], blobs[name])
