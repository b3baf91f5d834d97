"""Caffe nets to ONNX files, by torch's exporter, each held against ONNX Runtime before it is written."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes

from converters.onnx_check import TOLERANCE, Agreement, check
from converters.onnx_deploy import Deployed, deployed
from converters.onnx_dynamic import Plan, plans
from converters.onnx_metadata import Metadata, ModelError, digest, read_classes
from converters.onnx_module import ExportModule
from converters.onnx_normalise import Pixels, normalisation, preprocess_of
from converters.onnx_smaller import Smaller, smaller
from converters.onnx_tidy import tidy
from sdcaffe import proto
from sdcaffe.errors import LayerError, NetError, WeightsError
from sdcaffe.layers.base import DataLayer, Shape, class_of
from sdcaffe.net import Net

OPSETS = range(18, 24)  # what torch's exporter and ONNX Runtime both have
_NOT_EXPORTED = {"Python": "it is Python code", "DetectionOutput": "its number of boxes hangs on their values"}


@dataclass
class Options:
    """How to export. `shapes` of inputs by blob name; `pixels` where they are not the data layer's.

    `smaller` is "fp16" or "int8" for a smaller model, measured on `batches` test batches of the prototxt `data`.
    """

    opset: int = 18
    fold: bool = True
    preprocess: bool = False
    pixels: Pixels = field(default_factory=Pixels)
    classes: str | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    level: int = 0
    stages: tuple[str, ...] = ()
    ignore_unknown: bool = False
    smaller: str | None = None
    data: str | None = None
    batches: int = 50


@dataclass
class Exported:
    """What was written: the file's size in bytes, its inputs and outputs as text, what agreed and what went."""

    size: int
    inputs: list[str]
    outputs: list[str]
    agreement: Agreement
    dropped: list[str]
    folded: list[str]
    nodes: int
    smaller: Smaller | None = None


def export(model: str, weights: str, target: str, options: Options | None = None) -> Exported:
    """Write the deployed part of the net `model` (a prototxt) with `weights` as the ONNX file `target`.

    `weights` is a .caffemodel, its HDF5 form, or a .solverstate, whose learned net is taken. The file is written
    after onnx.checker has passed it and ONNX Runtime gives the net's outputs within `TOLERANCE`, whole or not at all.
    Raises ModelError for layers that cannot be exported and for a model that differs, and what Net raises.
    """
    options = options or Options()
    if options.opset not in OPSETS:
        raise ModelError(f"opset {options.opset} cannot be written; there are {OPSETS[0]} to {OPSETS[-1]}")
    net, part, metadata = open_deployed(model, weights, options)
    proto_model, agreement, module = _first_that_agrees(net, part, options)
    for key, value in metadata.properties().items():
        proto_model.metadata_props.add(key=key, value=value)
    proto_model.producer_name = "sdcaffe"
    proto_model.graph.name = net.name or "net"
    data = proto_model.SerializeToString()
    made = None
    if options.smaller is not None:
        with _quiet():
            made = smaller(data, options.smaller, options.data or model, metadata, options.batches)
        data = made.data
    with proto.atomic_write(target) as file:
        file.write(data)
    return Exported(
        size=len(data),
        inputs=[_described(value) for value in proto_model.graph.input],
        outputs=[_described(value) for value in proto_model.graph.output],
        agreement=agreement,
        dropped=part.dropped,
        folded=module.folded,
        nodes=len(proto_model.graph.node),
        smaller=made,
    )


def open_deployed(model: str, weights: str, options: Options) -> tuple[Net, Deployed, Metadata]:
    """The Net of the deployed part of a prototxt with its weights, and what goes with it. Raises as `export` does."""
    weights = weights_of(weights)
    param, positions = proto.read_net_located(model, ignore_unknown=options.ignore_unknown)
    try:
        part = deployed(param, options.shapes, level=options.level, stages=options.stages)
        _refuse(part.param, model)
        net = Net(part.param, proto.TEST, weights)
    except NetError as error:
        error.where = error.where or positions.find(error.layer, error.field)
        raise
    _refuse_unfilled(net, weights)
    return net, part, _metadata(net, part, options, [model, weights])


def weights_of(path: str) -> str:
    """The weight file that `path` is, or that the .solverstate `path` names. Raises ModelError or SnapshotError."""
    if ".solverstate" not in os.path.basename(path):
        return path
    named = proto.read_state(path).learned_net
    if not named:
        raise ModelError("names no learned net; give its .caffemodel", path)
    for place in (Path(named), Path(path).parent / Path(named).name):
        if place.is_file():
            return str(place)
    raise ModelError(f"its learned net {named} is neither there nor beside it", path)


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


def _refuse(param: Any, where: str) -> None:
    bad = [f'"{layer.name}" ({layer.type}: {why})' for layer in param.layer if (why := _reason(layer))]
    if bad:
        raise ModelError(f"cannot be exported: layer{'s' if len(bad) > 1 else ''} {', '.join(bad)}", where)


def _reason(layer: Any) -> str:
    if issubclass(class_of(layer), DataLayer):
        return "it brings data"
    return _NOT_EXPORTED.get(layer.type, "")


def _refuse_unfilled(net: Net, weights: str) -> None:
    have = {entry.name for path in weights.split(",") if path for entry in proto.read_weights(path) if entry.blobs}
    missing = [name for name in net.params if name not in have]
    if missing:
        raise WeightsError(f"has no weights for {', '.join(missing)}: is it of another net?", weights)


def _metadata(net: Net, part: Deployed, options: Options, sources: Iterable[str]) -> Metadata:
    files = [name for entry in sources for name in entry.split(",") if name]
    metadata = Metadata(net=net.name, sources={os.path.basename(path): digest(path) for path in files})
    metadata.normalisation = normalisation(part, options.pixels, in_graph=options.preprocess)
    images = net.blob_shapes[net.inputs[0]] if net.inputs else ()
    metadata.size = list(images[1:]) if len(images) == 4 else []
    names = output_names(net, part.outputs)
    makers = {name: layer.type for layer in part.param.layer for name in layer.top}
    soft = [i for i, name in enumerate(part.outputs) if makers[name] == "Softmax"]
    best = soft[-1] if soft else len(names) - 1
    if not soft and part.scores in part.outputs:
        best = part.outputs.index(part.scores)
    metadata.scores, metadata.probabilities = names[best], bool(soft)
    if options.classes is not None:
        metadata.classes = read_classes(options.classes)
        shape = net.blob_shapes[part.outputs[best]]
        if len(shape) < 2 or shape[1] != len(metadata.classes):
            raise ModelError(
                f'holds {len(metadata.classes)} class names, but output "{metadata.scores}" has shape {shape}',
                options.classes,
            )
    return metadata


def _first_that_agrees(net: Net, part: Deployed, options: Options) -> tuple[Any, Agreement, ExportModule]:
    """The model with as many free sizes as come out right. Raises ModelError where none does."""
    failure: ModelError | None = None
    preprocess = preprocess_of(part, options.pixels, net) if options.preprocess else None
    for plan in plans(net, preprocess):
        net.reshape(plan.example)
        module = ExportModule(net, part.outputs, fold=options.fold, preprocess=preprocess)
        try:
            model = _traced(module, net, part.outputs, plan, options)
            if not plan.holds(model.graph.input):
                continue
            agreement = _checked(model, net, part.outputs, plan, module)
        except ModelError as error:
            failure = error
            continue
        return model, agreement, module
    raise failure or ModelError(f'net "{net.name}" cannot be exported')


def _traced(module: ExportModule, net: Net, outputs: list[str], plan: Plan, options: Options) -> Any:
    outer = {f"blob in {i}": name for i, name in enumerate(net.inputs)}  # names that nothing inside can have
    outer.update({f"blob out {i}": name for i, name in enumerate(output_names(net, outputs))})
    examples = [torch.zeros(plan.example[name]) for name in net.inputs]
    if module.preprocess is not None:
        examples[0] = examples[0].permute(0, 2, 3, 1).to(torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(examples),
                dynamo=True,
                input_names=[name for name in outer if outer[name] in net.inputs],
                output_names=[name for name in outer if outer[name] not in net.inputs],
                dynamic_shapes=(tuple(plan.free(name) for name in net.inputs),) if net.inputs else None,
                opset_version=options.opset,
                verbose=False,
                optimize=options.fold,  # which folds a BatchNorm into a convolution, whatever this module left
            )
            assert program is not None
            if not options.fold:
                fold_constants(program.model)
                remove_unused_nodes(program.model)
            model = program.model_proto
    except Exception as error:
        raise _diagnosed(module, net, error) from error
    if [entry.version for entry in model.opset_import if not entry.domain] != [options.opset]:
        raise ModelError(f'net "{net.name}" cannot be written in opset {options.opset}; try another')
    blobs = {i: net.graph.slots[s.tops[0]] for i, s in enumerate(module.stages) if len(s.tops) == 1}
    tidy(model, module.names(), blobs, outer, plan.words)
    return model


def _checked(model: Any, net: Net, outputs: list[str], plan: Plan, module: ExportModule) -> Agreement:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ModelError(f"onnx.checker refuses the exported model: {' '.join(str(error).split())[:300]}") from None
    names = dict(zip(outputs, output_names(net, outputs), strict=True))
    agreement = check(model.SerializeToString(), net, names, plan.runs, module.preprocess)
    if not agreement.difference <= TOLERANCE:
        raise ModelError(
            f'output "{agreement.output}" of the exported model differs from the net by {agreement.difference:.2g} '
            f"of its largest value; {TOLERANCE:g} is allowed, so nothing was written"
        )
    return agreement


def _diagnosed(module: ExportModule, net: Net, error: Exception) -> ModelError:
    """Which layers the exporter cannot take, each tried alone."""
    bad = []
    for stage in module.stages:
        bottoms = tuple(torch.zeros(net._shapes[slot]) for slot in stage.bottoms)
        try:
            with _quiet(), torch.no_grad():
                torch.onnx.export(stage.run, bottoms, dynamo=True, verbose=False)
        except Exception as own:
            bad.append(f'"{stage.name}" ({stage.layer.type}: {_reason_of(own)})')
    if bad:
        return ModelError(f"cannot be exported: layer{'s' if len(bad) > 1 else ''} {', '.join(bad)}", net.name)
    return ModelError(f'net "{net.name}" cannot be exported: {_reason_of(error)}')


def _reason_of(error: BaseException) -> str:
    while error.__cause__ is not None and not isinstance(error, LayerError):
        error = error.__cause__
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter prints, logs and warns of is for those who write it."""
    logger = logging.getLogger()
    disabled = logger.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(disabled)


def _described(value: Any) -> str:
    kind = value.type.tensor_type
    sizes = " x ".join(size.dim_param or str(size.dim_value) for size in kind.shape.dim)
    return f"{value.name} ({sizes or 'one number'}{', uint8' if kind.elem_type == 2 else ''})"
