"""What the tests of weight and snapshot files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdcaffe import proto
from sdcaffe.errors import SnapshotError, WeightsError

GOLDENS = Path(__file__).parents[1] / "goldens"
FILES = GOLDENS / "files"
MODELS = sorted(GOLDENS.glob("**/*.caffemodel"))
STATES = sorted(GOLDENS.glob("**/*.solverstate"))


def same(one, other):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def refusal(error, call, *args):
    with pytest.raises(error) as caught:
        call(*args)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def small_net():
    net = proto.NetParameter(name="small")
    net.layer.add(name="a", type="InnerProduct", bottom=["x"], phase=proto.TRAIN).inner_product_param.num_output = 2
    net.layer.add(name="b", type="ReLU")
    net.layer.add(name="c", type="BatchNorm")
    return net


def small_blobs():
    draw = np.random.default_rng(0)
    return {
        "a": [draw.normal(size=(2, 3)).astype(np.float32), draw.normal(size=2).astype(np.float32)],
        "c": [np.array([0.5], np.float32), np.float32(3).reshape(()), np.zeros((0, 3), np.float32)],
    }


def small_state():
    draw = np.random.default_rng(1)
    return proto.State(
        iter=7,
        learned_net="x_iter_7.caffemodel",
        current_step=2,
        history=[draw.normal(size=(2, 3)).astype(np.float32), draw.normal(size=2)],
        sdcaffe_state=b"\x00ours\xff",
    )


def written(tmp_path, kind):
    path = tmp_path / kind
    if "state" in kind:
        proto.write_state(path, small_state())
        return path, proto.read_state, SnapshotError
    if "model" in kind:
        proto.write_weights(path, small_net(), small_blobs())
        return path, proto.read_weights, WeightsError
    proto.write_blob(path, np.arange(6, dtype=np.float32).reshape(2, 3))
    return path, proto.read_blob, WeightsError
