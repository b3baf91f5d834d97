"""What a plugin's class declares is read in a message by that class, with its types; messages are brought along."""

from __future__ import annotations

import enum
from typing import Annotated

import pytest

from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import schema


@pytest.fixture(autouse=True)
def _clean_schema(monkeypatch):
    """What a test declares is forgotten after it."""
    monkeypatch.setattr(schema, "_declared", {})
    monkeypatch.setattr(schema, "_pools", {})
    monkeypatch.setattr(schema, "_homes", {})


class Mode(enum.IntEnum):
    SOFT = 0
    HARD = 4


class ShadeParameter:
    depth: float = 0.5
    mode: Mode = Mode.SOFT
    filler: proto.FillerParameter
    shapes: list[proto.BlobShape]


class Plateau:
    winsize: Annotated[int, 5009] = 7


def layer(text):
    message = proto.LayerParameter()
    proto.parse(text, message, "x")
    return message


def test_a_declared_field():
    schema.declare("shade_param", 5001, ShadeParameter)
    shade = proto.extension(
        layer("shade_param { depth: 2 mode: HARD filler { type: 'xavier' } shapes { dim: 3 dim: 4 } }"), ShadeParameter
    )
    assert (shade.depth, shade.mode, shade.filler.type) == (2, Mode.HARD, "xavier")
    assert [list(shape.dim) for shape in shade.shapes] == [[3, 4]]


def test_defaults_and_what_is_set():
    schema.declare("shade_param", 5001, ShadeParameter)
    message = proto.LayerParameter()
    shade = proto.extension(message, ShadeParameter)
    assert (shade.depth, shade.mode, shade.filler.type) == (0.5, Mode.SOFT, "constant")
    shade.depth = 3
    assert proto.format(message) == "shade_param {\n  depth: 3\n}\n"


def test_fields_of_a_message_itself():
    schema.extend("SolverParameter", Plateau)
    solver = proto.SolverParameter(base_lr=0.1)
    assert proto.extension(solver, Plateau).winsize == 7
    proto.extension(solver, Plateau).winsize = 9
    assert proto.format(solver) == "base_lr: 0.1\nwinsize: 9\n"


def test_a_class_that_declares_nothing_of_a_message():
    schema.declare("shade_param", 5001, ShadeParameter)
    with pytest.raises(PrototxtError, match=r"test_extension\.Plateau declares no field of LayerParameter"):
        proto.extension(proto.LayerParameter(), Plateau)
    with pytest.raises(PrototxtError, match="declares no field of SolverParameter"):
        proto.extension(proto.SolverParameter(), ShadeParameter)
    schema.retract("shade_param")
    with pytest.raises(PrototxtError, match="declares no field of LayerParameter"):
        proto.extension(proto.LayerParameter(), ShadeParameter)


def test_a_class_of_two_fields():
    schema.declare("shade_param", 5001, ShadeParameter)
    schema.declare("shadow_param", 5002, ShadeParameter)
    with pytest.raises(PrototxtError, match="declares more than one field of LayerParameter"):
        proto.extension(proto.LayerParameter(), ShadeParameter)


@pytest.mark.parametrize("params", [ShadeParameter, Plateau])
def test_a_message_that_was_made_before_the_plugin_was_loaded(params):
    old = proto.NetParameter()
    proto.parse("layer { name: 'a' }", old, "x")
    schema.declare("shade_param", 5001, ShadeParameter)
    schema.extend("LayerParameter", Plateau)
    with pytest.raises(PrototxtError, match=r"is older than the fields of .*: sdcaffe\.proto\.copied brings it along"):
        proto.extension(old.layer[0], params)
    new = proto.copied(old)
    assert new.layer[0].name == "a"
    assert proto.extension(new.layer[0], params)
    assert type(new) is proto.NetParameter
    assert type(old) is not proto.NetParameter


def test_a_copy_is_its_own():
    old = proto.NetParameter(name="old")
    new = proto.copied(old)
    new.name = "new"
    assert old.name == "old"


def test_the_modules_of_messages():
    """`sdcaffe.proto.caffe` has what protoc's caffe_pb2 has, the fields of plugins among it."""
    schema.declare("shade_param", 5001, ShadeParameter)
    assert proto.caffe.LayerParameter is proto.LayerParameter
    assert (proto.caffe.TRAIN, proto.caffe.Phase.Value("TEST"), proto.caffe.PoolingParameter.AVE) == (0, 1, 1)
    assert {"NetParameter", "ShadeParameter", "Phase", "TEST", "DESCRIPTOR"} <= set(dir(proto.caffe))
    assert proto.caffe.DESCRIPTOR.package == "caffe"
    with pytest.raises(AttributeError, match='Caffe has no message or enum "NetParametr"'):
        _ = proto.caffe.NetParametr
