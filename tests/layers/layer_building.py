"""Float64 layers and blobs, and derivatives of the two, for tests of single layers."""

from __future__ import annotations

import golden
import numpy as np
import torch
from hypothesis import settings
from torch import Tensor

# The same examples at every run, few of them: a gradcheck costs two passes for each value.
few = settings(max_examples=12, deadline=None, derandomize=True)


def make(type_name, body="", *shapes, tops=1):
    """Layer "x" of a type, set up for bottoms of `shapes`, in float64; `layer.top_shapes` is what setup gave."""
    text = golden.one_layer(type_name, body, bottoms=len(shapes), tops=tops)
    return golden.build(text, shapes).double()


def normal(*shape, seed=0):
    """Standard normal float64 values that want a gradient."""
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def apart(*shape, seed=0):
    """Values at least 0.01 apart from each other and from 0, shuffled: no kink or tie within a gradcheck's step."""
    count = int(np.prod(shape))
    values = np.random.default_rng([seed, *shape]).permutation(count).reshape(shape)
    step = max(0.01, 2 / max(count, 1))
    return torch.tensor((values - count / 2 + 0.25) * step, dtype=torch.float64, requires_grad=True)


def whole(low, high, *shape, seed=0):
    """Whole numbers low to high - 1 as a float64 blob, the way labels reach a layer."""
    return torch.tensor(np.random.default_rng([seed, *shape]).integers(low, high, shape), dtype=torch.float64)


def gradients_agree(layer, *bottoms):
    """Whether backward agrees with numeric differences, for bottoms that want a gradient and all blobs."""
    wanted = [bottom for bottom in bottoms if bottom.requires_grad] + list(layer.blobs)

    def run(*_):
        tops = layer(*bottoms)
        return tops if isinstance(tops, Tensor) else tuple(top for top in tops if top.requires_grad)

    return torch.autograd.gradcheck(run, wanted, eps=1e-6, atol=1e-6, rtol=1e-4)


def backward(top, *bottoms, weight=None):
    """Gradients of the bottoms as arrays, for the top's gradient `weight` (ones where None)."""
    weight = torch.ones_like(top) if weight is None else torch.as_tensor(weight, dtype=top.dtype)
    return [g.numpy() for g in torch.autograd.grad(top, bottoms, weight)]
