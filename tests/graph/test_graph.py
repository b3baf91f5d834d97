"""Which layers a state keeps, where splits go, who may write what: on nets small enough to check by eye."""

from __future__ import annotations

import pytest

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.graph import build_graph, insert_splits, keep_layers, net_state


def net(text):
    message = proto.NetParameter()
    proto.text.parse(text, message, "net.prototxt")
    return message


def names(message):
    return [layer.name for layer in message.layer]


RULES = """
layer { name: "always" type: "Silence" }
layer { name: "train" type: "Silence" include { phase: TRAIN } }
layer { name: "not_train" type: "Silence" exclude { phase: TRAIN } }
layer { name: "levels" type: "Silence" include { min_level: 1 max_level: 2 } }
layer { name: "staged" type: "Silence" include { stage: "a" stage: "b" } }
layer { name: "unstaged" type: "Silence" include { not_stage: "a" } }
layer { name: "either" type: "Silence" include { phase: TEST } include { min_level: 2 } }
"""


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("phase: TRAIN", "always train unstaged"),
        ("phase: TEST", "always not_train unstaged either"),
        ("phase: TRAIN level: 1", "always train levels unstaged"),
        ("phase: TRAIN level: 3", "always train unstaged either"),
        ('phase: TRAIN stage: "a"', "always train"),
        ('phase: TRAIN stage: "a" stage: "b"', "always train staged"),
    ],
)
def test_a_state_keeps_the_layers_whose_rules_it_meets(state, kept):
    assert names(keep_layers(net(RULES + f"state {{ {state} }}"))) == kept.split()


def test_include_and_exclude_together_are_refused():
    with pytest.raises(GraphError, match='layer "x" has include rules and exclude rules'):
        keep_layers(net('layer { name: "x" include { phase: TRAIN } exclude { phase: TEST } }'))


SHARED = """
layer { name: "in" type: "Input" top: "x" }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" }
layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "loss" }
"""


def test_a_blob_read_twice_gets_a_split_named_as_caffe_names_it():
    split = insert_splits(net(SHARED))
    assert names(split) == ["in", "x_in_0_split", "a", "b", "loss"]
    assert list(split.layer[1].top) == ["x_in_0_split_0", "x_in_0_split_1"]
    assert list(split.layer[2].bottom) == ["x_in_0_split_0"]
    assert list(split.layer[3].bottom) == ["x_in_0_split_1"]


def test_a_loss_weight_on_a_blob_that_is_read_moves_to_the_split():
    text = SHARED.replace('top: "a" }', 'top: "a" loss_weight: 0.5 }')
    split = insert_splits(net(text))
    assert "a_a_0_split" in names(split)
    layers = {layer.name: layer for layer in split.layer}
    assert list(layers["a_a_0_split"].loss_weight) == [0.5, 0]
    assert list(layers["a"].loss_weight) == []
    assert list(layers["loss"].bottom) == ["a_a_0_split_1", "b"]


def test_the_split_of_an_in_place_chain_follows_its_last_layer():
    text = SHARED.replace(
        'layer { name: "a"', 'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" } layer { name: "a"'
    )
    assert names(insert_splits(net(text)))[:3] == ["in", "relu", "x_relu_0_split"]


def test_in_place_layers_are_versions_of_a_blob():
    graph = build_graph(
        net("""
    layer { name: "in" type: "Input" top: "x" }
    layer { name: "r1" type: "ReLU" bottom: "x" top: "x" }
    layer { name: "r2" type: "ReLU" bottom: "x" top: "x" }""")
    )
    assert [(step.bottoms, step.tops) for step in graph.steps] == [([], [0]), ([0], [1]), ([1], [2])]
    assert [step.release for step in graph.steps] == [[], [0], [1]]
    assert graph.slots == ["x", "x", "x"]
    assert graph.outputs == {"x": 2}


def test_outputs_are_the_unread_blobs_sorted_by_name():
    graph = build_graph(net('layer { name: "in" type: "Input" top: "z" top: "a" }'))
    assert list(graph.outputs) == ["a", "z"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('layer { name: "r" bottom: "dta" top: "y" }', 'unknown bottom blob "dta".*Did you mean "data"'),
        ('layer { name: "r" bottom: "y" top: "z" } layer { name: "s" top: "y" }', '"s" makes it, but comes later'),
        ('layer { name: "r" top: "data" }', 'blob "data" is made by layer "in" and again by layer "r"'),
        (
            'layer { name: "p" bottom: "data" top: "p" } layer { name: "r" bottom: "data" top: "data" }',
            "works in place on a blob that another layer reads",
        ),
        ('layer { name: "r" bottom: "data" top: "y" propagate_down: true propagate_down: true }', "propagate_down"),
    ],
)
def test_wiring_mistakes_name_layer_and_blob(text, says):
    with pytest.raises(GraphError, match=says):
        build_graph(insert_splits(net('layer { name: "in" type: "Input" top: "data" }' + text)))


@pytest.mark.parametrize(("level", "stages"), [(2**31, ()), (-(2**40), ()), (1.5, ()), (0, ["\udcff"]), (0, [3])])
def test_a_state_that_no_net_can_be_in(level, stages):
    with pytest.raises(GraphError, match="a level of 32 bits and stages in UTF-8"):
        net_state(proto.TEST, level, stages)
