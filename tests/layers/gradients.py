"""gradcheck in float64 of one layer alone, over its bottoms and its blobs."""

from __future__ import annotations

from collections.abc import Sequence

import golden
import numpy as np
import torch
from hypothesis import settings
from torch.autograd import gradcheck

# The same few examples in every run: a failure is found again.
few = settings(derandomize=True, deadline=None, max_examples=15, database=None)


def distinct(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Values of both signs, none near 0 and no two near each other: no kink and no tie within reach."""
    n = int(np.prod(shape))
    places = np.random.RandomState(seed).permutation(n) - (n - 1) / 2
    return (places + 0.25 * np.sign(places + 0.1)).reshape(shape) * (4.0 / n)


def positive(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).rand(*shape) + 0.2


def double(
    text: str, bottoms: Sequence[np.ndarray], phase: str = "TRAIN"
) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """The layer in float64 with random blobs, and its bottoms as tensors; 4-D ones are channels_last."""
    layer = golden.build(text, [bottom.shape for bottom in bottoms], phase).double()
    random = np.random.RandomState(5)
    for blob in layer.blobs:
        blob.data.copy_(torch.from_numpy(np.asarray(random.randn(*blob.shape))))
    tensors = [torch.tensor(bottom, dtype=torch.float64) for bottom in bottoms]
    return layer, [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in tensors]


def check(text: str, bottoms: Sequence[np.ndarray], phase: str = "TRAIN", *, constant: Sequence[int] = ()) -> None:
    """Autograd against differences, for every bottom but those in `constant` and every blob that learns."""
    layer, tensors = double(text, bottoms, phase)
    for i, tensor in enumerate(tensors):
        tensor.requires_grad_(i not in constant)
    blobs = [blob for blob in layer.blobs if blob.requires_grad]

    def function(*_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(1)  # a layer that draws draws the same each time
        return tuple(top for top in golden.run(layer, tensors) if top.requires_grad)

    inputs = [tensor for tensor in tensors if tensor.requires_grad] + blobs
    assert gradcheck(function, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)
