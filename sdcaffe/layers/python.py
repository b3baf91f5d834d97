"""Python: a layer written in Python for Caffe, on numpy blobs, unmodified. Its class is caffe_layer.py's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register
from sdcaffe.layers.blob import Blob, Floats
from sdcaffe.layers.caffe_layer import CaffeLayer, call, new_instance


class _Call(torch.autograd.Function):
    """The layer's own forward and backward."""

    @staticmethod
    def forward(ctx: Any, layer: Python, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.layer = layer
        return layer.run_forward(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.layer.run_backward(gradients, ctx.needs_input_grad[1:]))


@register("Python", field="python_param")
class Python(Layer):
    """Runs the class `layer` of the module `module` on copies of its bottoms, in float32 on the CPU.

    Blobs: those that the class adds to its `blobs`. Tops may change shape from one pass to the next.
    `share_in_parallel` changes nothing: each process has a layer of its own. Raises PythonLayerError for what
    the class raises, at the line of its file.
    """

    param: proto.PythonParameter
    bottoms = (0, None)
    tops = (0, None)
    in_place = True
    dynamic = True
    not_exported = "it is Python code"
    instance: CaffeLayer | None = None
    _here: Tensor

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [layer_param.python_param.layer]

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.instance is None:
            self.instance = new_instance(self)
            self.register_buffer("_here", torch.empty(0), persistent=False)  # moves with the net: tells its device
            self.bottom = [Blob(*shape) for shape in bottom_shapes]
            self.top = [self.bottom[i] if same else Blob() for i, same in enumerate(self._in_place())]
            self.call("setup", self.bottom, self.top)
        for blob, shape in zip(self.bottom, bottom_shapes, strict=True):
            blob.reshape(*shape)
        self.call("reshape", self.bottom, self.top)
        self._make_blobs(self.instance)
        return [blob.shape for blob in self.top]

    def _in_place(self) -> list[bool]:
        bottoms = list(self.layer_param.bottom)
        return [i < len(bottoms) and bottoms[i] == name for i, name in enumerate(self.layer_param.top)]

    def _make_blobs(self, instance: CaffeLayer) -> None:
        """Parameters for the blobs that the class made; weights that are there already take their place."""
        for i, blob in enumerate(instance.blobs):
            new = i >= len(self.blobs)
            given = i in self._given
            self.blob(i, blob.shape)
            with torch.no_grad():
                if new and not given:
                    self.blobs[i].copy_(torch.from_numpy(blob.data))
                else:
                    _copy(blob.data, self.blobs[i])

    def call(self, method: str, *arguments: object) -> None:
        """Call a method of the class. Raises PythonLayerError for what it raises."""
        assert self.instance is not None
        call(self, self.instance, method, *arguments)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if not self.top:
            self.run_forward(bottoms)
            return ()
        return _Call.apply(self, *bottoms, *self.blobs)

    def run_forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """New tops, on this layer's device, for bottoms and then parameter blobs."""
        assert self.instance is not None
        for blob, tensor in zip(self.bottom, tensors, strict=False):
            blob.reshape(*tensor.shape)
            _copy(blob.data, tensor)
        before = [_copy(blob.data, tensor).copy() for blob, tensor in zip(self.instance.blobs, self.blobs, strict=True)]
        self.call("reshape", self.bottom, self.top)
        self.call("forward", self.bottom, self.top)
        with torch.no_grad():  # what a layer keeps in its blobs, such as running statistics
            for blob, tensor, old in zip(self.instance.blobs, self.blobs, before, strict=True):
                if not np.array_equal(blob.data, old, equal_nan=True):
                    tensor.copy_(torch.from_numpy(blob.data))
        return tuple(torch.from_numpy(blob.data.copy()).to(self._here) for blob in self.top)

    def run_backward(self, gradients: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor | None]:
        """Gradients of the bottoms and the parameter blobs that are `wanted`, for those of the tops."""
        assert self.instance is not None
        blobs = self.instance.blobs
        for blob, gradient in zip(self.top, gradients, strict=True):
            _copy(blob.diff, gradient)
        for blob in blobs:
            blob.diff[...] = 0
        count = len(self.bottom)
        self.call("backward", self.top, list(wanted[:count]), self.bottom)
        diffs = [blob.diff for blob in [*self.bottom, *blobs]]
        return [
            torch.from_numpy(diff.copy()).to(self._here) if want else None
            for diff, want in zip(diffs, wanted, strict=True)
        ]


def _copy(array: Floats, tensor: Tensor) -> Floats:
    array[...] = tensor.detach().cpu().numpy()
    return array
