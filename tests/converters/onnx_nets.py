"""Nets for the tests of ONNX export: recordings of Caffe as nets, small nets with weights. Checks nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdcaffe import layers, proto
from sdcaffe.net import Net

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
RECORDED = GOLDENS / "layers"
FORKS = ROOT / "tests" / "forks" / "recordings"
OTHERS, SSD = FORKS / "others", FORKS / "ssd" / "layers"
NETS = sorted(ROOT.glob("prototxt/**/deploy*.prototxt"))
_OF_FORKS = ("axpy", "bn_psp", "bn_segnet", "denseblock", "dw_", "gradient_scaler", "interp", "pad", "prior_box")
_OF_FORKS += ("proposal", "psroi", "relu6", "reorg", "roi_pool", "shuffle", "squeeze", "upsample", "yolo_d", "yolov3_d")
_OF_SSD = ("concat", "det_", "flatten", "normalize", "permute", "prior", "reshape", "softmax_axis2")
_FORKS_OF_BARE = {"bn_psp": "PSPNet", "bn_segnet": "SegNet"}  # whose files the recordings are that no field tells it of
TRAINING = ("accuracy", "contrastive", "euclidean", "hinge", "infogain", "multinomial", "softmax_loss", "sigmoid_ce")
OWN_STATISTICS = ("batchnorm_train",)  # of the train phase

TINY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "up" type: "Deconvolution" bottom: "conv" top: "up"
  convolution_param { num_output: 4 kernel_size: 2 stride: 2 group: 2 weight_filler { type: "msra" } } }
layer { name: "up_bn" type: "BatchNorm" bottom: "up" top: "up_bn" }
layer { name: "pool" type: "Pooling" bottom: "up_bn" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "fc_scale" type: "Scale" bottom: "fc" top: "fc_scale" scale_param { bias_term: true } }
layer { name: "prob" type: "Softmax" bottom: "fc_scale" top: "prob" }
"""


def recordings() -> list[str]:
    """The recorded layers that a deployed net can have."""
    names = sorted(path.stem for path in (GOLDENS / "layers").glob("*.npz"))
    return [name for name in names if not name.startswith((*TRAINING, *OWN_STATISTICS))]


def all_recordings() -> list[Path]:
    """Without their suffix: the recorded layers that a deployed net can have, of Caffe and of its forks."""
    return [
        *(RECORDED / name for name in recordings()),
        *(path.with_suffix("") for path in sorted(OTHERS.glob("*.npz")) if path.name.startswith(_OF_FORKS)),
        *(path.with_suffix("") for path in sorted(SSD.glob("*.npz")) if path.name.startswith(_OF_SSD)),
    ]


def net_name(path: Path) -> str:
    return f"{path.parent.parent.name}-{path.parent.name}-{path.stem}"


def arrays(name: str, stem: str, folder: Path = RECORDED) -> list[np.ndarray]:
    with np.load(folder / f"{name}.npz") as file:
        keys = [key for key in file.files if key.startswith(f"{stem}_") and key.removeprefix(f"{stem}_").isdigit()]
        return [file[key] for key in sorted(keys, key=lambda key: int(key.rpartition("_")[2]))]


def recorded_layer(name: str, folder: Path = RECORDED) -> Any:
    """The LayerParameter of a recording; what it is called, and its blobs, have the recording's name in front."""
    with np.load(folder / f"{name}.npz") as file:
        text = str(file["prototxt"])
    net = proto.NetParameter()
    proto.text.parse(text, net, name)
    proto.dialects.settle(net, next((fork for start, fork in _FORKS_OF_BARE.items() if name.startswith(start)), None))
    (layer,) = [layer for layer in net.layer if layer.name == "x"]
    layer.name = name
    for blobs in (layer.bottom, layer.top):
        for i, blob in enumerate(blobs):
            blobs[i] = f"{name}_{blob}"
    for field in ("propagate_down", "loss_weight"):
        layer.ClearField(field)
    return layer


def write_recorded(names: list[str], folder: Path, recordings: Path = RECORDED) -> tuple[str, str]:
    """A net of recorded layers side by side, and its weights: the two files."""
    layers.discover()
    param = proto.NetParameter(name="recorded")
    for name in names:
        layer = recorded_layer(name, recordings)
        for blob, values in zip(layer.bottom, arrays(name, "bottom", recordings), strict=True):
            new = param.layer.add(name=f"{blob}_input", type="Input", top=[blob])
            new.input_param.shape.add().dim.extend(values.shape)
        param.layer.add().CopyFrom(layer)
    proto.write_text(folder / "net.prototxt", param)
    net = Net(param, proto.TEST)
    with torch.no_grad():
        for name in names:
            for blob, values in zip(net.params.get(name, ()), arrays(name, "param", recordings), strict=True):
                blob.copy_(torch.from_numpy(values).reshape(blob.shape))
    net.save(folder / "net.caffemodel")
    return str(folder / "net.prototxt"), str(folder / "net.caffemodel")


def write_net(text: str, folder: Path, seed: int = 1) -> tuple[str, str]:
    """A net of this prototxt with random weights and BatchNorm statistics: the two files."""
    layers.discover()
    (folder / "net.prototxt").write_text(text)
    return str(folder / "net.prototxt"), write_weights(folder / "net.prototxt", folder / "net.caffemodel", seed)


def write_weights(model: Path, target: Path, seed: int = 1) -> str:
    layers.discover()
    torch.manual_seed(seed)
    net = Net(model, proto.TEST)
    with torch.no_grad():
        for layer in net.layers.values():
            if layer.type == "BatchNorm":
                layer.blobs[0].normal_(0, 0.3).mul_(3.7)
                layer.blobs[1].uniform_(0.3, 2).mul_(3.7)
                layer.blobs[2].fill_(3.7)
            if layer.type == "Scale" and len(layer.blobs) == 2:
                layer.blobs[0].uniform_(0.5, 1.5)
                layer.blobs[1].normal_(0, 0.3)
    net.save(target)
    net.close()
    return str(target)
