"""Pieces of baseline nets to be self-distilled, and ways to look at what came out."""

from __future__ import annotations

import torch
from recipe_nets import parsed, without_data

from sdcaffe import Net, proto
from sdcaffe.graph import keep_layers
from sdcaffe.paper.rewrite import Settings, self_distilled

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 28 mirror: true mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.0078125 }
  data_param { source: "train_lmdb" batch_size: 4 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 28 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.0078125 }
  data_param { source: "test_lmdb" batch_size: 4 backend: LMDB } }
"""
TRUNK = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 5 stride: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "ip1" type: "InnerProduct" bottom: "conv1" top: "ip1" inner_product_param { num_output: 8 } }
layer { name: "relu2" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 5 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }\n'
ACCURACY = 'layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" %s }\n'
TEST_ONLY = "include { phase: TEST }"
DISTORT = 'layer { name: "phi" type: "Distort" bottom: "pixels" top: "data" distort_param { pad: 2 mirror: true } }\n'
PIXELS = """
layer { name: "pixels" type: "HDF5Data" top: "pixels" top: "label" hdf5_data_param { source: "x.txt" batch_size: 4 } }
"""


def rewritten(text: str, **settings):
    return self_distilled(parsed(text), Settings(**settings)).net


def kept(net, phase: int) -> list:
    """The layers of one phase without the rules that chose them."""
    copy = proto.NetParameter()
    copy.CopyFrom(net)
    copy.state.phase = phase
    layers = list(keep_layers(copy).layer)
    for layer in layers:
        layer.ClearField("include")
        layer.ClearField("exclude")
    return layers


def by_name(net, phase: int = proto.TRAIN) -> dict:
    return {layer.name: layer for layer in kept(net, phase)}


def run(net, phase: int = proto.TRAIN, size: int = 32, labels: int = 1, keep: tuple[str, ...] = ()):
    """One pass over random pixels in the place of the data layers."""
    param = without_data(net, phase, 4, size)
    built = Net(param, phase)
    image, *others = built.inputs
    given = {image: 255 * torch.rand(4, 3, size, size), **{name: torch.arange(4) for name in others}}
    return built, built.compute(built.feed(given), keep)
