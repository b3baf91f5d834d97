"""Data layers alone: built from prototxt, and their batches as arrays. Holds no expectations of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from sdcaffe import layers, proto
from sdcaffe.layers.base import layer_class

FILES = Path(__file__).parents[1] / "goldens" / "files"
CPU = torch.device("cpu")


def make(text, phase="TRAIN"):
    """The layer of `layer { name: "data" TEXT }`, set up; its top shapes are in `top_shapes`."""
    layers.load_builtin()
    param = proto.LayerParameter()
    proto.text.parse(f'name: "data" {text}', param, "layer.prototxt")
    layer = layer_class(param.type)(param, getattr(proto, phase))
    layer.top_shapes = layer.setup([])
    return layer


def batches(layer, count):
    """The next `count` batches, joined: one array a top."""
    found = [layer.next_batch(CPU) for _ in range(count)]
    return [np.concatenate([top.numpy() for top in tops]) for tops in zip(*found, strict=True)]


def recorded(name, tmp_path):
    """A copy of what Caffe's tools wrote: opening a LevelDB writes into its folder."""
    target = tmp_path / name
    if not target.exists():
        shutil.copytree(FILES / name, target)
    return target
