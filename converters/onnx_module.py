"""A deployed Net as the torch module that is traced: its layers in order, affine ones folded. Exports nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from sdcaffe.converters.onnx_layers import exportable, rows
from sdcaffe.converters.onnx_norms import statistics
from sdcaffe.converters.onnx_pixels import Preprocess
from torch import Tensor, nn
from torch.func import functional_call

from sdcaffe.layers.base import Layer
from sdcaffe.layers.batch_norm import BatchNorm
from sdcaffe.layers.convolution import Convolution
from sdcaffe.layers.deconvolution import Deconvolution
from sdcaffe.layers.inner_product import InnerProduct
from sdcaffe.layers.scale import Scale
from sdcaffe.net import Net


@dataclass
class Stage:
    """One layer: the slots it reads and writes, and what is traced for it."""

    name: str
    layer: Layer
    bottoms: list[int]
    tops: list[int]
    run: nn.Module


class ExportModule(nn.Module):
    """Takes the inputs of the net in order, gives `outputs` in order.

    With `preprocess` the first input is bytes (n, h, w, c), RGB. `folded` names the layers that became part of the
    one before them. Stage i is the submodule `layer_i`; the preprocessing is the one after the last.
    """

    def __init__(self, net: Net, outputs: Iterable[str], *, fold: bool = True, preprocess: Preprocess | None = None):
        super().__init__()
        self.stages: list[Stage] = []
        self.folded: list[str] = []
        for place, step in enumerate(net.graph.steps):
            if step.layer.type != "Input":
                layer = net.assembled.layers[place]
                run = _with_views(net, place) or exportable(layer)
                self.stages.append(Stage(step.key, layer, step.bottoms, step.tops, run))
        self.outputs = [net.graph.latest[name] for name in outputs]
        self._skip_splits()
        if fold:
            self._fold(shared={id(blob) for blob in _shared(net)})
        for i, stage in enumerate(self.stages):
            self.add_module(f"layer_{i}", stage.run)
        self.inputs = [net.assembled.inputs[name] for name in net.inputs]
        self.preprocess = preprocess
        if preprocess is not None:
            self.add_module(f"layer_{len(self.stages)}", _Preprocessing(preprocess))
        self.eval().requires_grad_(False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.inputs, inputs, strict=True))
        if self.preprocess is not None:
            values[self.inputs[0]] = self.get_submodule(f"layer_{len(self.stages)}")(inputs[0])
        for i, stage in enumerate(self.stages):
            tops = self.get_submodule(f"layer_{i}")(*(values[slot] for slot in stage.bottoms))
            values.update(zip(stage.tops, (tops,) if isinstance(tops, Tensor) else tops, strict=True))
        given, results = set(self.inputs), []
        for slot in self.outputs:  # an output that is an input, or another output, is a copy of it
            results.append(values[slot].clone() if slot in given else values[slot])
            given.add(slot)
        return tuple(results)

    def names(self) -> list[str]:
        """The layer that each submodule `layer_i` is."""
        return [stage.name for stage in self.stages] + ["preprocess"] * (self.preprocess is not None)

    def _skip_splits(self) -> None:
        """Read what a Split copies where it comes from."""
        source: dict[int, int] = {}
        kept = []
        for stage in self.stages:
            stage.bottoms = [source.get(slot, slot) for slot in stage.bottoms]
            if stage.layer.type == "Split":
                source.update((top, stage.bottoms[0]) for top in stage.tops)
            else:
                kept.append(stage)
        self.stages = kept
        self.outputs = [source.get(slot, slot) for slot in self.outputs]

    def _fold(self, shared: set[int]) -> None:
        """Make every BatchNorm and Scale behind a convolution or an inner product part of its weights.

        A Scale behind another BatchNorm becomes that one's own.
        """
        readers: dict[int, int] = {}
        for slot in [slot for stage in self.stages for slot in stage.bottoms] + self.outputs:
            readers[slot] = readers.get(slot, 0) + 1
        maker: dict[int, Stage] = {}
        kept = []
        for stage in self.stages:
            affine = _affine(stage.layer) if len(stage.bottoms) == 1 else None
            before = maker.get(stage.bottoms[0]) if affine is not None else None
            if affine is not None and before is not None and readers[stage.bottoms[0]] == 1:
                before.run = _times(before, *affine)
                before.tops = stage.tops
                maker[stage.tops[0]] = before
                self.folded.append(stage.name)
                continue
            kept.append(stage)
            if _foldable(stage, shared):
                maker[stage.tops[0]] = stage
        self.stages = kept


class _Preprocessing(nn.Module):
    """RGB bytes (n, h, w, c) to what the net takes."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.reverse = preprocess.order == "bgr"
        self.register_buffer("mean", torch.from_numpy(preprocess.mean))
        self.register_buffer("scale", torch.from_numpy(preprocess.scale))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        pixels = pixels.flip(1) if self.reverse else pixels
        return (pixels - self.get_buffer("mean")) * self.get_buffer("scale")


class _Weighted(nn.Module):
    """A convolution, an inner product or a BatchNorm with other weights than its layer's."""

    layer: Any
    mean: Tensor
    variance: Tensor

    def __init__(self, layer: Any, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.__dict__["layer"] = layer
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())
        self.exact = weight, bias  # float64, for what is folded in next
        if isinstance(layer, BatchNorm):
            for name, values in zip(("mean", "variance"), statistics(layer), strict=True):
                self.register_buffer(name, values.float())

    def forward(self, bottom: Tensor) -> Tensor:
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        if isinstance(self.layer, BatchNorm):
            return nn.functional.batch_norm(bottom, self.mean, self.variance, weight, bias, eps=self.layer.eps)
        if isinstance(self.layer, InnerProduct):
            return nn.functional.linear(rows(bottom, self.layer.axis), weight, bias)
        top: Tensor = self.layer.compute(bottom, weight, bias)
        return top


class _Viewing(nn.Module):
    """A layer with blobs that another layer owns under another shape."""

    layer: Layer

    def __init__(self, layer: Layer, blobs: dict[int, Tensor]) -> None:
        super().__init__()
        self.__dict__["layer"] = layer
        for i, blob in blobs.items():
            self.register_buffer(f"blob_{i}", blob)

    def forward(self, *bottoms: Tensor) -> Any:
        blobs = {f"blobs.{name.removeprefix('blob_')}": blob for name, blob in self.named_buffers()}
        return functional_call(self.layer, blobs, bottoms)


def _with_views(net: Net, place: int) -> nn.Module | None:
    layer, owners = net.assembled.layers[place], net.assembled.views.get(place)
    if not owners:
        return None
    return _Viewing(layer, {i: owner.detach().reshape(layer.blobs[i].shape) for i, owner in owners.items()})


def _shared(net: Net) -> list[Tensor]:
    """Parameters that more than one layer uses."""
    seen: dict[int, Tensor] = {}
    shared: list[Tensor] = [owner for views in net.assembled.views.values() for owner in views.values()]
    for layer in net.layers.values():
        shared.extend(blob for blob in layer.blobs if id(blob) in seen)
        seen.update((id(blob), blob) for blob in layer.blobs)
    return shared


def _foldable(stage: Stage, shared: set[int]) -> bool:
    layer: Any = stage.layer
    if len(stage.tops) != 1 or any(id(blob) in shared for blob in layer.blobs) or isinstance(stage.run, _Viewing):
        return False
    if type(layer) is BatchNorm:
        return layer.use_global_stats and not layer.one_channel
    if type(layer) in (Convolution, Deconvolution):
        return bool(layer.axis == 1)
    return type(layer) is InnerProduct and layer.axis == 1


def _affine(layer: Layer) -> tuple[Tensor, Tensor] | None:
    """Factor and summand of each channel, in float64, where that is all the layer does."""
    if type(layer) is BatchNorm and layer.use_global_stats and not layer.one_channel:
        mean, variance = statistics(layer)
        factor = (variance + layer.eps).rsqrt()
        return factor, -mean * factor
    if type(layer) is Scale and len(layer.layer_param.bottom) == 1:
        if layer.blobs[0].dim() != 1 or layer.param.axis != 1:
            return None
        factor = layer.blobs[0].detach().double()
        return factor, layer.blobs[1].detach().double() if layer.bias_term else torch.zeros_like(factor)
    return None


def _times(stage: Stage, factor: Tensor, summand: Tensor) -> _Weighted:
    """The stage's weights with an affine map of its top's channels folded in."""
    layer: Any = stage.layer
    if isinstance(stage.run, _Weighted):
        weight, bias = stage.run.exact
    elif isinstance(layer, BatchNorm):
        weight, bias = torch.ones_like(factor), torch.zeros_like(factor)
    else:
        weight = layer.blobs[0].detach().double()
        if isinstance(layer, InnerProduct) and layer.transpose:
            weight = weight.t()
        bias = layer.blobs[1].detach().double() if len(layer.blobs) > 1 else torch.zeros_like(factor)
    if type(layer) is Deconvolution:  # weights (c, outputs / group, ...): a group's outputs go with its own inputs
        inputs, outputs = weight.shape[:2]
        grouped = weight.reshape(layer.group, inputs // layer.group, outputs, -1)
        weight = (grouped * factor.reshape(layer.group, 1, outputs, 1)).reshape(weight.shape)
    else:
        weight = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
    return _Weighted(layer, weight, bias * factor + summand)
