"""A plugin tells which other Caffe has a type, a field or a value; errors then name that Caffe."""

from __future__ import annotations

import pytest

from sdcaffe import proto
from sdcaffe.errors import LayerError, PrototxtError
from sdcaffe.layers.base import layer_class
from sdcaffe.proto import elsewhere


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """What a test tells is forgotten after it."""
    for table in ("_types", "_fields", "_values", "_instead"):
        monkeypatch.setattr(elsewhere, table, {})


def error(text):
    with pytest.raises(PrototxtError) as caught:
        proto.parse(text, proto.NetParameter(), "x")
    return str(caught.value)


def test_a_layer_type():
    elsewhere.tell("My Caffe", types=["Wobble"])
    elsewhere.tell("A later Caffe", types=["Wobble", "Wiggle"])
    with pytest.raises(LayerError, match="not one of BVLC Caffe's, but My Caffe has it: write it as a plugin"):
        layer_class("Wobble")
    with pytest.raises(LayerError, match="but A later Caffe has it"):
        layer_class("Wiggle")


def test_a_field_and_how_bvlc_caffe_writes_it():
    elsewhere.tell("My Caffe", fields={"PoolingParameter": ["wobble", "wiggle"]})
    elsewhere.tell_instead("PoolingParameter", "wobble", "BVLC Caffe writes stride")
    assert (
        "it is not one of BVLC Caffe's, but My Caffe has it. BVLC Caffe writes stride. --ignore-unknown reads on"
    ) in error("layer { pooling_param { wobble: 1 } }")
    assert "My Caffe has it. --ignore-unknown" in error("layer { pooling_param { wiggle: 1 } }")
    assert "My Caffe" not in error("layer { lrn_param { wobble: 1 } }")


def test_a_value():
    elsewhere.tell("My Caffe", values=["WOBBLED"])
    found = error("layer { pooling_param { pool: WOBBLED } }")
    assert 'not "WOBBLED", which is not BVLC Caffe\'s; My Caffe has it' in found
