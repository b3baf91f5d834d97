"""Weights as older Caffes and forks wrote them."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.internal import api_implementation
from weight_files import refusal, same

from sdcaffe import proto
from sdcaffe.errors import WeightsError


def read_layers(tmp_path, net):
    (tmp_path / "x").write_bytes(net.SerializeToString())
    return [(entry.name, entry.type, [b.tolist() for b in entry.blobs]) for entry in proto.read_weights(tmp_path / "x")]


def test_v1_and_v0_weights(tmp_path):
    net = proto.NetParameter()
    layer = net.layers.add(name="ip", type="INNER_PRODUCT")
    layer.blobs.add(num=1, channels=1, height=2, width=1, data=[1, 2])
    layer.blobs.add(num=1, channels=1, height=1, width=1, data=[3])
    net.layers.add(name="s", type="SOFTMAX_LOSS")
    net.layers.add().layer.type = "padding"
    old = net.layers.add().layer
    old.name, old.type = "c", "conv"
    old.blobs.add(num=2, channels=1, height=1, width=1, data=[4, 5])
    assert read_layers(tmp_path, net) == [
        ("ip", "InnerProduct", [[[[[1], [2]]]], [[[[3]]]]]),
        ("s", "SoftmaxWithLoss", []),
        ("", "", []),
        ("c", "Convolution", [[[[[4]]], [[[5]]]]]),
    ]


def test_numbers_that_are_not_packed_or_come_in_pieces(tmp_path):
    def blob(*parts):
        (tmp_path / "x").write_bytes(b"".join(parts))
        return proto.read_blob(tmp_path / "x").tolist()

    shape = b"\x3a\x03\x0a\x01\x03"  # shape { dim: [3] }
    one, two, three = (np.float32(n).tobytes() for n in (1, 2, 3))
    assert blob(shape, b"\x2a\x0c", one, two, three) == [1, 2, 3]
    assert blob(shape, b"\x2a\x08", one, two, b"\x2a\x04", three) == [1, 2, 3]
    assert blob(b"\x2d", one, b"\x2d", two, b"\x2d", three, shape) == [1, 2, 3]
    assert "holds 2" in refusal(WeightsError, blob, b"\x2d", one, b"\x2a\x08", two, three, shape)
    doubles = b"".join(b"\x41" + np.float64(n).tobytes() for n in (1, 2, 3))
    assert blob(doubles, shape) == [1, 2, 3]


def test_old_axes_win_over_the_shape_and_no_shape_is_one_number():
    message = proto.BlobProto(num=1, channels=2, data=[1, 2], height=1, width=1)
    message.shape.dim.append(2)
    assert proto.blob_to_array(message).shape == (1, 2, 1, 1)
    assert proto.blob_to_array(proto.BlobProto(data=[5])).shape == ()
    assert proto.blob_to_array(proto.BlobProto(num=0)).shape == (0, 0, 0, 0)


def test_double_data_wins():
    message = proto.BlobProto(data=[1, 2], double_data=[1 / 3, 2])
    message.shape.dim.append(2)
    same(proto.blob_to_array(message), np.array([1 / 3, 2]))


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_data_of_nvidias_caffe(tmp_path, kind, dtype):
    numbers = np.array([0.5, -2, 3], dtype)
    data = b"\x3a\x03\x0a\x01\x03\x50" + bytes([kind]) + b"\x62" + bytes([numbers.nbytes]) + numbers.tobytes()
    (tmp_path / "x").write_bytes(b"\xa2\x06" + bytes([len(data) + 2]) + b"\x3a" + bytes([len(data)]) + data)
    found = proto.read_weights(tmp_path / "x")[0].blobs[0]
    same(found, np.array([0.5, -2, 3], np.float64 if kind == 0 else np.float32))


@pytest.mark.skipif(api_implementation.Type() == "python", reason="protobuf without its C parts refuses such a file")
def test_names_that_are_not_utf8(tmp_path):
    """C++ writes any bytes."""
    (tmp_path / "x").write_bytes(b"\x0a\x01\xff\xa2\x06\x04\x0a\x02a\xe9")
    assert [entry.name for entry in proto.read_weights(tmp_path / "x")] == ["a\ufffd"]
    net = proto.read_binary(tmp_path / "x", proto.NetParameter)
    assert proto.format(net) == 'name: "\\377"\nlayer {\n  name: "a\\351"\n}\n'
    (tmp_path / "x").write_bytes(b"\x08\x01\x12\x02a\xe9")
    assert proto.read_state(tmp_path / "x").learned_net == "a\udce9"
