"""Caffe's blobs under the names that PyTorch gives parameters, and back, bit for bit. Reads and writes no file.

A key is the layer's name, a dot, and the name of the blob, which the layer's type says (`Layer.torch_names`), or
blob_0, blob_1, ... where it says none. So the keys of a layer are those of the torch module that computes it: weight
and bias of nn.Conv2d and nn.Linear, running_mean, running_var and num_batches_tracked of nn.BatchNorm2d(affine=False),
and so on. Shapes are Caffe's own; torch's are the same.

Caffe's BatchNorm stores sums and, as its third blob, what to divide them by, a count of batches in which older ones
fade. `running_mean` and `running_var` are the sums divided by it, in float64, as a float32 would not give the sums
back; load_state_dict rounds them. `num_batches_tracked` is the third blob itself, of type float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from sdcaffe.errors import WeightsError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, makers, registered
from sdcaffe.proto.blobs import Array
from sdcaffe.proto.keys import layer_keys
from sdcaffe.proto.weights import LayerBlobs

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def to_state_dict(layers: Iterable[LayerBlobs]) -> dict[str, Tensor]:
    """The blobs of layers by key. Blobs of files before Caffe's BlobShape lose their leading axes of 1.

    `layers` are all of a file or a net: those that share a name are told apart as `layer_keys` does. Raises
    WeightsError where a layer's type is not known, a blob is not in the file that should have it, or the sums of a
    BatchNorm would not come back.
    """
    state: dict[str, Tensor] = {}
    layers = list(layers)
    for key, layer in zip(layer_keys(layer.name for layer in layers), layers, strict=True):
        if not layer.blobs:
            continue
        names = blob_names(layer.type, len(layer.blobs), layer.name)
        blobs = [_current(array, layer, name) for array, name in zip(layer.blobs, names, strict=True)]
        if names == STATISTICS:
            blobs = _divided(blobs, layer.name)
        state.update((f"{key}.{name}", torch.from_numpy(array)) for name, array in zip(names, blobs, strict=True))
    return state


def from_state_dict(state: Mapping[str, Tensor]) -> list[LayerBlobs]:
    """Layers in the order of their first keys, of the type "": keys do not say which it is.

    Half precision becomes float32. Raises WeightsError for a key that is none of the above, or a blob that is missing.
    """
    found: dict[str, dict[str, Tensor]] = {}
    known = sorted({name for names in _all_names() for name in names})
    for key, tensor in state.items():
        layer, dot, name = key.rpartition(".")
        if not dot or not (name in known or _index(name) is not None):
            raise WeightsError(
                f'"{key}" is not the name of a layer and one of {", ".join(known)}, blob_N; '
                "--by-order matches the tensors of another program with the layers of --net"
            )
        found.setdefault(layer, {})[name] = tensor
    return [_layer(name, blobs) for name, blobs in found.items()]


def blob_names(layer_type: str, count: int, layer: str) -> tuple[str, ...]:
    """What the `count` blobs of a layer are called. Raises WeightsError for the type ""."""
    if not layer_type:
        raise WeightsError(
            f'the file does not say of which type layer "{layer}" is: give its net with --net', layer=layer
        )
    discover()
    known = makers(layer_type) if layer_type in registered() else []
    alternatives = (names for cls in known for names in cls.torch_names if len(names) == count)
    return next(alternatives, tuple(f"blob_{i}" for i in range(count)))


def _all_names() -> list[tuple[str, ...]]:
    """Every order of blobs that a layer has names for."""
    discover()
    return [names for kind in registered() for cls in makers(kind) for names in cls.torch_names]


def numbers(tensor: Tensor, what: str) -> Array:
    """A tensor as float32, or float64 where it is that. Raises WeightsError for one that holds no real numbers."""
    if not tensor.dtype.is_floating_point:
        raise WeightsError(f'"{what}" holds {str(tensor.dtype).removeprefix("torch.")}, not real numbers')
    try:
        tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    except NotImplementedError:  # of 4 bits, two in a byte
        raise WeightsError(f'"{what}" holds {str(tensor.dtype).removeprefix("torch.")}, which is not read') from None
    return np.array(tensor.contiguous().numpy())


def _layer(name: str, tensors: Mapping[str, Tensor]) -> LayerBlobs:
    if any(key in tensors for key in STATISTICS):
        if set(tensors) - set(STATISTICS) or not {"running_mean", "running_var"} <= set(tensors):
            raise WeightsError(
                f'"{name}" has {", ".join(tensors)}: a BatchNorm here has running_mean, running_var and perhaps '
                "num_batches_tracked; its weight and bias are a Scale layer's. --by-order takes all from one module"
            )
        return LayerBlobs(name, "", list(summed(tensors, name)))
    ordered = next((names for names in _all_names() if set(names) == set(tensors)), None)
    if ordered is None:
        ordered = tuple(f"blob_{i}" for i in range(len(tensors)))
        if set(ordered) != set(tensors):
            has = f'"{name}" has {", ".join(tensors)}'
            if all(_index(key) is not None for key in tensors):
                raise WeightsError(f"{has}: blobs are numbered from 0 without a gap")
            raise WeightsError(f"{has}: no layer has blobs of these names, and of these alone")
    return LayerBlobs(name, "", [numbers(tensors[key], f"{name}.{key}") for key in ordered])


def summed(tensors: Mapping[str, Tensor], name: str) -> tuple[Array, Array, Array]:
    """The three blobs of a BatchNorm. A count of batches that is whole, as torch's, or is not there, counts as 1."""
    count = tensors.get("num_batches_tracked")
    weight = np.ones(1, np.float32)
    if count is not None and count.dtype.is_floating_point:
        weight = numbers(count, f"{name}.num_batches_tracked").reshape(1)
    mean, variance = (numbers(tensors[key], f"{name}.{key}") for key in STATISTICS[:2])
    if mean.ndim != 1 or mean.shape != variance.shape:
        raise WeightsError(f'running_mean and running_var of "{name}" have shapes {mean.shape} and {variance.shape}')
    factor = weight.astype(np.float64)
    return (mean * factor).astype(weight.dtype), (variance * factor).astype(weight.dtype), weight


def _divided(blobs: list[Array], name: str) -> list[Array]:
    """Sums and their weight -> what `summed` turns into them again, which is checked."""
    *sums, weight = blobs
    if weight.size != 1:
        raise WeightsError(f'blob 2 of layer "{name}" has {weight.size} numbers; a BatchNorm has one there', layer=name)
    factor = np.float64(weight.reshape(()))
    with np.errstate(all="ignore"):
        means = [array / factor if factor else np.zeros(array.shape) for array in sums]
        back = [(mean * factor).astype(array.dtype) for mean, array in zip(means, sums, strict=True)]
    for array, again in zip(sums, back, strict=True):
        if array.dtype == np.float32 and not np.array_equal(array, again, equal_nan=True):
            raise WeightsError(f'layer "{name}" divides its statistics by {factor:g}, which leaves none', layer=name)
    return [mean.reshape(-1) for mean in means] + [weight.reshape(())]


def _current(array: Array | None, layer: LayerBlobs, name: str) -> Array:
    if array is None:
        raise WeightsError(
            f'a blob of layer "{layer.name}" is shared and stands at the layer that owns it: give the net with --net',
            layer=layer.name,
        )
    axes = registered().get(layer.type, Layer).blob_axes.get(name, array.ndim)
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    return array.reshape((1,) * (axes - array.ndim) + array.shape)


def _index(name: str) -> int | None:
    number = name.removeprefix("blob_")
    return int(number) if number != name and number.isdecimal() and len(number) < 5 else None
