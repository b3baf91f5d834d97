"""A plugin tells which fields are kept but not looked at: one warning names them, and they are written back."""

from __future__ import annotations

import enum
import logging
from typing import Annotated

import pytest

from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import past, schema


class Speed(enum.IntEnum):
    SLOW = 0
    FAST = 1


class Hints:
    hurry: Annotated[Speed, 7001] = Speed.SLOW
    hint: Annotated[str, 7002] = ""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """What a test declares is forgotten after it."""
    for table in ("_declared", "_values", "_homes"):
        monkeypatch.setattr(schema, table, dict(getattr(schema, table)))
    monkeypatch.setattr(schema, "_pools", {})
    for table in ("_fields", "_values"):
        monkeypatch.setattr(past, table, {})


def read(text, caplog):
    message = proto.NetParameter()
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        proto.parse(text, message, "net.prototxt")
    return message, [record.getMessage() for record in caplog.records]


def test_one_warning_names_all_and_all_is_kept(caplog):
    schema.extend("LayerParameter", Hints)
    past.tell("LayerParameter", ["hurry", "hint"], "it is a wish")
    text = 'layer {\n  name: "a"\n  hurry: FAST\n  hint: "now"\n}\nlayer {\n  hint: "later"\n}\n'
    message, warnings = read(text, caplog)
    assert warnings == [
        "net.prototxt:3:3: kept, but not looked at: LayerParameter.hurry, LayerParameter.hint (2 times): it is a wish"
    ]
    assert proto.format(message) == text


def test_a_value_of_an_enum(caplog):
    schema.add_values("PoolingParameter", "Engine", {"ABACUS": 9})
    past.tell_values("PoolingParameter", "engine", ["ABACUS"], "it counts alike")
    text = "layer {\n  pooling_param {\n    engine: ABACUS\n  }\n}\n"
    message, warnings = read(text + "layer { pooling_param { engine: CAFFE } }", caplog)
    assert warnings == ["net.prototxt:3:5: kept, but not looked at: engine: ABACUS: it counts alike"]
    assert proto.format(message).startswith(text)
    assert proto.NetParameter.FromString(message.SerializeToString()) == message


def test_two_names_of_one_value():
    schema.add_values("PoolingParameter", "PoolMethod", {"MEAN": 901, "AVERAGE": 901})
    schema.add_values("PoolingParameter", "PoolMethod", {"MEAN": 901})
    message = proto.PoolingParameter()
    proto.parse("pool: AVERAGE", message, "x")
    assert message.pool == proto.PoolingParameter.MEAN == 901
    assert proto.format(message) == "pool: MEAN\n"


@pytest.mark.parametrize(
    ("enum_name", "values"),
    [("PoolMethod", {"MAX": 7}), ("Mood", {"GOOD": 1})],
)
def test_values_that_cannot_be(enum_name, values):
    with pytest.raises(PrototxtError, match=f"the enum {enum_name} of PoolingParameter cannot have the values"):
        schema.add_values("PoolingParameter", enum_name, values)
    assert proto.PoolingParameter(pool="MAX").pool == 0
