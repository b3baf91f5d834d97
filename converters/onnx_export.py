"""Caffe nets to ONNX files, by torch's exporter, each held against ONNX Runtime before it is written."""

from __future__ import annotations

import io
import logging
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch

from sdcaffe import proto
from sdcaffe.converters.onnx_check import TOLERANCE, Agreement, check, judged
from sdcaffe.converters.onnx_dynamic import Plan, plan_of
from sdcaffe.converters.onnx_feeds import feeds_of, labelled_of
from sdcaffe.converters.onnx_metadata import ModelError, Normalisation
from sdcaffe.converters.onnx_module import ExportModule
from sdcaffe.converters.onnx_open import Opened, Options, open_deployed, output_names
from sdcaffe.converters.onnx_opset import OLDEST, TRACED, lower
from sdcaffe.converters.onnx_optimize import optimize
from sdcaffe.converters.onnx_pixels import Preprocess, known
from sdcaffe.converters.onnx_smaller import Smaller, smaller
from sdcaffe.converters.onnx_table import kept_table
from sdcaffe.converters.onnx_tidy import tidy
from sdcaffe.converters.onnx_told import PROPERTY, told
from sdcaffe.errors import LayerError, SdcaffeError
from sdcaffe.layers.base import Layer
from sdcaffe.net import Net
from sdcaffe.plugins import file_of, place_in

HALF_TOLERANCE = 0.02  # of the largest absolute value of an output in half precision
OPSETS = range(OLDEST, 24)  # what can be lowered to, or torch's exporter and ONNX Runtime both have


@dataclass
class Exported:
    """What was written: the file's size in bytes, its inputs and outputs as text, what agreed and what went.

    `fixed` says why the batch is not free, "" where it is.
    `normalisation` is None for a net whose input is no image, or nobody says how one becomes its input; `missing` says
    which file would, `presumed` that nobody said the order of its channels.
    """

    size: int
    inputs: list[str]
    outputs: list[str]
    agreement: Agreement
    dropped: list[str]
    folded: list[str]
    nodes: int
    fixed: str
    normalisation: Normalisation | None
    smaller: Smaller | None = None
    missing: str = ""
    presumed: bool = False


def export(model: str, weights: str, target: str, options: Options | None = None) -> Exported:
    """Write the deployed part of the net `model` (a prototxt) with `weights` as the ONNX file `target`.

    `weights` is a .caffemodel, its HDF5 form, or a .solverstate, whose learned net is taken. The file is written
    after onnx.checker has passed it and ONNX Runtime gives the net's outputs within `TOLERANCE`, whole or not at all.
    Raises ModelError for layers that cannot be exported and for a model that differs, and what Net raises.
    """
    options = options or Options()
    if options.opset not in OPSETS:
        raise ModelError(f"opset {options.opset} cannot be written; there are {OPSETS[0]} to {OPSETS[-1]}")
    if not str(target).endswith(".onnx"):
        raise ModelError("is to be an ONNX file, whose name ends in .onnx", str(target))
    _refuse_target(target, [model, weights])
    opened = open_deployed(model, weights, options)
    net, part, metadata = opened.net, opened.part, opened.metadata
    plan, preprocess = _planned(opened, options)
    feeds = []
    if options.smaller is not None:
        _refuse_rows(net, options.smaller)
        feeds = feeds_of(opened, options.smaller, plan, options.data or model, options.calibration)
    proto_model, agreement, module = _agreeing(opened, options, plan, preprocess)
    for key, value in metadata.properties().items():
        proto_model.metadata_props.add(key=key, value=value)
    proto_model.producer_name = "sdcaffe"
    proto_model.graph.name = net.name or "net"
    data = proto_model.SerializeToString()
    made = None
    if options.smaller is not None:
        values = judged(proto_model, net, dict(zip(part.outputs, output_names(net, part.outputs), strict=True)))
        labelled = labelled_of(opened, plan)
        with _quiet():
            made = smaller(data, options.smaller, feeds, labelled, metadata, options.batches, values)
        data = made.data
        made.kept = _layers_of(made.kept, module.names())
        if options.smaller == "fp16":
            _refuse_moved(made, opened, plan, module)
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
        fixed=plan.fixed,
        normalisation=metadata.normalisation,
        smaller=made,
        missing=opened.missing if metadata.normalisation is None else "",
        presumed=opened.presumed,
    )


def _refuse_rows(net: Net, kind: str) -> None:
    """A detector's boxes in two precisions are not the same rows, so nothing could be said of how far they moved."""
    for name, layer in net.layers.items():
        if layer.chooses and layer.dynamic:
            raise ModelError(
                f'--{kind} is for nets whose outputs keep their shape: end the net before layer "{name}" '
                f"({layer.type}) by --end BLOB for each of its bottoms"
            )


def _refuse_target(target: str, sources: list[str]) -> None:
    """Before the work is done, not behind it."""
    if os.path.isdir(target):
        raise ModelError("is a directory; name the file to write", target)
    if not os.path.isdir(os.path.dirname(os.path.realpath(target))):
        raise ModelError("cannot be written: its folder is not there", target)
    if os.path.exists(target) and any(os.path.exists(path) and os.path.samefile(path, target) for path in sources):
        raise ModelError("is what is exported; name another file to write", target)


def _planned(opened: Opened, options: Options) -> tuple[Plan, Preprocess | None]:
    """Which sizes are free, and what becomes of bytes where the model takes them."""
    net, preprocess = opened.net, None
    if options.preprocess:
        name = net.inputs[0] if net.inputs else ""
        preprocess = known(opened.preprocess, name, missing=opened.missing).fitted(name, net.blob_shapes.get(name, ()))
    plan = plan_of(net, preprocess, static=options.static, of_batch=options.batch)
    net.reshape(plan.example)
    _check_room(net, options)
    return plan, preprocess


def _agreeing(
    opened: Opened, options: Options, plan: Plan, preprocess: Preprocess | None
) -> tuple[Any, Agreement, ExportModule]:
    """The model with the sizes free that are so in `plan`. Raises ModelError where it is wrong."""
    net, part = opened.net, opened.part
    net.reshape(plan.example)
    module = ExportModule(net, part.outputs, fold=options.fold, preprocess=preprocess)
    model = _traced(module, net, part.outputs, plan, options)
    if not plan.holds(model.graph.input):
        raise ModelError(
            f'net "{net.name}" cannot be exported: tracing it fixes a size of its input; a layer of yours that works '
            'for one size alone says so by `fixes = "size"`, or "batch"'
        )
    return model, _checked(model, net, part.outputs, plan, module), module


def _check_room(net: Net, options: Options) -> None:
    """Raise ModelError where the memory that is free does not hold a pass of the batch that was asked for."""
    try:
        net.execution.check_room(net.precision, net.device)
    except SdcaffeError as error:
        asked = f"--batch {options.batch}: " if options.batch is not None else ""
        raise ModelError(f"{asked}{error.message}", error.where) from None


def _traced(module: ExportModule, net: Net, outputs: list[str], plan: Plan, options: Options) -> Any:
    outer = {f"blob in {i}": name for i, name in enumerate(net.inputs)}  # names that nothing inside can have
    outer.update({f"blob out {i}": name for i, name in enumerate(output_names(net, outputs))})
    examples = [torch.zeros(plan.example[name]) for name in net.inputs]
    if module.preprocess is not None:
        examples[0] = examples[0].permute(0, 2, 3, 1).to(torch.uint8)
    try:
        with _quiet(), torch.no_grad(), kept_table():
            program = torch.onnx.export(
                module,
                tuple(examples),
                dynamo=True,
                dynamic_shapes=(tuple(plan.free(name) for name in net.inputs),) if net.inputs else None,
                opset_version=max(options.opset, TRACED),
                verbose=False,
                optimize=False,
            )
            assert program is not None
            optimize(program, fold=options.fold)  # which folds a BatchNorm into a convolution, if this module left one
            graph = program.model.graph
            for value, name in zip([*graph.inputs, *graph.outputs], outer, strict=True):
                value.name = name
            model = program.model_proto
    except Exception as error:
        raise _diagnosed(module, net, error) from error
    if [entry.version for entry in model.opset_import if not entry.domain] != [max(options.opset, TRACED)]:
        raise ModelError(f'net "{net.name}" cannot be written in opset {options.opset}; try another')
    blobs = {i: net.graph.slots[s.tops[0]] for i, s in enumerate(module.stages) if len(s.tops) == 1}
    owners = tidy(model, module.names(), blobs, outer, plan.words)
    if module.preprocess is None:  # which makes the net's input, and is no layer
        layers = told(model, owners, module, net)
        model.metadata_props.add(key=PROPERTY, value=layers)
    if options.opset < TRACED:
        lower(model, options.opset, module.names())
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


def _layers_of(nodes: list[str], layers: list[str]) -> list[str]:
    """The layers whose nodes these are.

    Of several nodes the others have numbers behind the name, and those that an older opset needs a dot and more.
    """
    known = set(layers)

    def layer(node: str) -> str:
        parts = node.split(".")
        starts = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        return next((name for start in starts for name in (start, start.rpartition("_")[0]) if name in known), node)

    return list(dict.fromkeys(map(layer, nodes)))


def _refuse_moved(made: Smaller, opened: Opened, plan: Plan, module: ExportModule) -> None:
    """Hold half precision against the net too. Raises ModelError where its outputs are another net's."""
    import onnx

    names = dict(zip(opened.part.outputs, output_names(opened.net, opened.part.outputs), strict=True))
    agreement = check(made.data, opened.net, names, plan.runs, module.preprocess)
    onnx.checker.check_model(onnx.ModelProto.FromString(made.data), full_check=True)
    made.moved = max(made.moved, agreement.difference)
    if not made.moved <= HALF_TOLERANCE:
        raise ModelError(
            f"in half precision an output differs from the net by {made.moved:.2g} of its largest value; "
            f"{HALF_TOLERANCE:g} is allowed, so nothing was written"
        )


def _diagnosed(module: ExportModule, net: Net, error: Exception) -> ModelError:
    """Which layers the exporter cannot take, each tried alone."""
    bad = []
    for stage in module.stages:
        bottoms = tuple(torch.zeros(net.assembled.shapes[slot]) for slot in stage.bottoms)
        try:
            with _quiet(), torch.no_grad(), kept_table():
                torch.onnx.export(stage, bottoms, dynamo=True, verbose=False)
        except Exception as own:
            bad.append(f'"{stage.name}" ({stage.layer.type}: {_reason_of(own, stage.layer)})')
    if bad:
        return ModelError(f"cannot be exported: layer{'s' if len(bad) > 1 else ''} {', '.join(bad)}", net.name)
    return ModelError(f'net "{net.name}" cannot be exported: {_reason_of(error)}')


def _reason_of(error: BaseException, layer: Layer | None = None) -> str:
    """What a layer says itself, or that torch's exporter gave up; and the line of the layer's own file where it did."""
    while error.__cause__ is not None and not isinstance(error, LayerError):
        error = error.__cause__
    if isinstance(error, LayerError):
        return str(error) if layer is None else error.message.removeprefix(layer.error("").message)
    frames = traceback.extract_tb(error.__traceback__)
    own = "" if layer is None else file_of(type(layer))
    reason = "torch's exporter cannot take what it computes; `to_onnx` of a layer may say it otherwise"
    if frames and frames[-1].filename == own:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
    at = place_in(error, own)
    return reason if at is None else f"{reason} ({at})"


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
