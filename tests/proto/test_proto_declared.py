"""What a class with annotations can say of a message, and fields added to Caffe's own messages."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import pytest

from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import schema
from sdcaffe.proto.schema import Message


@pytest.fixture(autouse=True)
def _clean_schema(monkeypatch):
    """Caffe's own: what a test declares is gone after it, and so is here what others load."""
    monkeypatch.setattr(schema, "_declared", {})
    monkeypatch.setattr(schema, "_pools", {})


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Point:
    x: float = 0.5
    colour: Colour = Colour.BLUE


class Line:
    first: Point
    others: list[Point]


class ShadeParameter:
    top: Annotated[int, 7] = -1
    next_one: int = 3
    first: Annotated[list[float], 1]
    line: Line
    colours: list[Colour]


def read(text):
    layer = proto.LayerParameter()
    proto.parse(text, layer, "x.prototxt")
    return layer


def test_numbers_nested_messages_and_the_classs_name():
    schema.declare("shade_param", 4101, ShadeParameter)
    message = proto.ShadeParameter.DESCRIPTOR
    assert {f.name: f.number for f in message.fields} == {
        "top": 7, "next_one": 8, "first": 1, "line": 2, "colours": 3,
    }  # fmt: skip
    layer = read("shade_param { line { first { x: 2 } others { colour: RED } others { } } colours: [RED, BLUE] }")
    line = layer.shade_param.line
    assert (line.first.x, line.first.colour, [p.colour for p in line.others]) == (2, 2, [1, 2])
    assert proto.format(proto.LayerParameter.FromString(layer.SerializeToString())) == proto.format(layer)
    with pytest.raises(PrototxtError, match='message "Point" has no field "y"'):
        read("shade_param { line { first { y: 2 } } }")


def test_two_declarations_may_share_a_class_but_not_a_name():
    class Pair:
        end: Point

    schema.declare("shade_param", 4101, ShadeParameter)
    schema.declare("pair_param", 4102, Pair)
    assert read("pair_param { end { x: 3 } }").pair_param.end.x == 3
    other = type("Point", (), {"__annotations__": {"z": int}, "__module__": __name__})

    strange = type("Strange", (), {"__annotations__": {"end": other}, "__module__": __name__})
    with pytest.raises(PrototxtError, match='there is a message "Point" already'):
        schema.declare("strange_param", 4103, strange)
    assert "strange_param" not in proto.LayerParameter.DESCRIPTOR.fields_by_name


def test_a_number_given_twice():
    class Twice:
        a: int
        b: Annotated[int, 1]

    with pytest.raises(PrototxtError, match=r"Twice\.b has the number 1 of another field"):
        schema.declare("twice_param", 4101, Twice)


class Extra:
    scale_filler_of_a_fork: Annotated[Any, 1005] = Message("FillerParameter")
    colour: Annotated[Colour, 1007] = Colour.RED
    second: Annotated[Colour, 1008] = Colour.BLUE
    point: Annotated[Point, 1009]


def test_fields_added_to_a_message_of_caffes():
    schema.extend("TileParameter", Extra)
    pool = schema.pool()
    schema.extend("TileParameter", Extra)
    assert schema.pool() is pool
    text = "tile_param { tiles: 2 colour: BLUE scale_filler_of_a_fork { value: 3 } point { x: 4 } }"
    param = read(text).tile_param
    assert (param.tiles, param.colour, param.second, param.point.x) == (2, 2, 2, 4)
    assert param.scale_filler_of_a_fork.value == 3
    assert param.DESCRIPTOR.fields_by_name["colour"].number == 1007


@pytest.mark.parametrize(
    ("message", "annotations", "error"),
    [
        ("TileParameter", {"tiles": Annotated[int, 1000]}, 'declares the field "tiles", which BVLC Caffe has already'),
        ("TileParameter", {"more": Annotated[int, 2]}, 'number 2, which BVLC Caffe uses for "tiles"'),
        ("TileParameter", {"more": Annotated[int, 0]}, "with number 0"),
        ("NoSuchParameter", {"more": int}, 'Caffe has no message "NoSuchParameter"'),
    ],
)
def test_fields_that_cannot_be_added(message, annotations, error):
    params = type("Params", (), {"__annotations__": annotations, "__module__": __name__})
    with pytest.raises(PrototxtError, match=error):
        schema.extend(message, params)
    assert "more" not in proto.TileParameter.DESCRIPTOR.fields_by_name


class Drawing:
    image: Any = Message("Datum")
    points: list[Point]


def test_a_message_of_its_own():
    schema.add(Drawing)
    pool = schema.pool()
    schema.add(Drawing)
    assert schema.pool() is pool
    drawing = proto.Drawing(image={"label": 3}, points=[{"x": 1}, {"x": 2}])
    assert proto.Drawing.FromString(drawing.SerializeToString()).points[1].x == 2
    other = type("Drawing", (), {"__annotations__": {"z": int}, "__module__": __name__})
    with pytest.raises(PrototxtError, match='there is a message "Drawing" already'):
        schema.add(other)


def test_a_declaration_taken_back():
    schema.declare("shade_param", 4101, ShadeParameter)
    schema.retract("shade_param")
    schema.retract("shade_param")
    with pytest.raises(PrototxtError, match='no field "shade_param"'):
        read("shade_param { }")
