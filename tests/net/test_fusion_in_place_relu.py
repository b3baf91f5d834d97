"""A ReLU in the memory of the blob that it alone reads gives the same."""

from __future__ import annotations

import pytest
import torch
from small_nets import net_of, normal

RECTIFIED = {
    "Convolution": 'bottom: "x" convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "msra" } }',
    "InnerProduct": 'bottom: "x" inner_product_param { num_output: 5 weight_filler { type: "xavier" } }',
    "Eltwise": 'bottom: "x" bottom: "x" eltwise_param { coeff: 2 coeff: -0.5 }',
}


@pytest.mark.parametrize("kind", RECTIFIED)
def test_a_relu_in_the_memory_of_its_bottom_gives_the_same(kind):
    layer = f'force_backward: true layer {{ name: "make" type: "{kind}" top: "y" {RECTIFIED[kind]} }}\n'
    relu = 'layer { name: "relu" type: "ReLU" bottom: "y" top: "r" }\n'
    look = 'layer { name: "look" type: "Silence" bottom: "y" }'
    results = []
    for text, steps in ((layer + relu, 1), (layer + relu + look, 3)):
        torch.manual_seed(3)
        net = net_of(text)
        assert len([op for op in net.execution.plain if op.layers[0].type != "Split"]) == steps
        batch = net.feed({"x": normal(2, 3, 4, 4)})
        out = net.compute(batch).blobs["r"]
        out.square().sum().backward()
        results.append([out, *(t.grad for t in batch.values()), *(p.grad for p in net.parameters())])
        assert (out == 0).any()
        torch.testing.assert_close(net.compute(batch, ["y"]).blobs["y"].relu(), out)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
