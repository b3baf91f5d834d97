from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layer_reports import PROTOTXT, net_param

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import GraphError
from sdcaffe.tools.diagram import Diagram, diagram, to_dot
from sdcaffe.tools.drawing import draw

LENET = """name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN } data_param { batch_size: 64 } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST } data_param { batch_size: 100 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1" inner_product_param { num_output: 500 } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "drop1" type: "Dropout" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 10 } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


def edges(found: Diagram) -> list[tuple[str, str, str]]:
    return [(found.nodes[e.source].lines[0], found.nodes[e.target].lines[0], e.label) for e in found.edges]


def test_layers_in_place_belong_to_their_node() -> None:
    found = diagram(net_param(LENET), proto.TRAIN)
    assert [node.layers for node in found.nodes] == [
        *(["mnist"], ["conv1"], ["pool1"], ["ip1", "relu1", "drop1"], ["ip2"], ["loss"]),
    ]
    assert found.nodes[1].lines == ["conv1", "Convolution 20, 5x5"]
    assert found.nodes[2].lines == ["pool1", "Pooling MAX 2x2, stride 2"]
    assert found.nodes[3].lines == ["ip1", "InnerProduct 500", "ReLU", "Dropout 0.5"]
    assert edges(found) == [
        ("mnist", "conv1", "data"),
        ("conv1", "pool1", ""),
        ("pool1", "ip1", ""),
        ("ip1", "ip2", ""),
        ("ip2", "loss", ""),
        ("mnist", "loss", "label"),
    ]


def test_one_line_for_several_layers_without_parameters() -> None:
    found = diagram(
        net_param("""
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
          convolution_param { num_output: 8 kernel_h: 1 kernel_w: 7 pad_w: 3 group: 4 dilation: 2 } }
        layer { name: "b" type: "BatchNorm" bottom: "c" top: "c" }
        layer { name: "s" type: "Scale" bottom: "c" top: "c" }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }""")
    )
    (node,) = found.nodes
    assert node.lines == ["c", "Convolution 8, 1x7, pad 0x3, dilation 2, group 4", "BatchNorm, Scale, ReLU"]


def test_a_blob_that_was_read_before_it_changes_in_place() -> None:
    """The layer in place gets a node of its own, as another one has seen its blob unchanged."""
    found = diagram(
        net_param("""
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } }
        layer { name: "before" type: "Silence" bottom: "ip" }
        layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
        layer { name: "after" type: "Silence" bottom: "ip" }""")
    )
    assert edges(found) == [("ip", "before", ""), ("ip", "relu", ""), ("relu", "after", "ip")]


def test_both_phases_in_one_diagram() -> None:
    found = diagram(net_param(LENET))
    train, test = found.nodes[:2]
    assert (train.lines[1:], test.lines[1:]) == (["Data batch 64", "TRAIN only"], ["Data batch 100", "TEST only"])
    targets = [(e.source, found.nodes[e.target].lines[0], e.label) for e in found.edges if e.source < 2]
    assert targets == [
        *((0, "conv1", "data"), (1, "conv1", "data"), (1, "accuracy", "label")),
        *((0, "loss", "label"), (1, "loss", "label")),
    ]


def test_blobs_between_two_nodes_share_an_edge() -> None:
    found = diagram(
        net_param("""
        layer { name: "d" type: "DummyData" top: "a" top: "b" }
        layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "e" eltwise_param { operation: MAX } }""")
    )
    assert edges(found) == [("d", "e", "a, b")]
    assert found.nodes[1].lines == ["e", "Eltwise MAX"]


def chain(layers: int) -> Any:
    net = proto.NetParameter()
    for i in range(layers):
        net.layer.add(name=f"ip{i}", type="InnerProduct", bottom=[f"ip{i - 1}"], top=[f"ip{i}"])
    return net


def test_twice_as_many_layers_take_twice_the_work(lines_run: Callable[[Callable[[], object]], int]) -> None:
    assert len(diagram(chain(6000)).edges) == 5999
    once, twice = (lines_run(lambda n=n: diagram(chain(n))) for n in (400, 800))
    assert twice < 2.1 * once


def test_learning_rate_multipliers() -> None:
    found = diagram(net_param(LENET), proto.TEST, lr_mult=True)
    assert found.nodes[1].lines[1] == "Convolution 20, 5x5, lr mult 1, 2"
    assert found.nodes[3].lines[1] == "InnerProduct 500, lr mult 1"


def test_exclude_rules_and_both_kinds_of_rule() -> None:
    text = """layer { name: "a" type: "DummyData" top: "a" exclude { phase: TEST } }
        layer { name: "b" type: "Python" bottom: "a" top: "b" python_param { module: "m" layer: "Mine" } }"""
    assert [node.lines for node in diagram(net_param(text), proto.TEST).nodes] == [["b", "Python Mine"]]
    assert len(diagram(net_param(text), proto.TRAIN).nodes) == 2
    with pytest.raises(GraphError, match='layer "a" has include rules and exclude rules'):
        diagram(net_param(text.replace("exclude", "include { } exclude")))


def test_dot_text() -> None:
    text = """name: "quo\\"ted" layer { name: "a" type: "DummyData" top: "x" }
        layer { name: "b" type: "Silence" bottom: "x" }"""
    dot = to_dot(diagram(net_param(text), proto.TEST), "LR")
    assert dot.startswith('digraph "quo\\"ted" {\n  rankdir=LR;\n')
    assert '  n0 [label="a\\nDummyData", fillcolor="#d7e8d5", tooltip="a"];\n' in dot
    assert '  n0 -> n1 [label="x"];\n' in dot
    assert dot.endswith("}\n")
    assert "  n0 -> n1;\n" in to_dot(diagram(net_param(text)), label_edges=False)


def svg_texts(picture: bytes) -> list[str]:
    root = ElementTree.fromstring(picture)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def boxes(picture: bytes) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each node."""
    root = ElementTree.fromstring(picture)
    found = []
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        box = group.find("{http://www.w3.org/2000/svg}rect")
        assert box is not None
        x, y, w, h = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_svg_says_all_and_points_where_it_should(rankdir: str) -> None:
    found = diagram(net_param(LENET), proto.TEST)
    picture = draw(found, "svg", rankdir)
    said = svg_texts(picture)
    assert all(line in said for node in found.nodes for line in node.lines)
    assert said.count("label") == 2
    assert svg_texts(draw(found, "svg", rankdir, label_edges=False)).count("label") == 0
    first, second = boxes(picture)[:2]
    before = {"TB": first[3] < second[1], "BT": second[3] < first[1], "LR": first[2] < second[0]}
    assert before.get(rankdir, second[2] < first[0])
    root = ElementTree.fromstring(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for left, top, right, bottom in boxes(picture):
        assert 0 < left < right < width
        assert 0 < top < bottom < height


def test_a_deep_net_is_drawn_without_overlaps() -> None:
    picture = draw(diagram(proto.read_net(PROTOTXT / "cifar100" / "resnet32" / "deploy.prototxt")), "svg")
    found = boxes(picture)
    assert len(found) == 1 + 1 + 15 * 3 + 2 * 3 + 3  # input; conv1; blocks; shortcuts of type A; pool, fc, softmax
    for i, (left, top, right, bottom) in enumerate(found):
        for other in found[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    assert float(ElementTree.fromstring(picture).attrib["width"]) < 700  # fits a page


def test_text_is_escaped() -> None:
    text = 'name: "<net>" layer { name: "a<b&c" type: "DummyData" top: "x" }'
    assert "a<b&c" in svg_texts(draw(diagram(net_param(text)), "svg"))


def test_an_empty_net() -> None:
    assert ElementTree.fromstring(draw(diagram(net_param("")), "svg")).tag.endswith("svg")
    assert to_dot(diagram(net_param(""))).startswith('digraph "Net" {')


def graphviz(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program `dot` that does what `script` says."""
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_other_pictures_are_graphvizs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphviz(tmp_path, monkeypatch, 'echo "$1"; head -1')
    assert draw(diagram(net_param(LENET)), "png") == b'-Tpng\ndigraph "LeNet" {\n'


def test_where_graphviz_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graphviz(tmp_path, monkeypatch, "echo no such format >&2; exit 1")
    (tmp_path / "net.prototxt").write_text(LENET)
    arguments = ["draw", str(tmp_path / "net.prototxt"), "-o", str(tmp_path / "x.pdf")]
    assert main(arguments) == 1
    assert "graphviz's dot failed: no such format" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert main(arguments) == 1
    assert "a .pdf is drawn by graphviz, whose program dot is not installed" in capsys.readouterr().err
    assert not (tmp_path / "x.pdf").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(LENET)
    for flags, count in (([], 8), (["--phase", "TRAIN"], 6), (["--phase=TEST", "--rankdir=LR"], 7)):
        assert main(["draw", str(net), "--output", str(tmp_path / "x.svg"), *flags]) == 0
        assert len(boxes((tmp_path / "x.svg").read_bytes())) == count
    assert main(["draw", str(net), "-o", str(tmp_path / "x.dot"), "--display_lrm"]) == 0
    assert len(re.findall(r"lr mult", (tmp_path / "x.dot").read_text())) == 3
    assert main(["draw", str(net), "-o", str(tmp_path / "x.txt")]) == 2
    assert "its name must end in one of .svg, .dot" in capsys.readouterr().err
    assert main(["draw", str(net), "-o", str(tmp_path / "x.svg"), "--rankdir", "UP"]) == 2


def test_old_nets_are_drawn_too(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "goldens" / "files" / "v0.prototxt"
    assert main(["draw", str(old), "-o", str(tmp_path / "x.svg")]) == 0
    assert "LRN" in svg_texts((tmp_path / "x.svg").read_bytes())
