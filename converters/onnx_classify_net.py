"""A Classifier of a prototxt and its weights, through Net; it takes the pictures that an exported model would."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdcaffe.converters.onnx_classify import Classifier, image_size
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options, open_deployed
from sdcaffe.converters.onnx_pixels import known
from sdcaffe.tools.loading import choose_engine


def open_net(
    model: str, weights: str, options: Options, *, engine: str | None = "torch", pictures: int = 1
) -> Classifier:
    """The Classifier of the deployed part of a prototxt, for about so many pictures.

    `engine` is as `choose_engine` takes it. Raises ModelError where the net's input is no image.
    """
    opened = open_deployed(model, weights, options)
    net, part, metadata = opened.net, opened.part, opened.metadata
    if len(net.inputs) != 1 or len(metadata.size) != 3:
        shapes = ", ".join(f"{name} {net.blob_shapes[name]}" for name in net.inputs)
        raise ModelError(f"takes {shapes}; a picture is classified by a net with one input (n, c, h, w)", model)
    normalisation = known(opened.preprocess, net.inputs[0], model, opened.missing).normalisation()
    size = image_size(metadata.size, metadata, model)
    scores = metadata.scores if metadata.scores in net.blob_shapes else part.outputs[-1]
    choose_engine(net, engine, pictures, [scores])

    def run(image: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            result: NDArray[np.float32] = net.compute(net.feed({net.inputs[0]: image})).blobs[scores].numpy()
        return result

    return Classifier(run, size, normalisation, metadata, model)
