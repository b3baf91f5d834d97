"""Layers in the form that is exported, where their own forward cannot be traced, or not well. Same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdcaffe.forks.roi_pooling import ROIPooling
from sdcaffe.layers.argmax import ArgMax
from sdcaffe.layers.base import Layer
from sdcaffe.layers.batch_reindex import BatchReindex
from sdcaffe.layers.crop import Crop
from sdcaffe.layers.embed import Embed
from sdcaffe.layers.inner_product import InnerProduct
from sdcaffe.layers.lrn import LRN
from sdcaffe.layers.lstm import LSTM
from sdcaffe.layers.lstm_unit import LSTMUnit
from sdcaffe.layers.mvn import MVN
from sdcaffe.layers.pooling import Pooling, Windows, ave_pool, max_pool
from sdcaffe.layers.power import Power
from sdcaffe.layers.rnn import RNN
from sdcaffe.layers.scale import Scale
from sdcaffe.layers.spp import SPP
from sdcaffe.paper.layers.distort import Distort

_FORMS: dict[type[Layer], type[Form]] = {}


def exportable(layer: Layer) -> nn.Module:
    """What is traced in place of a layer: its form below, or the layer itself where it has none."""
    form = _FORMS.get(type(layer))
    return layer if form is None else form(layer)


class Form(nn.Module):
    """A layer as it is exported; its parameters are the layer's own."""

    layer: Any  # not a submodule: what it holds is exported only where it is used

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.__dict__["layer"] = layer
        for i, blob in enumerate(layer.blobs):
            self.register_buffer(f"blob_{i}", blob.detach())

    def blob(self, index: int) -> Tensor:
        return self.get_buffer(f"blob_{index}")


def form_of(cls: type[Layer]) -> Callable[[type[Form]], type[Form]]:
    """Makes the decorated class the form of these layers."""

    def add(form: type[Form]) -> type[Form]:
        _FORMS[cls] = form
        return form

    return add


def _fits(windows: Windows, size: Any, axis: int) -> bool:
    """Whether windows rounded down, padded alike on both sides, are the windows of this axis."""
    kernel, stride, pad = windows.kernel[axis], windows.stride[axis], windows.pad[axis]
    if 2 * pad > kernel:
        return False
    if not windows.ceil or stride == 1:  # then none begins behind the image either: a pad is less than its kernel
        return True
    return isinstance(size, int) and (size + 2 * pad - kernel) // stride + 1 == windows.pooled[axis]


def _count(size: Any, windows: Windows, axis: int) -> Any:
    """How many windows lie on an axis whose size may be symbolic; one begins in the padding behind: it is dropped."""
    kernel, stride, pad = windows.kernel[axis], windows.stride[axis], windows.pad[axis]
    spare = size + 2 * pad - kernel
    count = ((spare + stride - 1) // stride if windows.ceil else spare // stride) + 1
    if stride <= kernel - pad:
        return count
    return torch.sym_min(count, (size + pad + stride - 1) // stride)


def _exactly(bottom: Tensor, windows: Windows, value: float) -> Tensor:
    """The bottom padded, or cut, to what its windows cover."""
    behind = []
    for axis in (0, 1):
        kernel, stride, pad = windows.kernel[axis], windows.stride[axis], windows.pad[axis]
        size = bottom.shape[2 + axis]
        count = windows.pooled[axis] if isinstance(size, int) else _count(size, windows, axis)
        behind.append((count - 1) * stride + kernel - pad - size)
    return F.pad(bottom, (windows.pad[1], behind[1], windows.pad[0], behind[0]), value=value)


def _simple(bottom: Tensor, windows: Windows) -> bool:
    return all(_fits(windows, bottom.shape[2 + axis], axis) for axis in (0, 1))


def _none_dropped(windows: Windows) -> bool:
    """Whether no window can begin behind the image, so that an operator's own rounding up is Caffe's."""
    places = zip(windows.kernel, windows.stride, windows.pad, strict=True)
    return windows.ceil and not windows.wide and all(stride <= kernel - pad for kernel, stride, pad in places)


def pool(bottom: Tensor, windows: Windows, method: Any) -> Tensor:
    """MAX, AVE, or the STOCHASTIC of the test phase, of an image whose size may be symbolic."""
    if method is max_pool:
        if _simple(bottom, windows):
            return F.max_pool2d(bottom, windows.kernel, windows.stride, windows.pad)
        if _none_dropped(windows):
            return F.max_pool2d(bottom, windows.kernel, windows.stride, windows.pad, ceil_mode=True)
        return F.max_pool2d(_exactly(bottom, windows, -math.inf), windows.kernel, windows.stride)
    if method is ave_pool:
        if _simple(bottom, windows):
            return F.avg_pool2d(bottom, windows.kernel, windows.stride, windows.pad)
        if windows.pad == (0, 0) and _none_dropped(windows):
            return F.avg_pool2d(bottom, windows.kernel, windows.stride, ceil_mode=True, count_include_pad=False)
        total = F.avg_pool2d(_exactly(bottom, windows, 0.0), windows.kernel, windows.stride)
        h, w = windows.pad  # Caffe divides by the area within the image and its padding
        area = F.pad(torch.ones_like(bottom[:1, :1]), (w, w, h, h), value=1.0)
        inner = Windows(windows.kernel, windows.stride, (0, 0), windows.pooled, windows.ceil)
        return total / F.avg_pool2d(_exactly(area, inner, 0.0), windows.kernel, windows.stride)
    padded = _exactly(bottom, windows, 0.0)
    squares = F.avg_pool2d(padded.square(), windows.kernel, windows.stride)
    sums = F.avg_pool2d(padded, windows.kernel, windows.stride)
    return squares / (sums + torch.finfo(sums.dtype).tiny)


@form_of(Pooling)
class PoolingForm(Form):
    def forward(self, bottom: Tensor) -> Any:
        layer = self.layer
        if layer.with_mask:
            top: Any = layer(bottom)
            return top
        if layer.param.global_pooling and layer.pool is ave_pool:
            return bottom.mean((2, 3), keepdim=True)
        if layer.param.global_pooling and layer.pool is max_pool:
            return bottom.amax((2, 3), keepdim=True)
        return pool(bottom, layer.windows, layer.pool)


@form_of(SPP)
class SPPForm(Form):
    def forward(self, bottom: Tensor) -> Tensor:
        levels = [pool(bottom, windows, self.layer.pool) for windows in self.layer.levels]
        return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)


@form_of(Power)
class _Power(Form):
    """A constant as a product with 0, an operator that every runtime and importer knows."""

    def forward(self, x: Tensor) -> Tensor:
        if self.layer.scale and self.layer.power:
            return self.layer(x)
        return x * 0 if self.layer.constant == 0 else x * 0 + self.layer.constant


@form_of(LRN)
class LRNForm(Form):
    """Across channels the operator LRN, whose definition is Caffe's; within a channel the layer's own way."""

    def forward(self, bottom: Tensor) -> Tensor:
        layer = self.layer
        if layer.within:
            mean = F.avg_pool2d(bottom.square(), layer.size, 1, layer.size // 2)
            return bottom * (mean * layer.alpha + layer.k).pow(-layer.beta)
        attributes = {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
        top: Tensor = torch.onnx.ops.symbolic("LRN", (bottom,), attributes, dtype=bottom.dtype, shape=bottom.shape)
        return top


@form_of(InnerProduct)
class InnerProductForm(Form):
    def forward(self, bottom: Tensor) -> Tensor:
        weight = self.blob(0).t() if self.layer.transpose else self.blob(0)
        return F.linear(rows(bottom, self.layer.axis), weight, self.blob(1) if len(self.layer.blobs) > 1 else None)


def rows(bottom: Tensor, axis: int) -> Tensor:
    """What an InnerProduct multiplies; by the operator Flatten, which no batch size has to be computed for."""
    if axis != 1 or bottom.dim() == 2:
        return bottom.flatten(axis)
    shape = (bottom.shape[0], bottom.shape[1:].numel())
    top: Tensor = torch.onnx.ops.symbolic("Flatten", (bottom,), {"axis": 1}, dtype=bottom.dtype, shape=shape)
    return top


@form_of(Scale)
class ScaleForm(Form):
    """As two operators; what the layer itself does, in one, is exported as three."""

    def forward(self, bottom: Tensor, factor: Tensor | None = None) -> Tensor:
        layer = self.layer
        if factor is None:
            top = bottom * self.blob(0).reshape(layer.view)
        else:
            top = bottom * factor.reshape(*factor.shape, *[1] * (len(layer.view) - factor.dim()))
        return top + self.blob(len(layer.blobs) - 1).reshape(layer.view) if layer.bias_term else top


@form_of(Crop)
class CropForm(Form):
    def forward(self, bottom: Tensor, size: Tensor) -> Tensor:
        for axis, offset, _ in self.layer.cut:
            bottom = bottom.narrow(axis, offset, size.shape[axis])
        return bottom


@form_of(MVN)
class MVNForm(Form):
    def forward(self, bottom: Tensor) -> Tensor:
        param = self.layer.param
        x = bottom.reshape(*bottom.shape, *[1] * (4 - bottom.dim()))
        axes = (1, 2, 3) if param.across_channels else (2, 3)
        centred = x - x.mean(axes, keepdim=True)
        if not param.normalize_variance:
            return centred
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + param.eps)


@form_of(ArgMax)
class ArgMaxForm(Form):
    """Of equals ONNX takes the first, so the axis is turned round for Caffe's last."""

    def forward(self, bottom: Tensor) -> Tensor:
        layer = self.layer
        values = bottom.flatten(1) if layer.axis is None else bottom
        axis = 1 if layer.axis is None else layer.axis
        greatest, order = values.flip(axis).topk(layer.param.top_k, axis)
        place = (values.shape[axis] - 1 - order).to(bottom.dtype)
        if layer.axis is not None:
            return greatest if layer.param.out_max_val else place
        top = torch.stack([place, greatest], 1) if layer.param.out_max_val else place.unsqueeze(1)
        return top.reshape(*top.shape, *[1] * max(0, bottom.dim() - 3))


@form_of(Embed)
class EmbedForm(Form):
    def forward(self, bottom: Tensor) -> Tensor:
        top = F.embedding(bottom.long(), self.blob(0))
        return top + self.blob(1) if len(self.layer.blobs) > 1 else top


@form_of(BatchReindex)
class BatchReindexForm(Form):
    def forward(self, bottom: Tensor, index: Tensor) -> Tensor:
        return torch.index_select(bottom, 0, index.long())


@form_of(ROIPooling)
class ROIPoolingForm(Form):
    """The operator MaxRoiPool, which was defined as Caffe's."""

    def forward(self, bottom: Tensor, rois: Tensor) -> Tensor:
        param = self.layer.param
        pooled = [param.pooled_h, param.pooled_w]
        top: Tensor = torch.onnx.ops.symbolic(
            "MaxRoiPool",
            (bottom, rois.flatten(1)),
            {"pooled_shape": pooled, "spatial_scale": param.spatial_scale},
            dtype=bottom.dtype,
            shape=(rois.shape[0], bottom.shape[1], *pooled),
        )
        return top


@form_of(Distort)
class DistortForm(Form):
    """What Distort does in the test phase: the central window, normalised."""

    scale: Tensor
    shift: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.register_buffer("scale", layer.scale.reshape(-1, 1, 1))
        self.register_buffer("shift", layer.shift.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Any:
        layer = self.layer
        if layer.param.crop_size:
            crop_h, crop_w = layer.crop
            if crop_h > images.shape[2] or crop_w > images.shape[3]:
                top: Any = layer(images)
                return top
            y, x = (images.shape[2] - crop_h) // 2, (images.shape[3] - crop_w) // 2
            images = images[:, :, y : y + crop_h, x : x + crop_w]
        top = images * self.scale + self.shift if layer.normalises else images * 1.0
        return top if len(layer.layer_param.top) == 1 else (top,) * len(layer.layer_param.top)


def _unit(cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    size = cell.shape[-1]
    i, f, o = gates[..., : 3 * size].sigmoid().chunk(3, -1)
    cell = f * cont * cell + i * gates[..., 3 * size :].tanh()
    return cell, o * cell.tanh()


@form_of(LSTMUnit)
class LSTMUnitForm(Form):
    def forward(self, cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        return _unit(cell, gates, cont.unsqueeze(-1))


class RecurrentForm(Form):
    """Unrolled over the steps. A sequence begins with a state of 0 where the layer does not expose it."""

    def forward(self, x: Tensor, cont: Tensor, *rest: Tensor) -> Any:
        layer = self.layer
        inputs = F.linear(x.flatten(2), self.blob(0), self.blob(1))
        if layer.static:
            inputs = inputs + F.linear(rest[0].flatten(1), self.blob(2))
        cont = cont.unsqueeze(-1)
        if layer.param.expose_hidden:
            top, after = self.unroll(inputs, cont, [state[0] for state in rest[-layer.states :]])
            return (top, *(state.unsqueeze(0) for state in after))
        zeros = x.new_zeros(x.shape[1], layer.param.num_output)
        return self.unroll(inputs, cont, [zeros] * layer.states)[0]

    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError


@form_of(LSTM)
class LSTMForm(RecurrentForm):
    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        hidden, cell = state
        weight = self.blob(3 if self.layer.static else 2).t()
        steps = []
        for gates, going in zip(x.unbind(), cont.unbind(), strict=True):
            cell, hidden = _unit(cell, gates + (hidden * going) @ weight, going)
            steps.append(hidden)
        return torch.stack(steps), [hidden, cell]


@form_of(RNN)
class RNNForm(RecurrentForm):
    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (hidden,) = state
        last = len(self.layer.blobs) - 1
        recurrent, out, bias = (self.blob(last - i) for i in (2, 1, 0))
        steps = []
        for step, going in zip(x.unbind(), cont.unbind(), strict=True):
            hidden = (step + (hidden * going) @ recurrent.t()).tanh()
            steps.append(hidden)
        return F.linear(torch.stack(steps), out, bias).tanh(), [hidden]
