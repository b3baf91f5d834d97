"""Layers of Caffe's forks, exported; export itself holds each against the layer's own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_nets import write_net

from sdcaffe.converters.onnx_export import export

LAYERS = {
    "Axpy": ('bottom: "scale" bottom: "data" bottom: "other"', ""),
    "CuDNNBatchNorm": ('bottom: "data"', ""),
    "DepthwiseConvolution": (
        'bottom: "data"',
        'convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }',
    ),
    "Interp": ('bottom: "data"', "interp_param { height: 9 width: 11 }"),
    "Normalize": ('bottom: "data"', ""),
    "Permute": ('bottom: "data"', "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "PriorBox": ('bottom: "data" bottom: "image"', "prior_box_param { min_size: 8 aspect_ratio: 2 }"),
    "ReLU6": ('bottom: "data"', ""),
    "ROIPooling": (
        'bottom: "data" bottom: "rois"',
        "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }",
    ),
    "ShuffleChannel": ('bottom: "data"', "shuffle_channel_param { group: 2 }"),
    "Upsample": ('bottom: "data"', "upsample_param { scale: 2 }"),
}
INPUTS = {"data": (2, 4, 6, 8), "other": (2, 4, 6, 8), "scale": (2, 4, 1, 1), "image": (2, 3, 48, 64), "rois": (3, 5)}


def one_layer(kind: str) -> str:
    bottoms, body = LAYERS[kind]
    text = 'name: "fork"\n'
    for name, shape in INPUTS.items():
        if f'"{name}"' in bottoms:
            sizes = " ".join(f"dim: {size}" for size in shape)
            text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {sizes} }} }} }}\n'
    return text + f'layer {{ name: "x" type: "{kind}" {bottoms} top: "top" {body} }}\n'


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_of_a_fork_exports(kind: str, tmp_path: Path) -> None:
    model, weights = write_net(one_layer(kind), tmp_path)
    assert export(model, weights, str(tmp_path / "net.onnx")).agreement.difference < 1e-4
