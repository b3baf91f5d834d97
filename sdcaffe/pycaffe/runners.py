"""Runs one layer on blobs, forward and backward, with Caffe's habits of who shares whose memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from sdcaffe.layers.base import DataLayer, Layer, Shape
from sdcaffe.layers.blob import Blob, BlobVec, Floats
from sdcaffe.layers.caffe_layer import PythonLayerError
from sdcaffe.layers.dummy_data import DummyData
from sdcaffe.layers.python import Python
from sdcaffe.pycaffe import mode
from sdcaffe.pycaffe.reach import Reach

_CPU = torch.device("cpu")


@dataclass
class Place:
    """What surrounds a layer: its blobs, the loss weight of each top, and how far backward reaches."""

    bottoms: list[Blob]
    tops: list[Blob]
    in_place: list[bool]  # for each bottom: a top is the same blob
    loss_weights: list[float]
    params: BlobVec
    reach: Reach


@contextmanager
def as_raised() -> Iterator[None]:
    """Let a script see what a Python layer raised itself, with a note of where."""
    try:
        yield
    except PythonLayerError as error:
        cause = error.__cause__
        assert cause is not None
        cause.add_note(str(error))
        raise cause from None


class Runner:
    """A layer that only has a shape: Input. Others derive from it."""

    def __init__(self, layer: Layer, place: Place) -> None:
        self.layer = layer
        self.bottoms, self.tops, self.params, self.reach = place.bottoms, place.tops, place.params, place.reach
        self.loss_weights, self.in_place = place.loss_weights, place.in_place
        self._seen = self._bottom_shapes()
        self.connect()
        for top, weight in zip(self.tops, self.loss_weights, strict=True):
            if weight:  # where backward starts; a script may overwrite it
                top.diff[...] = weight

    def connect(self) -> None:
        """Let blobs share memory, where they do so before the first pass."""

    def _bottom_shapes(self) -> list[Shape]:
        return [blob.shape for blob in self.bottoms]

    def forward(self) -> float:
        """Fill the tops; returns the loss that they carry."""
        self.run()
        return self.loss()

    def loss(self) -> float:
        """What the tops carry of the loss."""
        losses = zip(self.tops, self.loss_weights, strict=True)
        return sum(float(np.vdot(top.data, top.diff)) for top, weight in losses if weight)

    def run(self) -> None:
        """Fill the tops."""

    def backward(self) -> None:
        """Fill the bottoms' diffs from the tops', and add to those of the parameters."""

    def reshape(self) -> None:
        """Give the tops the shapes that follow from the bottoms'."""

    def shape_tops(self, shapes: Sequence[Shape]) -> None:
        for top, shape, weight in zip(self.tops, shapes, self.loss_weights, strict=True):
            if top.shape != tuple(shape):
                top.reshape(*shape)
                if weight:
                    top.diff[...] = weight

    def write(self, values: Sequence[Tensor]) -> None:
        """Put tensors into the tops, whose shapes they decide."""
        self.shape_tops([tuple(value.shape) for value in values])
        for top, value in zip(self.tops, values, strict=True):
            np.copyto(top.data, value.detach().cpu().numpy())


class DataRunner(Runner):
    """A layer that brings batches."""

    layer: DataLayer

    def run(self) -> None:
        self.write(self.layer.next_batch(_CPU))


class DummyRunner(DataRunner):
    """DummyData: what a script writes into constant tops stays, since they are filled once; so do new shapes of all."""

    layer: DummyData

    def connect(self) -> None:
        self._fill(self.layer.constant_tops)

    def run(self) -> None:
        self._fill(i for i in range(len(self.tops)) if i not in self.layer.constant_tops)
        self.layer.cursor += 1

    def _fill(self, tops: Iterable[int]) -> None:
        for i in tops:
            np.copyto(self.tops[i].data, self.layer.filled(i, self.tops[i].shape, _CPU))


class PythonRunner(Runner):
    """A layer written in Python: it reads and writes the blobs themselves."""

    layer: Python

    def run(self) -> None:
        self.reshape()
        with as_raised():
            self.layer.call("forward", self.bottoms, self.tops)

    def reshape(self) -> None:
        before = [top.shape for top in self.tops]
        with as_raised():
            self.layer.call("reshape", self.bottoms, self.tops)
        for top, shape, weight in zip(self.tops, before, self.loss_weights, strict=True):
            if weight and top.shape != shape:
                top.diff[...] = weight

    def backward(self) -> None:
        with as_raised():
            self.layer.call("backward", self.tops, list(self.reach.bottoms), self.bottoms)


class ParameterRunner(Runner):
    """Parameter: the top has the memory of the blob, data and diff."""

    def run(self) -> None:
        (top,), (blob,) = self.tops, self.params
        top.share_data(blob)
        top.share_diff(blob)


class ViewRunner(Runner):
    """Flatten and Reshape: the top is the bottom's memory, data and diff, in another shape."""

    def connect(self) -> None:
        self.reshape()

    def run(self) -> None:
        self.reshape()

    def reshape(self) -> None:
        (top,), (bottom,), before = self.tops, self.bottoms, self.tops[0].shape
        self.shape_tops(self.layer.setup([bottom.shape]))
        top.share_data(bottom)
        top.share_diff(bottom)
        if self.loss_weights[0] and top.shape != before:
            top.diff[...] = self.loss_weights[0]


class SplitRunner(Runner):
    """Split: the tops have the bottom's data, and diffs of their own that add up to its."""

    def run(self) -> None:
        self.reshape()
        for top in self.tops:
            top.share_data(self.bottoms[0])

    def reshape(self) -> None:
        self.shape_tops([self.bottoms[0].shape] * len(self.tops))

    def backward(self) -> None:
        if self.reach.bottoms[0]:
            np.copyto(self.bottoms[0].diff, sum(top.diff for top in self.tops))


class TorchRunner(Runner):
    """Any other layer: run on tensors that are the blobs' memory, its graph kept until the next forward."""

    def __init__(self, layer: Layer, place: Place) -> None:
        super().__init__(layer, place)
        self._graph: tuple[list[Tensor], list[Tensor | None], list[Tensor | None]] | None = None

    @property
    def lacks_record(self) -> bool:
        """Whether backward would have to compute the tops again first."""
        return self.reach.layer and self._graph is None

    def forget(self) -> None:
        """The tops come from elsewhere."""
        self._graph = None

    def run(self) -> None:
        self.write(self.compute())

    def reshape(self) -> None:
        self.shape_tops(self.layer.shapes_at([torch.from_numpy(blob.data) for blob in self.bottoms]))
        self._seen = self._bottom_shapes()

    def compute(self, below: Tensor | None = None) -> list[Tensor]:
        """The tops; `below` is what stood in the blob that it works on in place."""
        if (shapes := self._bottom_shapes()) != self._seen:
            self.layer.setup(shapes)
            self._seen = shapes
        device = mode.device()
        # a layer in place gets a copy: what autograd has saved outlives the bottom's values
        bottoms = [
            _tensor(blob.data if below is None or not same else below, device, want and self.reach.layer, copy=same)
            for blob, want, same in zip(self.bottoms, self.reach.bottoms, self.in_place, strict=True)
        ]
        params = [
            _tensor(blob.data, device, want and self.reach.layer)
            for blob, want in zip(self.params, self.reach.blobs, strict=True)
        ]
        buffers = {} if device == _CPU else {n: b.to(device) for n, b in self.layer.named_buffers()}
        values = {f"blobs.{i}": param for i, param in enumerate(params)}
        with torch.set_grad_enabled(self.reach.layer):
            result = functional_call(self.layer, {**values, **buffers}, tuple(bottoms))
        tops = [result] if isinstance(result, Tensor) else list(result)
        if device != _CPU:
            self._bring_back(params, buffers)
        self._graph = (tops, _wanted(bottoms), _wanted(params)) if self.reach.layer else None
        return tops

    def _bring_back(self, params: Sequence[Tensor], buffers: dict[str, Tensor]) -> None:
        """Statistics and states that the layer changed on another device."""
        for i in self.layer.fixed_blobs:
            np.copyto(self.params[i].data, params[i].cpu().numpy())
        own = dict(self.layer.named_buffers())
        for name, buffer in buffers.items():
            own[name].copy_(buffer)

    def backward(self) -> None:
        if self._graph is None:
            self.compute()
        assert self._graph is not None
        tops, bottoms, params = self._graph
        reached = [
            (value, torch.from_numpy(top.diff.copy()).to(value.device).reshape(value.shape))
            for value, top in zip(tops, self.tops, strict=True)
            if value.requires_grad
        ]
        wanted = [tensor for tensor in [*bottoms, *params] if tensor is not None]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if reached and wanted:
            values, diffs = zip(*reached, strict=True)
            start = _Start.apply(diffs, *values)
            found = torch.autograd.grad(start, wanted, retain_graph=True, allow_unused=True)
        gradients = dict(zip(map(id, wanted), found, strict=True))
        for blob, tensor in zip(self.bottoms, bottoms, strict=True):
            if tensor is not None:
                gradient = gradients[id(tensor)]
                np.copyto(blob.diff, 0 if gradient is None else gradient.cpu().numpy())
        for blob, tensor in zip(self.params, params, strict=True):
            if tensor is not None and (gradient := gradients[id(tensor)]) is not None:
                blob.diff[...] += gradient.cpu().numpy()


class _Start(torch.autograd.Function):
    """Where backward begins: gives values their diffs. (Given diffs itself, autograd.grad first imports SymPy.)"""

    @staticmethod
    def forward(ctx: Any, diffs: Sequence[Tensor], *values: Tensor) -> Tensor:
        ctx.diffs = diffs
        return values[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, *ctx.diffs)


def _tensor(data: Floats | Tensor, device: torch.device, want: bool, copy: bool = False) -> Tensor:
    tensor = torch.as_tensor(data).detach().to(device, copy=copy)
    return tensor.requires_grad_() if want else tensor


def _wanted(tensors: Sequence[Tensor]) -> list[Tensor | None]:
    return [tensor if tensor.requires_grad else None for tensor in tensors]


def make_runner(layer: Layer, place: Place) -> Runner:
    """What runs a layer at its place."""
    kinds: list[tuple[bool, Any]] = [
        (layer.given, Runner),
        (layer.top_is_blob, ParameterRunner),
        (layer.views, ViewRunner),
        (layer.copies, SplitRunner),
        (isinstance(layer, Python), PythonRunner),
        (isinstance(layer, DummyData), DummyRunner),
        (isinstance(layer, DataLayer), DataRunner),
        (True, TorchRunner),
    ]
    return next(kind for holds, kind in kinds if holds)(layer, place)
