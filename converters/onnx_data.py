"""The images that a net is trained or tested on: how its data layer makes its input, and batches of it."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_pixels import Preprocess, column, deviations, mean_image
from sdcaffe.data.opening import known_names
from sdcaffe.graph import keep_layers
from sdcaffe.layers.base import DataLayer, class_of
from sdcaffe.net import Net

Batch = tuple[NDArray[Any], NDArray[np.int64]]  # images as the model takes them, labels


@dataclass
class Images:
    """How a phase of a net makes a blob of images: the layers, the first a data layer, and the sum of it.

    `labels` is the blob of labels, or "".
    """

    net: proto.NetParameter
    layers: list[proto.LayerParameter]
    blob: str
    labels: str
    preprocess: Preprocess

    @property
    def class_names(self) -> list[str]:
        """What the classes are called, where the data are a set whose names are known; else nothing."""
        return list(known_names(self.layers[0].data_param.source)) if self.layers[0].type == "Data" else []

    def batches(self, count: int | None = None, bytes_of: str | None = None) -> Generator[Batch, None, None]:
        """Batches of images and labels, (n, c, h, w) as the blob is in tests: nothing is distorted.

        Every image once, or those of the first `count` batches. With `bytes_of`, the channel order "rgb" or "bgr" of
        the blob, they are RGB bytes (n, h, w, c), not normalised. Raises ModelError where batches are drawn without
        end and `count` is not given.
        """
        param = proto.NetParameter(name=self.net.name, state=self.net.state)
        for layer in self.layers:
            copy = param.layer.add()
            copy.CopyFrom(layer)
            for field in ("include", "exclude"):
                copy.ClearField(field)
            if bytes_of:
                for field in ("mean_file", "mean_value", "scale"):
                    copy.transform_param.ClearField(field)
                class_of(layer).unscaled(copy)
        net = Net(param, proto.TEST)
        try:
            brings: Any = net.assembled.layers[0]
            left: int | None = brings.item_count
            if left is None and count is None:
                raise ModelError(f'layer "{self.layers[0].name}" draws batches without end: say how many to test')
            for _ in itertools.count() if count is None else range(count):
                with torch.no_grad():
                    blobs = net.compute(net.load(), keep=[self.blob, self.labels]).blobs
                images, labels = (blobs[name].contiguous().numpy() for name in (self.blob, self.labels))
                if bytes_of:
                    images = images[:, :: -1 if bytes_of == "bgr" else 1].transpose(0, 2, 3, 1)
                    images = np.ascontiguousarray(images).astype(np.uint8)
                labels = labels.reshape(-1).astype(np.int64)
                yield images[:left], labels[:left]
                if left is not None and (left := left - len(labels)) <= 0:
                    return
        finally:
            net.close()


def in_batches(images: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    """`images` by so many; where the last are fewer, the first fill them up."""
    for start in range(0, len(images), size):
        yield images.take(range(start, start + size), axis=0, mode="wrap")


def images_of(
    source: proto.NetParameter,
    blob: str,
    phase: int,
    *,
    level: int = 0,
    stages: tuple[str, ...] = (),
    means: bool = True,
) -> Images | None:
    """How a NetParameter makes the images `blob`: a data layer, and Distort behind it. None where they do not.

    Without `means` no file of a mean is read, and `preprocess` has none of it. Raises ModelError for a mean that is
    none.
    """
    net = proto.NetParameter()
    net.CopyFrom(source)
    net.state.phase, net.state.level = phase, level
    net.state.stage.extend(stages)
    found: dict[str, Images] = {}
    for layer in keep_layers(net).layer:
        cls = class_of(layer)
        if issubclass(cls, DataLayer) and cls.brings != "fillings" and layer.top:
            label = layer.top[1] if len(layer.top) > 1 else ""
            found[layer.top[0]] = Images(net, [layer], layer.top[0], label, _of_data_layer(cls, layer, means))
        elif (scaling := cls.scaling(layer)) is not None and layer.bottom and layer.bottom[0] in found:
            before = found[layer.bottom[0]]
            preprocess = _behind(before.preprocess, layer.name, *scaling)
            for top in layer.top:
                found[top] = Images(net, [*before.layers, layer], top, before.labels, preprocess)
        if blob in found:
            return found[blob]
    return None


def takes_pixels(param: proto.NetParameter, name: str) -> bool:
    """Whether a net normalises its input `name` itself."""
    return any(class_of(layer).scaling(layer) is not None and name in layer.bottom for layer in param.layer)


def _of_data_layer(cls: type[DataLayer], layer: Any, means: bool) -> Preprocess:
    param = layer.transform_param
    mean = column(list(param.mean_value) or [0.0], "mean_value")
    if param.mean_file and means:
        mean = mean_image(param.mean_file)
    return Preprocess(mean, column([param.scale], "scale"), cls.channel_order)


def _behind(first: Preprocess, name: str, means: list[float], stds: list[float]) -> Preprocess:
    """((pixel - mean) * scale - m) / s as one normalisation."""
    if not first.scale.all():
        raise ModelError("scale must not be 0 where " + f'layer "{name}" normalises what it makes')
    mean, std = column(means, "mean_value"), deviations(stds)
    return Preprocess(first.mean + mean / first.scale, first.scale / std, first.order)
