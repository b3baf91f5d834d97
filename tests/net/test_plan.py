"""Which layers of a net are found to run as one, by what they promise."""

from __future__ import annotations

import pytest

from sdcaffe import Net, proto
from sdcaffe.net.draft import Draft
from sdcaffe.net.fusions import RULES

CHAIN = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "x" }
layer { name: "scale" type: "Scale" bottom: "x" top: "x" }
layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
"""
SIZES = "convolution_param { num_output: 2 kernel_size: 1 } inner_product_param { num_output: 2 }"
READER = f'layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c" {SIZES} }}'
FIRST = f'layer {{ name: "first" type: "Convolution" bottom: "x0" top: "x" {SIZES} }} layer {{ name: "bn"'
BEHIND = CHAIN.replace('"Input" top: "x"', '"Input" top: "x0"').replace('layer { name: "bn"', FIRST)


def joined(text, phase=proto.TRAIN):
    param = proto.NetParameter()
    proto.text.parse(text, param, "net")
    draft = Draft(Net(param, phase).assembled, frozenset())
    for rule in RULES:
        rule(draft)
    return [found for place, found in draft.joined.items() if place not in draft.inside]


@pytest.mark.parametrize(
    ("text", "train", "test"),
    [
        (CHAIN, [[1, 2, 3]], [[1, 2, 3]]),
        (BEHIND, [[2, 3, 4]], [[1, 2, 3, 4]]),
        (CHAIN.replace('"ReLU"', '"ReLU" relu_param { negative_slope: 0.1 }'), [[1, 2]], [[1, 2]]),
        (CHAIN.replace('"Scale"', '"Scale" scale_param { axis: 2 }'), [[2, 3]], [[2, 3]]),
        (CHAIN.replace('"Scale" bottom: "x" top: "x"', '"Scale" bottom: "y" top: "z"')
         .replace('"ReLU" bottom: "x" top: "x"', '"ReLU" bottom: "y" top: "w"')
         .replace('"BatchNorm" bottom: "x" top: "x"', '"BatchNorm" bottom: "x" top: "y"'), [], []),
    ],
    ids=["plain", "behind a convolution", "leaky", "scale of another axis", "another reader"],
)  # fmt: skip
def test_a_norm_its_scale_and_what_stands_around_them(text, train, test):
    assert [found.places for found in joined(text)] == train
    assert [found.places for found in joined(text, proto.TEST)] == test


@pytest.mark.parametrize(
    ("readers", "alone"),
    [
        (READER, True),
        (READER + READER.replace('"conv"', '"conv2"').replace('"c"', '"d"'), False),
        (READER + 'layer { name: "r2" type: "ReLU" bottom: "x" top: "y" }', False),
        (READER.replace("top", "propagate_down: false top"), False),
        (READER.replace('"Convolution"', '"InnerProduct"'), False),
        ("", False),
    ],
)
def test_a_chain_that_a_convolution_alone_reads_takes_the_memory_of_the_gradient(readers, alone):
    (found,) = joined(CHAIN + readers)
    assert (found.overwritten is not None) == alone
