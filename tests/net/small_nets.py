"""Nets of a few layers from prototxt text, for the tests of nets. Tests nothing itself."""

from __future__ import annotations

import numpy as np

import sdcaffe
from sdcaffe import proto
from sdcaffe.net import Net

HEAD = 'name: "n" layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n'

CHAIN = """
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 5 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
"""
# the same layers with a reader between them, so that nothing can be fused
APART = (
    CHAIN.replace('"bn" type: "BatchNorm" bottom: "y" top: "y"', '"bn" type: "BatchNorm" bottom: "y" top: "b"')
    .replace('"scale" type: "Scale" bottom: "y" top: "y"', '"scale" type: "Scale" bottom: "b" top: "s"')
    .replace('"relu" type: "ReLU" bottom: "y" top: "y"', '"relu" type: "ReLU" bottom: "s" top: "r"')
    + 'layer { name: "look" type: "Silence" bottom: "b" } layer { name: "look2" type: "Silence" bottom: "s" }'
)

LONG = """
force_backward: true
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "b" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "b" top: "s" scale_param { bias_term: true filler { value: 1.5 }
  bias_filler { value: 0.2 } } }
layer { name: "relu" type: "ReLU" bottom: "s" top: "r" }
layer { name: "conv" type: "Convolution" bottom: "r" top: "y"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" } } }
"""


def net_of(text, phase=sdcaffe.TRAIN, **options):
    message = proto.NetParameter()
    proto.text.parse(HEAD + text, message, "net.prototxt")
    return Net(message, phase, **options)


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
