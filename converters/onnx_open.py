"""A net with its weights, made ready to be deployed: what it takes, gives and says of itself. Exports nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.converters.onnx_data import Images, images_of, takes_pixels
from sdcaffe.converters.onnx_deploy import Deployed, deployed, refuse_unfilled
from sdcaffe.converters.onnx_metadata import Metadata, ModelError, digest, read_classes
from sdcaffe.converters.onnx_pixels import Pixels, Preprocess, column
from sdcaffe.errors import NetError
from sdcaffe.layers import load_builtin
from sdcaffe.layers.base import Shape, class_of
from sdcaffe.net import Net


@dataclass
class Options:
    """How to export. `shapes` of inputs by blob name; `pixels` where they are not as the data has them.

    With `static` every size is fixed, the batch's to `batch` where that is given. `begins` are blobs to take as inputs,
    `ends` those to give, where it is not the whole net.

    `data` is the prototxt with the data layer that the net was trained on, where that is not the net's own.
    `smaller` is "fp16" or "int8" for a smaller model, measured on its test set, or on the first `batches` of it;
    `calibration` holds pictures for the ranges of 8 bits.
    """

    opset: int = 18
    static: bool = False
    batch: int | None = None
    fold: bool = True
    preprocess: bool = False
    pixels: Pixels = field(default_factory=Pixels)
    classes: str | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    level: int = 0
    stages: tuple[str, ...] = ()
    ignore_unknown: bool = False
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    smaller: str | None = None
    data: str | None = None
    batches: int | None = None
    calibration: str | None = None


@dataclass
class Opened:
    """A deployed net with its weights; `images` are those it is tested on, `training` those it was trained on.

    Each is None where no data layer tells.
    `preprocess` is how a picture becomes its input, None where nobody says or the input is no image; `missing` says
    what keeps it from being known, a mean's file that is not there; `presumed` that nobody said its channel order.
    """

    net: Net
    part: Deployed
    metadata: Metadata
    images: Images | None
    training: Images | None
    preprocess: Preprocess | None
    missing: str = ""
    presumed: bool = False


def open_deployed(model: str, weights: str, options: Options) -> Opened:
    """The deployed part of a prototxt with its weights. Raises as `export` does."""
    load_builtin()
    weights = weights_of(weights)
    param, positions = proto.read_net_located(model, ignore_unknown=options.ignore_unknown)
    try:
        part = deployed(
            param,
            options.shapes,
            level=options.level,
            stages=options.stages,
            begins=options.begins,
            ends=options.ends,
        )
        _refuse(part.param, model)
        net = Net(part.param, proto.TEST, [weights])
    except NetError as error:
        positions.locate(error)
        raise
    refuse_unfilled(net, weights)
    images, training, missing = _images(net, param, options)
    if missing and options.pixels.mean is None:
        preprocess = None
    else:
        preprocess = options.pixels.over(_recorded(net, images))
    metadata = _metadata(net, part, options, [model, weights, options.data or ""], images)
    if preprocess is not None:
        metadata.normalisation = preprocess.normalisation(in_graph=options.preprocess)
    presumed = images is None and options.pixels.order is None and metadata.size[:1] == [3]
    return Opened(net, part, metadata, images, training, preprocess, missing, presumed)


def _images(net: Net, param: proto.NetParameter, options: Options) -> tuple[Images | None, Images | None, str]:
    """How the first input is made by the net's own data layer, or by that of `options.data`: in TEST, in TRAIN.

    And what of it is missing, the mean's file.
    """
    name = net.inputs[0] if net.inputs else ""
    if options.data is not None:
        param = proto.read_net(options.data, ignore_unknown=options.ignore_unknown)
    missing = ""
    try:
        images, training = _of_phases(param, name, options)
    except ModelError as error:
        missing = error.summary
        images, training = _of_phases(param, name, options, means=False)
    if images is None and options.data is not None:
        raise ModelError(f'has no data layer that makes the images "{name}" in its TEST phase', options.data)
    return images, training, missing


def _of_phases(
    param: proto.NetParameter, name: str, options: Options, *, means: bool = True
) -> tuple[Images | None, Images | None]:
    images, training = (
        images_of(param, name, phase, level=options.level, stages=options.stages, means=means)
        for phase in (proto.TEST, proto.TRAIN)
    )
    return images, training


def _recorded(net: Net, images: Images | None) -> Preprocess | None:
    if images is None and net.inputs and takes_pixels(net.param, net.inputs[0]):
        return Preprocess(column([0.0], "mean"), column([1.0], "scale"))
    return None if images is None else images.preprocess


def weights_of(path: str) -> str:
    """The weight file that `path` is, or that the .solverstate `path` names. Raises ModelError or SnapshotError."""
    if ".solverstate" not in os.path.basename(path):
        return path
    named = proto.read_state(path).learned_net
    if not named:
        raise ModelError("names no learned net; give its .caffemodel", path)
    return str(proto.weights.named_weights(named, path)[0])


def output_names(net: Net, outputs: list[str]) -> list[str]:
    """What the outputs are called: as the blobs, or NAME_out where a layer works in place on an input NAME."""
    taken = {*net.inputs, *net.graph.latest}
    names = []
    for name in outputs:
        new = name
        while new in net.inputs or (new != name and new in taken):
            new += "_out"
        taken.add(new)
        names.append(new)
    return names


def _refuse(param: proto.NetParameter, where: str) -> None:
    unnamed = next((layer for layer in param.layer if "" in layer.top), None)
    if unnamed is not None:
        raise ModelError(f'cannot be exported: layer "{unnamed.name}" gives a blob whose name is empty', where)
    bad = [layer for layer in param.layer if class_of(layer).not_exported]
    if bad:
        words = ", ".join(f'"{layer.name}" ({layer.type}: {class_of(layer).not_exported})' for layer in bad)
        ends = " ".join(f"--end {name}" for name in bad[0].bottom)
        out = f"; {ends} ends the net before {'them' if len(bad) > 1 else 'it'}" if ends else ""
        raise ModelError(f"cannot be exported: layer{'s' if len(bad) > 1 else ''} {words}{out}", where)


def _metadata(net: Net, part: Deployed, options: Options, sources: Iterable[str], images: Images | None) -> Metadata:
    metadata = Metadata(net=net.name, sources={os.path.basename(path): digest(path) for path in sources if path})
    taken = net.blob_shapes[net.inputs[0]] if net.inputs else ()
    metadata.size = list(taken[1:]) if len(taken) == 4 else []
    metadata.shapes = {name: list(net.blob_shapes[name]) for name in net.inputs}
    names = output_names(net, part.outputs)
    makers = {name: layer.type for layer in part.param.layer for name in layer.top}
    soft = [i for i, name in enumerate(part.outputs) if makers[name] == "Softmax"]
    best = soft[-1] if soft else len(names) - 1
    if not soft and part.scores in part.outputs:
        best = part.outputs.index(part.scores)
    metadata.scores, metadata.probabilities = names[best], bool(soft)
    shape = net.blob_shapes[part.outputs[best]]
    fits = shape[1:2]  # so many classes
    if options.classes is None:
        names_known = images.class_names if images is not None else []
        metadata.classes = names_known if fits == (len(names_known),) else []
    else:
        metadata.classes = read_classes(options.classes)
        if fits != (len(metadata.classes),):
            raise ModelError(
                f'holds {len(metadata.classes)} class names, but output "{metadata.scores}" has shape {shape}',
                options.classes,
            )
    return metadata
