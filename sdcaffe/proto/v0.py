"""The oldest nets, `layers { layer { name: "conv1" type: "conv" } }`, turned into V1 nets in place."""

from __future__ import annotations

import logging
from typing import Any

from google.protobuf.message import Message

from sdcaffe.errors import PrototxtError, nearest
from sdcaffe.proto import caffe
from sdcaffe.proto.positions import Where, place
from sdcaffe.proto.tables import table

TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_CONV, _FULL = ("conv", "convolution_param"), ("innerproduct", "inner_product_param")
_POOL, _NORM = ("pool", "pooling_param"), ("lrn", "lrn_param")
_DATA, _HDF5 = ("data", "data_param"), ("hdf5_data", "hdf5_data_param")
_IMAGES, _WINDOW = ("images", "image_data_param"), ("window_data", "window_data_param")
# Where a V0 field goes: its new name, and for each type that may have it, the message it goes to.
_MOVES: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", dict([_CONV, _FULL])),
    "biasterm": ("bias_term", dict([_CONV, _FULL])),
    "weight_filler": ("weight_filler", dict([_CONV, _FULL])),
    "bias_filler": ("bias_filler", dict([_CONV, _FULL])),
    "pad": ("pad", dict([_CONV, _POOL])),
    "kernelsize": ("kernel_size", dict([_CONV, _POOL])),
    "group": ("group", dict([_CONV])),
    "stride": ("stride", dict([_CONV, _POOL])),
    "pool": ("pool", dict([_POOL])),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", dict([_NORM])),
    "alpha": ("alpha", dict([_NORM])),
    "beta": ("beta", dict([_NORM])),
    "k": ("k", dict([_NORM])),
    "source": ("source", dict([_DATA, _HDF5, _IMAGES, _WINDOW, ("infogain_loss", "infogain_loss_param")])),
    "batchsize": ("batch_size", dict([_DATA, _HDF5, _IMAGES, _WINDOW])),
    "rand_skip": ("rand_skip", dict([_DATA, _IMAGES])),
    "shuffle_images": ("shuffle", dict([_IMAGES])),
    "new_height": ("new_height", dict([_IMAGES])),
    "new_width": ("new_width", dict([_IMAGES])),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", dict([_WINDOW])),
    "det_bg_threshold": ("bg_threshold", dict([_WINDOW])),
    "det_fg_fraction": ("fg_fraction", dict([_WINDOW])),
    "det_context_pad": ("context_pad", dict([_WINDOW])),
    "det_crop_mode": ("crop_mode", dict([_WINDOW])),
}
_TRANSFORMS = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_KEPT = ("name", "input", "input_dim", "force_backward")


def layer_type(v0_type: str, layer: str, where: Where) -> str:
    """The V1 name of a V0 type: "conv" is "CONVOLUTION". Raises PrototxtError for an unknown one of `layer`."""
    if v0_type not in TYPES:
        near = nearest(v0_type, TYPES)
        guess = f'. Did you mean "{near}"?' if near else ""
        raise PrototxtError(f'unknown V0 layer type "{v0_type}" in layer "{layer}"{guess}', place(where, "type", layer))
    return TYPES[v0_type]


def upgrade(net: caffe.NetParameter, where: Where) -> None:
    """Make every V0 layer of `net` a V1 layer. Of the net's other fields Caffe keeps name, input,
    input_dim and force_backward; so do we.
    """
    old = type(net)()
    old.CopyFrom(net)
    _fold_padding(old, where)
    net.Clear()
    for descriptor, value in old.ListFields():
        if descriptor.name in _KEPT:
            if isinstance(value, (str, bool)):
                setattr(net, descriptor.name, value)
            else:
                getattr(net, descriptor.name).extend(value)
    for connection in old.layers:
        _upgrade_layer(connection, net.layers.add(), where)


def _fold_padding(net: caffe.NetParameter, where: Where) -> None:
    """A padding layer goes, and its pad becomes that of the convolution or pooling after it."""
    producers: dict[str, caffe.V1LayerParameter | None] = dict.fromkeys(net.input)
    kept = []
    for connection in net.layers:
        kind, name = connection.layer.type, connection.layer.name
        if kind != "padding":
            kept.append(connection)
        for i, bottom in enumerate(connection.bottom):
            if bottom not in producers:
                raise PrototxtError(f'layer "{name}": unknown bottom "{bottom}"', place(where, "bottom", name))
            source = producers[bottom]
            if source is None or source.layer.type != "padding":
                continue
            blobs = (len(connection.bottom), len(source.bottom), len(source.top))
            if kind not in ("conv", "pool") or blobs != (1, 1, 1):
                raise PrototxtError(
                    f'layer "{name}" ({kind}) cannot take the padding layer "{source.layer.name}": only one '
                    "conv or pool with one bottom can, of a padding layer with one bottom and one top",
                    place(where, "bottom", name),
                )
            connection.layer.pad = source.layer.pad
            connection.bottom[i] = source.bottom[0]
        for top in connection.top:
            producers[top] = connection
    layers = [type(layer).FromString(layer.SerializePartialToString()) for layer in kept]
    net.ClearField("layers")
    net.layers.extend(layers)


def _upgrade_layer(connection: caffe.V1LayerParameter, layer: caffe.V1LayerParameter, where: Where) -> None:
    layer.bottom.extend(connection.bottom)
    layer.top.extend(connection.top)
    old = connection.layer
    for descriptor, value in old.ListFields():
        name = descriptor.name
        if name == "name":
            layer.name = value
        elif name == "type":
            layer.type = table(layer.DESCRIPTOR).fields["type"].values[layer_type(value, old.name, where)]
        elif name in ("blobs", "blobs_lr", "weight_decay"):
            getattr(layer, name).extend(value)
        elif name in _TRANSFORMS:
            setattr(layer.transform_param, _TRANSFORMS[name], value)
        elif name == "hdf5_output_param" and old.type == "hdf5_output":
            layer.hdf5_output_param.CopyFrom(value)
        elif old.type in _MOVES.get(name, ("", {}))[1]:
            target, messages = _MOVES[name]
            _set(getattr(layer, messages[old.type]), target, value)
        else:
            logging.getLogger("sdcaffe").warning(
                '%s: layer "%s": a V0 layer of type "%s" has no "%s"; it is left out',
                place(where, name, old.name) or "net",
                old.name,
                old.type,
                name,
            )


def _set(message: Message, name: str, value: Any) -> None:
    field = table(message.DESCRIPTOR).fields[name]
    if field.repeated:
        getattr(message, name).append(value)
    elif field.message_type is not None:
        getattr(message, name).CopyFrom(value)
    else:
        setattr(message, name, value)
