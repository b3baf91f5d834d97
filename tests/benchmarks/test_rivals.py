"""The networks that sdcaffe is timed against have the layers that its own have."""

from __future__ import annotations

from collections import Counter

import pytest
from rivals import NETS

import sdcaffe
from sdcaffe import layers


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_rival_has_the_same_weights(name):
    """Convolutions and products by shape; a norm is a BatchNorm with the Scale behind it."""
    layers.discover()
    net = sdcaffe.Net(f"prototxt/cifar100/{name}/deploy.prototxt", sdcaffe.TRAIN)
    ours = Counter(tuple(blob.shape) for name in net.params for blob in trained(net, name))
    assert ours == Counter(tuple(parameter.shape) for parameter in NETS[name](100).parameters())


def trained(net, name):
    return () if net.layers[name].type == "BatchNorm" else net.params[name]
