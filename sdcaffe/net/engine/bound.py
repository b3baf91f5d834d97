"""A session's inputs and outputs at fixed addresses: a small net takes no longer than handing over arrays does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from ctypes import memmove
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Places = Sequence[tuple[str, Sequence[int]]]  # names and shapes

MOST_BYTES = 1 << 20  # of all inputs and outputs: what is larger is not copied
_READY_BYTES, _READY = 1 << 16, 64  # of the tensors that are made ahead for outputs, and how many outputs at most


def small(*places: Places) -> bool:
    """Whether blobs of these shapes are few bytes, and some."""
    sizes = [4 * math.prod(shape) for some in places for _, shape in some]
    return all(sizes) and sum(sizes) <= MOST_BYTES


class Bound:
    """Runs `session`, whose further inputs are the float32 arrays `fixed`. For one thread at a time."""

    def __init__(
        self, session: InferenceSession, inputs: Places, outputs: Places, fixed: Mapping[str, NDArray[np.float32]]
    ) -> None:
        from onnxruntime import OrtValue

        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._arrays = {name: np.empty(shape, np.float32) for name, shape in (*inputs, *outputs)}
        for name, array in (*((name, self._arrays[name]) for name, _ in inputs), *fixed.items()):
            self._binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
        for name, _ in outputs:
            self._binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(self._arrays[name]))
        self._takes = [(self._arrays[name].ctypes.data, self._arrays[name].nbytes) for name, _ in inputs]
        self._gives = [(self._arrays[name].ctypes.data, self._arrays[name].nbytes) for name, _ in outputs]
        self._shapes = [tuple(shape) for _, shape in outputs]
        self._ready: list[tuple[tuple[Tensor, ...], list[int]]] = []  # tensors for outputs, and where they lie

    def __call__(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs for contiguous float32 `bottoms` of the inputs' shapes."""
        for bottom, (at, size) in zip(bottoms, self._takes, strict=True):
            memmove(at, bottom.data_ptr(), size)
        self._run(self._binding)
        if not self._ready:
            self._make_ready()
        tops, places = self._ready.pop()
        for place, (at, size) in zip(places, self._gives, strict=True):
            memmove(place, at, size)
        return tops

    def _make_ready(self) -> None:
        """Many at a time: behind a run, when the caches are cold, the first takes as long as many."""
        count = min(_READY, max(1, _READY_BYTES // sum(size for _, size in self._gives)))
        for _ in range(count):
            tops = tuple(torch.empty(shape) for shape in self._shapes)
            self._ready.append((tops, [top.data_ptr() for top in tops]))
