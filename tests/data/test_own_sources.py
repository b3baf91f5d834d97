"""A source of data that a plugin brings: opened by its name, fed as any other, its mistakes told with their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdcaffe
from sdcaffe import layers, proto
from sdcaffe.data import open_source
from sdcaffe.errors import DataError, SdcaffeError

NET = 'layer { name: "d" type: "Data" top: "x" top: "label" data_param { source: "ramp:10" batch_size: 4 MORE } }'


@pytest.fixture(autouse=True)
def plugin():
    layers.discover([str(Path(__file__).with_name("own_sources.py"))])


def net_of(more=""):
    param = proto.NetParameter()
    proto.text.parse(NET.replace("MORE", more), param, "net.prototxt")
    return sdcaffe.Net(param, sdcaffe.TRAIN)


def test_it_feeds_a_data_layer_and_wraps_round():
    net = net_of()
    seen = [net.forward() for _ in range(3)]
    assert [blobs["x"][:, 0, 1, 2].tolist() for blobs in seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert seen[1]["label"].tolist() == [0, 1, 2, 3]
    source = net.layers["d"].feed.source
    net.close()
    assert source.closed


def test_its_field_is_read_and_numbers_of_other_kinds_become_float32():
    assert net_of('kind: "double"').forward()["x"][:, 0, 0, 0].tolist() == [0.25, 1.25, 2.25, 3.25]


def test_it_is_read_the_same_ahead_and_from_memory(monkeypatch):
    resident = [net_of("shuffle: true seed: 3").forward()["x"].numpy() for _ in range(3)]
    monkeypatch.setattr("sdcaffe.data.feed.RESIDENT_BYTES", 0)
    ahead = [net_of("shuffle: true seed: 3").forward()["x"].numpy() for _ in range(3)]
    np.testing.assert_array_equal(ahead, resident)


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        ("ramp:ten", "", r'source of data "ramp": ValueError: .*ten.* \(.*own_sources.py:\d+\)'),
        ("ramp:10", 'kind: "broken"', r'source of data "ramp": KeyError: 5 \(.*own_sources.py:\d+\)'),
        ("ramp:10", 'kind: "late"', r"ramp:10: image 0 is a list, not an array \(channels, height, width\)"),
    ],
)
def test_a_mistake_is_one_error_with_its_place(source, more, says):
    param = proto.NetParameter()
    proto.text.parse(NET.replace("ramp:10", source).replace("MORE", more), param, "net.prototxt")
    with pytest.raises(DataError, match=says):
        sdcaffe.Net(param, sdcaffe.TRAIN).forward()


def test_caffes_databases_come_through_the_same_door(tmp_path):
    for name in ("LMDB", "LEVELDB"):
        with pytest.raises(DataError, match=f"there is no {name} here"):
            open_source(f"{name}:{tmp_path / 'nowhere'}")


def test_a_class_that_is_no_source_names_the_plugins_line(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("import sdcaffe\n\n@sdcaffe.register_source('mine')\nclass Mine:\n    pass\n")
    with pytest.raises(SdcaffeError, match=r'wrong.py:3: source of data "mine": .* is not a subclass of Source'):
        layers.load_plugin(str(file))
