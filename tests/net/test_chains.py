"""Which layers of a net are found to run as one, by what they promise."""

from __future__ import annotations

import pytest

from sdcaffe import Net, proto
from sdcaffe.net.fusion import batch_norm_chains

CHAIN = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "x" }
layer { name: "scale" type: "Scale" bottom: "x" top: "x" }
layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
"""
SIZES = "convolution_param { num_output: 2 kernel_size: 1 } inner_product_param { num_output: 2 }"
READER = f'layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c" {SIZES} }}'
FIRST = f'layer {{ name: "first" type: "Convolution" bottom: "x0" top: "x" {SIZES} }} layer {{ name: "bn"'


def chains(text):
    param = proto.NetParameter()
    proto.text.parse(text, param, "net")
    net = Net(param, proto.TRAIN)
    return batch_norm_chains(net.graph, net.assembled.layers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CHAIN, [(None, 1, 2, 3)]),
        (CHAIN.replace('"Input" top: "x"', '"Input" top: "x0"').replace('layer { name: "bn"', FIRST), [(1, 2, 3, 4)]),
        (CHAIN.replace('"ReLU"', '"ReLU" relu_param { negative_slope: 0.1 }'), [(None, 1, 2, None)]),
        (CHAIN.replace('"Scale"', '"Scale" scale_param { axis: 2 }'), []),
        (CHAIN.replace('"Scale" bottom: "x" top: "x"', '"Scale" bottom: "y" top: "z"')
         .replace('"ReLU" bottom: "x" top: "x"', '"ReLU" bottom: "y" top: "w"')
         .replace('"BatchNorm" bottom: "x" top: "x"', '"BatchNorm" bottom: "x" top: "y"'), []),
    ],
    ids=["plain", "behind a convolution", "leaky", "scale of another axis", "another reader"],
)  # fmt: skip
def test_a_norm_its_scale_and_what_stands_around_them(text, found):
    assert [(chain.convolution, chain.batch_norm, chain.scale, chain.relu) for chain in chains(text)] == found


@pytest.mark.parametrize(
    ("readers", "reader"),
    [
        (READER, 4),
        (READER + READER.replace('"conv"', '"conv2"').replace('"c"', '"d"'), None),
        (READER + 'layer { name: "r2" type: "ReLU" bottom: "x" top: "y" }', None),
        (READER.replace("top", "propagate_down: false top"), None),
        (READER.replace('"Convolution"', '"InnerProduct"'), None),
        ("", None),
    ],
)
def test_the_convolution_that_alone_reads_a_chain(readers, reader):
    (chain,) = chains(CHAIN + readers)
    assert chain.reader == reader
