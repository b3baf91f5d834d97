"""Nets of a few layers from prototxt text, for the tests of nets. Tests nothing itself."""

from __future__ import annotations

import numpy as np

import sdcaffe
from sdcaffe import proto
from sdcaffe.net import Net

HEAD = 'name: "n" layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n'


def net_of(text, phase=sdcaffe.TRAIN, **options):
    message = proto.NetParameter()
    proto.text.parse(HEAD + text, message, "net.prototxt")
    return Net(message, phase, **options)


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
