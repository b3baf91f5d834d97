"""Classifier: a net that takes images and gives class scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import SdcaffeError
from sdcaffe.proto import TEST
from sdcaffe.pycaffe import io
from sdcaffe.pycaffe.errors import NoInput
from sdcaffe.pycaffe.net import Net

Path = str | os.PathLike[str]


class Preprocessing(Net):
    """A test net of one input whose images are transformed as Transformer does; the settings are its own."""

    def __init__(
        self,
        model_file: Path,
        pretrained_file: Path | None,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        if not self.inputs:
            raise NoInput("the net has no input for images to go to: give it an Input layer", str(model_file))
        self.input = self.inputs[0]
        self.transformer = io.Transformer({self.input: self.blobs[self.input].shape})
        self.transformer.set_transpose(self.input, (2, 0, 1))
        if mean is not None:
            self.transformer.set_mean(self.input, mean)
        if input_scale is not None:
            self.transformer.set_input_scale(self.input, input_scale)
        if raw_scale is not None:
            self.transformer.set_raw_scale(self.input, raw_scale)
        if channel_swap is not None:
            self.transformer.set_channel_swap(self.input, channel_swap)

    def run_images(self, images: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output for images (H, W, K), whatever number of them; row by row."""
        batch = np.stack([self.transformer.preprocess(self.input, image) for image in images])
        return self.forward_all(**{self.input: batch})[self.outputs[0]]


class Classifier(Preprocessing):
    """`predict` resizes images to `image_dims` (height, width; by default the input's size) and crops them."""

    def __init__(
        self,
        model_file: Path,
        pretrained_file: Path | None,
        image_dims: Sequence[int] | None = None,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.input].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)

    def predict(self, inputs: Sequence[NDArray[Any]], oversample: bool = True) -> NDArray[Any]:
        """Scores (N, classes) of N images (H, W, K): of the centre crop, or the mean over ten crops.

        Raises SdcaffeError where `image_dims` leave no room for the crop.
        """
        dims = int(self.image_dims[0]), int(self.image_dims[1])
        h, w = (int(n) for n in self.crop_dims)
        if h > dims[0] or w > dims[1]:
            raise SdcaffeError(f"image_dims {dims} are smaller than the net's input ({h}, {w}), which is cut from them")
        images = np.stack([io.resize_image(image, dims) for image in inputs])
        if oversample:
            scores = self.run_images(list(io.oversample(list(images), (h, w))))
            return scores.reshape(len(images), 10, -1).mean(1)
        y, x = int(dims[0] / 2 - h / 2), int(dims[1] / 2 - w / 2)
        return self.run_images(list(images[:, y : y + h, x : x + w]))
