"""Tensors of another program's net to Caffe's layers and back, matched by order and shape. Computes no net.

The layers that have blobs, in the order of the prototxt, are paired with the modules of a state_dict, in the order
of its keys. A BatchNorm and the Scale right behind it are one torch BatchNorm. Every count and shape must fit; that
the two nets compute the same is for their owner to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcaffe.converters.state_dict import STATISTICS, numbers, summed
from sdcaffe.errors import WeightsError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, registered
from sdcaffe.proto.blobs import Array
from sdcaffe.proto.weights import LayerBlobs

_AFFINE = ("weight", "bias")


@dataclass
class Unit:
    """One layer, or a BatchNorm with its Scale: what one torch module holds."""

    layers: list[LayerBlobs]

    @property
    def name(self) -> str:
        return " and ".join(f'"{layer.name}"' for layer in self.layers)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of a tensor -> its shape."""
        first, *scale = self.layers
        blobs = [_blob(layer, i) for layer in self.layers for i in range(len(layer.blobs))]
        if _is_norm(first):
            names = (*STATISTICS[:2], "", *_AFFINE[: len(scale[0].blobs) if scale else 0])
        else:
            names = _AFFINE
        axes = {} if _is_norm(first) else _class(first).blob_axes
        shapes = {name: blob.shape for name, blob in zip(names, blobs, strict=len(names) > 2) if name}
        return {name: shape or (1,) * axes.get(name, 0) for name, shape in shapes.items()}


def from_tensors(state: Mapping[str, Tensor], layers: Sequence[LayerBlobs]) -> list[LayerBlobs]:
    """The `layers`, which give names, types and shapes, with the numbers of `state`. Raises WeightsError.

    A BatchNorm gets torch's mean and variance, and 1 to divide them by.
    """
    result = []
    for unit, (prefix, tensors) in _pairs(layers, state):
        first = unit.layers[0]
        if not _is_norm(first):
            arrays = [_array(tensors, prefix, key) for key in unit.shapes]
            blobs: list[Array | None] = [array.reshape(_blob(first, i).shape) for i, array in enumerate(arrays)]
            result.append(LayerBlobs(first.name, first.type, blobs))
            continue
        one = {key: tensors[key] for key in STATISTICS[:2]}
        result.append(LayerBlobs(first.name, first.type, list(summed(one, prefix))))
        for scale in unit.layers[1:]:
            affine: list[Array | None] = [_array(tensors, prefix, key) for key in _AFFINE[: len(scale.blobs)]]
            result.append(LayerBlobs(scale.name, scale.type, affine))
    return result


def to_tensors(layers: Sequence[LayerBlobs], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers of `layers` under the keys, and in the types, of the state_dict `like`. Raises WeightsError.

    What Caffe has no place for (num_batches_tracked) is as in `like`.
    """
    result = dict(like)
    for unit, (prefix, tensors) in _pairs(layers, like):
        arrays = [_blob(layer, i) for layer in unit.layers for i in range(len(layer.blobs))]
        if _is_norm(unit.layers[0]):
            mean, variance, weight, *affine = arrays
            with np.errstate(divide="ignore"):
                factor = np.float64(weight.reshape(())) or np.inf  # 0, of a net that never trained, gives 0
            arrays = [mean / factor, variance / factor, *affine]
        for key, array in zip(unit.shapes, arrays, strict=True):
            tensor = torch.from_numpy(np.array(array)).reshape(tensors[key].shape)
            result[f"{prefix}.{key}"] = tensor.to(tensors[key].dtype)
    return result


def units(layers: Sequence[LayerBlobs]) -> list[Unit]:
    """The layers that have blobs; a Scale right behind a BatchNorm of as many channels goes with it."""
    found: list[Unit] = []
    for layer in layers:
        if not layer.blobs:
            continue
        before = found[-1].layers if found else []
        pairs = _is_scale(layer) and len(before) == 1 and _is_norm(before[0])
        if pairs and _blob(before[0], 0).shape == _blob(layer, 0).shape:
            before.append(layer)
        else:
            found.append(Unit([layer]))
    return found


def _class(layer: LayerBlobs) -> type[Layer]:
    """The class of a layer's type; of one that is not known, any layer's."""
    discover()
    return registered().get(layer.type, Layer)


def _is_norm(layer: LayerBlobs) -> bool:
    """Whether the blobs are a norm's statistics, as a BatchNorm's."""
    return len(layer.blobs) == len(STATISTICS) and STATISTICS in _class(layer).torch_names


def _is_scale(layer: LayerBlobs) -> bool:
    """Whether the blobs are the weight, and perhaps the bias, of an affine map, as a Scale's."""
    cls = _class(layer)
    return cls.affine is not Layer.affine and _AFFINE[: len(layer.blobs)] in cls.torch_names


def _pairs(
    layers: Sequence[LayerBlobs], state: Mapping[str, Tensor]
) -> list[tuple[Unit, tuple[str, dict[str, Tensor]]]]:
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        prefix, _, name = key.rpartition(".")
        modules.setdefault(prefix, {})[name] = tensor
    ours, theirs = units(layers), list(modules.items())
    for i, (unit, (prefix, tensors)) in enumerate(zip(ours, theirs, strict=False)):
        want = unit.shapes
        have = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name != STATISTICS[2]}
        if want != have:
            raise WeightsError(
                f'module {i + 1} of the state_dict, "{prefix}", has {_show(have)}, but layer {unit.name}, '
                f"the one of that place in the net, has {_show(want)}; the two nets are built otherwise"
            )
    if len(ours) != len(theirs):
        rest = [unit.name for unit in ours[len(theirs) :]] or [f'"{prefix}"' for prefix, _ in theirs[len(ours) :]]
        raise WeightsError(
            f"the net has {len(ours)} layers with blobs (a BatchNorm and its Scale are one) and the state_dict has "
            f"{len(theirs)} modules with tensors; {rest[0]} has no counterpart"
        )
    return list(zip(ours, theirs, strict=True))


def _array(tensors: Mapping[str, Tensor], prefix: str, key: str) -> Array:
    return numbers(tensors[key], f"{prefix}.{key}")


def _blob(layer: LayerBlobs, index: int) -> Array:
    array = layer.blobs[index]
    if array is None:
        raise WeightsError(f'layer "{layer.name}" shares a blob with another: the two have one tensor only')
    return array


def _show(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'of one number'}" for name, shape in shapes.items())
