"""Makes single layers and small nets of Caffe's forks for these tests, and checks gradients in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd import gradcheck

from sdcaffe import layers, proto
from sdcaffe.layers.base import class_of

layers.discover()


def values(*shape, seed=0):
    """float64 numbers of both signs, none near 0 and no two near each other: no kink and no tie within reach."""
    n = int(np.prod(shape))
    places = np.random.RandomState(seed).permutation(n) - (n - 1) / 2
    return ((places + 0.25 * np.sign(places + 0.1)) * (4.0 / n)).reshape(shape)


def net_param(text):
    message = proto.NetParameter()
    proto.parse(text, message, "fork.prototxt")
    return message


def make(type_name, body, shapes, *, phase="TEST", tops=1, given=None, double=True):
    """The layer "x" of a type, set up for bottoms of these shapes; `top_shapes` is what setup said."""
    blobs = [f'bottom: "b{i}"' for i in range(len(shapes))] + [f'top: "t{i}"' for i in range(tops)]
    param = net_param(f'layer {{ name: "x" type: "{type_name}" {" ".join(blobs)} {body} }}').layer[0]
    layer = class_of(param)(param, getattr(proto, phase), given)
    layer.top_shapes = layer.setup([tuple(shape) for shape in shapes])
    return layer.double() if double else layer


def fill(layer, *blobs):
    """Put arrays into a layer's blobs, in order."""
    assert len(blobs) == len(layer.blobs)
    for blob, array in zip(layer.blobs, blobs, strict=True):
        blob.data.copy_(torch.as_tensor(np.reshape(array, tuple(blob.shape))))
    return layer


def run(layer, *bottoms):
    """The tops as arrays, after a check of their shapes; the bottoms in both memory orders."""
    found = []
    for channels_last in (False, True):
        given = [torch.tensor(bottom) for bottom in bottoms]
        if channels_last:
            given = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in given]
        tops = layer(*given)
        tops = (tops,) if isinstance(tops, torch.Tensor) else tops
        for tensor, bottom in zip(given, bottoms, strict=True):
            assert np.array_equal(tensor.numpy(), bottom), "the layer wrote into its bottom"
        found.append([top.detach().numpy() for top in tops])
    for plain, last, shape in zip(*found, layer.top_shapes, strict=True):
        assert np.array_equal(plain, last) or np.allclose(plain, last, rtol=1e-12, atol=1e-12)
        assert layer.dynamic or plain.shape == tuple(shape)
    return found[0] if len(found[0]) > 1 else found[0][0]


def gradients_agree(layer, *bottoms):
    """Backward against differences, for the bottoms that take a gradient and the blobs that learn."""
    given = [torch.tensor(bottom, requires_grad=i not in layer.index_bottoms) for i, bottom in enumerate(bottoms)]
    wanted = [b for b in given if b.requires_grad] + [b for b in layer.blobs if b.requires_grad]

    def tops(*_):
        found = layer(*given)
        found = (found,) if isinstance(found, torch.Tensor) else found
        return tuple(top for top in found if top.requires_grad)

    return gradcheck(tops, wanted, eps=1e-6, atol=1e-6, rtol=1e-4)
