"""Brings nets and solvers of every age to the current form, as Caffe's upgrade tools do.

In Caffe's order: V0 layers to V1, old transform fields of data layers, V1 layers to current ones, the
net's own input fields to an Input layer, three-parameter BatchNorm; and `solver_type` to `type`. It
changes messages only, never files, and is silent but for what has no effect in the current form.
"""

from __future__ import annotations

import logging

from sdcaffe.errors import PrototxtError
from sdcaffe.proto import caffe, v0
from sdcaffe.proto.odd_text import odd_text
from sdcaffe.proto.positions import Where, place
from sdcaffe.proto.tables import table

_with_blobs: dict[str, str] = {}
# V1 type names whose current name is not the same words with each one capitalised.
_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
# Fields of a V1 layer that a current layer has under the same name.
_NOT_COPIED = ("layer", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay")
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
_DATA_LAYERS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}


def net_needs_upgrade(net: caffe.NetParameter) -> bool:
    """Whether a NetParameter has any form older than the current one."""
    return bool(net.layers or net.input) or any(_old_batch_norm(layer) for layer in net.layer)


def solver_needs_upgrade(solver: caffe.SolverParameter) -> bool:
    """Whether a SolverParameter gives its type as `solver_type`, or has an old net inside."""
    return solver.HasField("solver_type") or any(net_needs_upgrade(net) for net in inline_nets(solver))


def upgrade_net(net: caffe.NetParameter, where: Where = None) -> caffe.NetParameter:
    """The net in the current form: `net` itself, changed in place where it was older.

    `where` is the file's name or its Positions, for the errors. Raises PrototxtError for what Caffe
    refuses: `layer` and `layers` in one net, unknown V0 types, padding it cannot fold into a convolution.
    """
    if net_needs_upgrade(net):
        _refuse_odd_texts(net, where)
    if any(layer.HasField("layer") for layer in net.layers):
        v0.upgrade(net, where)
    _upgrade_transforms(net)
    if net.layers:
        _upgrade_layers(net, where)
    _warn_of_transforms(net, where)
    if net.input:
        _upgrade_input(net, where)
    for layer in net.layer:
        if _old_batch_norm(layer):
            layer.ClearField("param")
    return net


def upgrade_solver(solver: caffe.SolverParameter, where: Where = None) -> caffe.SolverParameter:
    """The solver in the current form, changed in place. Raises PrototxtError for both kinds of type at once."""
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise PrototxtError('has both "solver_type" and "type"; keep "type"', place(where, "solver_type"))
        names = table(solver.DESCRIPTOR).fields["solver_type"].value_names
        solver.type = _SOLVER_TYPES[names[solver.solver_type]]
        solver.ClearField("solver_type")
    for net in inline_nets(solver):
        upgrade_net(net, where)
    return solver


def layer_type(v1_layer: caffe.V1LayerParameter) -> str:
    """The current name of a V1 layer's type: SOFTMAX_LOSS is "SoftmaxWithLoss"."""
    name = table(v1_layer.DESCRIPTOR).fields["type"].value_names[v1_layer.type]
    return _V1_TYPES.get(name, "".join(word.capitalize() for word in name.split("_")))


def tell_type(v1_name: str, name: str, data: str | None = None) -> None:
    """Say the current name of a V1 type that a plugin adds to V1LayerParameter's LayerType.

    `data` is the field of a data layer's parameters: from there scale, mean_file, crop_size and mirror go into a
    transform_param, as BVLC Caffe's own do.
    """
    _V1_TYPES[v1_name] = name
    if data is not None:
        _DATA_LAYERS[v1_name] = data


def tell_type_with_blobs(caffes: str, name: str) -> None:
    """Say that a layer with blobs, of a type `caffes` that has none in BVLC Caffe, is another Caffe's `name`."""
    _with_blobs[caffes] = name


def type_with_blobs(name: str) -> str:
    """The type of a layer with blobs whose type BVLC Caffe calls `name`."""
    return _with_blobs.get(name, name)


def _refuse_odd_texts(net: caffe.NetParameter, where: Where) -> None:
    """Raise PrototxtError for a text of a binary net that is not UTF-8: no message can be given it."""
    odd = odd_text(net)
    if odd is not None:
        raise PrototxtError(f"{odd} is not UTF-8, and cannot be upgraded; write it anew in UTF-8", place(where, odd))


def inline_nets(solver: caffe.SolverParameter) -> list[caffe.NetParameter]:
    """The nets that are written in a solver."""
    single = [getattr(solver, name) for name in ("net_param", "train_net_param") if solver.HasField(name)]
    return single + list(solver.test_net_param)


def _old_batch_norm(layer: caffe.LayerParameter) -> bool:
    """The first BatchNorm wanted three params with lr_mult 0; its blobs are not learned anyhow."""
    return layer.type == "BatchNorm" and len(layer.param) == 3


def _upgrade_transforms(net: caffe.NetParameter) -> None:
    """Where any V1 data layer has one of the old fields, all of them get a transform_param, as in Caffe."""
    names = table(net.DESCRIPTOR.fields_by_name["layers"].message_type).fields["type"].value_names
    fields = [(layer, _DATA_LAYERS.get(names[layer.type])) for layer in net.layers]
    found = [(layer, getattr(layer, name)) for layer, name in fields if name is not None]
    if not any(data.HasField(field) for _, data in found for field in _TRANSFORM_FIELDS):
        return
    for layer, data in found:
        data.SetInParent()
        layer.transform_param.SetInParent()
        for field in _TRANSFORM_FIELDS:
            if data.HasField(field):
                setattr(layer.transform_param, field, getattr(data, field))
                data.ClearField(field)


def _warn_of_transforms(net: caffe.NetParameter, where: Where) -> None:
    """Caffe reads and ignores the old fields in a current layer, but for WindowData's scale."""
    for layer in net.layer:
        for data in filter(layer.HasField, dict.fromkeys(_DATA_LAYERS.values())):
            for field in _TRANSFORM_FIELDS:
                if getattr(layer, data).HasField(field) and (data, field) != ("window_data_param", "scale"):
                    logging.getLogger("sdcaffe").warning(
                        '%s: layer "%s": %s.%s has no effect, as in Caffe; write transform_param { %s: ... }',
                        place(where, f"{data}.{field}", layer.name) or "net",
                        *(layer.name, data, field, field),
                    )


def _upgrade_layers(net: caffe.NetParameter, where: Where) -> None:
    if net.layer:
        raise PrototxtError(
            'the net has both "layer" and "layers"; write all as layer { type: "Convolution" ... }',
            place(where, "layers"),
        )
    for old in net.layers:
        new = net.layer.add()
        if old.HasField("type"):
            new.type = layer_type(old)
        for descriptor, value in old.ListFields():
            if descriptor.name in _NOT_COPIED:
                continue
            if isinstance(value, str):
                setattr(new, descriptor.name, value)
            elif hasattr(value, "CopyFrom"):
                getattr(new, descriptor.name).CopyFrom(value)
            else:
                getattr(new, descriptor.name).extend(value)
        for source, target in (
            (old.param, "name"),
            (old.blob_share_mode, "share_mode"),
            (old.blobs_lr, "lr_mult"),
            (old.weight_decay, "decay_mult"),
        ):
            for i, value in enumerate(source):
                while len(new.param) <= i:
                    new.param.add()
                setattr(new.param[i], target, value)
        if old.HasField("layer"):
            logging.getLogger("sdcaffe").warning(
                '%s: layer "%s" has a V0 layer inside a V1 layer; it is left out',
                place(where, "layer", old.name) or "net",
                old.name,
            )
    net.ClearField("layers")


def _upgrade_input(net: caffe.NetParameter, where: Where) -> None:
    """A net's own inputs become the first layer; an input without a shape (of weight files) just goes."""
    count, shapes, dims = len(net.input), list(net.input_shape), list(net.input_dim)
    if shapes and len(shapes) != count:
        raise PrototxtError(
            f"the net has {count} input and {len(shapes)} input_shape; give one for each", place(where, "input_shape")
        )
    if dims and not shapes and len(dims) != 4 * count:
        raise PrototxtError(
            f"the net has {count} input and {len(dims)} input_dim; give four for each", place(where, "input_dim")
        )
    if shapes or dims:
        layers = [type(layer).FromString(layer.SerializePartialToString()) for layer in net.layer]
        net.ClearField("layer")
        layer = net.layer.add(name="input", type="Input", top=net.input)
        for i in range(count):
            layer.input_param.shape.add(dim=shapes[i].dim if shapes else dims[4 * i : 4 * i + 4])
        net.layer.extend(layers)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
