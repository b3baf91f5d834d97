"""What of a net is deployed: data layers become inputs, training parts go. Computes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sdcaffe import proto
from sdcaffe.converters.onnx_cut import begun, check_begins, check_ends
from sdcaffe.errors import DataError, GraphError, WeightsError
from sdcaffe.graph import keep_layers, net_state
from sdcaffe.layers.base import DataLayer, Shape, class_of
from sdcaffe.net import Net
from sdcaffe.net.weights import Weights
from sdcaffe.proto.files import StrPath

Made = tuple[int, int]  # a version of a blob: the layer that makes it, and which of its tops it is


@dataclass
class Deployed:
    """The deployed part of a net.

    `param` holds Input layers in place of data layers; `outputs` are the blobs to give, sorted as Caffe reports
    them; `dropped` the layers that went; `scores` the blob that an Accuracy or a loss compared with labels, or "".
    """

    param: proto.NetParameter
    outputs: list[str]
    dropped: list[str]
    scores: str = ""


def deployed(
    source: proto.NetParameter,
    shapes: Mapping[str, Shape] | None = None,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    begins: Sequence[str] = (),
    ends: Sequence[str] = (),
) -> Deployed:
    """The deployed part of a NetParameter, in the TEST phase.

    Losses, Accuracy, Silence and HDF5Output go, and with them what hangs on them, and what only labels or the
    second branch of a Distort reach. An output with a loss weight stays only where there is no other. The
    probabilities that a SoftmaxWithLoss gives stay, as a Softmax. `shapes` are those of inputs, by blob name; a
    data layer whose first top is among them is not opened. The blobs `begins` become inputs in the place of what makes
    them, and outputs are what hangs on them; with `ends` these blobs, and no others, are the outputs.
    Raises GraphError where nothing is left or `shapes` names no input, or no blob is called as a cut says, DataError
    for data that cannot be opened.
    """
    shapes, stages = shapes or {}, tuple(stages)
    net = proto.NetParameter()
    net.CopyFrom(source)
    net.state.MergeFrom(net_state(proto.TEST, level, stages))
    net = keep_layers(net)
    unread, silenced = _unread_inputs(net.layer), _silenced(net.layer)

    def measured(name: str) -> Shape:
        before = {key: shape for key, shape in shapes.items() if key not in begins}
        part = deployed(source, before, level=level, stages=stages, ends=[name])
        return Net(part.param, proto.TEST).blob_shapes[name]

    if begins:
        layers = begun(net.layer, begins, shapes, measured)
        del net.layer[:]
        net.layer.extend(layers)
    result = Deployed(proto.NetParameter(name=net.name), [], [])
    kept, data = _kept(net, shapes, begins, result)
    inputs = [name for layer in kept if class_of(layer).given for name in layer.top]
    for name in shapes:
        if name not in inputs:
            raise GraphError(f'net "{net.name}" has no input "{name}" to give a shape; it has {", ".join(inputs)}')
    check_ends(ends, kept)
    behind = set(begins)
    for layer in kept:
        behind.update(layer.top if behind.intersection(layer.bottom) else ())
    chosen = ends or [name for name in _chosen(kept, unread, data, silenced) if not begins or name in behind]
    result.outputs = list(dict.fromkeys(chosen))
    _prune(kept, result)
    if not result.outputs:
        went = ", ".join(f'"{layer.name}" ({layer.type})' for layer in net.layer if layer.name in result.dropped)
        raise GraphError(
            f'net "{net.name}" has nothing to export: no layer gives an output{went and f", without {went}"}'
        )
    check_begins(begins, result.param.layer, result.outputs)
    return result


def _kept(
    net: proto.NetParameter, shapes: Mapping[str, Shape], begins: Sequence[str], result: Deployed
) -> tuple[list[proto.LayerParameter], set[str]]:
    """The layers that may leave, with inputs for data layers, and the names of these; `result` notes what goes."""
    kept: list[proto.LayerParameter] = []
    data: set[str] = set()
    gone: set[str] = set()
    for layer in net.layer:
        cls = class_of(layer)
        if issubclass(cls, DataLayer):
            try:
                layer = _as_input(cls, layer, shapes)
            except DataError as error:
                if begins:  # then what reads it may be cut off
                    gone.update(layer.top)
                    result.dropped.append(layer.name)
                    continue
                error.message += f"; with --shape {layer.top[0]}=1,C,H,W the data are not needed" if layer.top else ""
                raise
            data.add(layer.name)
        else:
            new = None if gone.intersection(layer.bottom) else cls.deployed(layer)
            if new is None:
                gone.update(layer.top)
                if len(layer.bottom) > 1 and (cls.judges or (cls.loss and not result.scores)):
                    result.scores = layer.bottom[0]
                result.dropped.append(layer.name)
                continue
            gone.update(set(layer.top) - set(new.top))
            layer = new
        gone.difference_update(layer.top)  # a cut brings a blob anew that hung on what is gone
        if class_of(layer).given:
            _give_shapes(layer, shapes)
        kept.append(layer)
    return kept, data


def _as_input(cls: type[DataLayer], layer: proto.LayerParameter, shapes: Mapping[str, Shape]) -> proto.LayerParameter:
    """An Input layer in place of a data layer; only where its shape is not given is the data opened."""
    first = shapes.get(layer.top[0]) if layer.top else None
    if first is not None:
        tops = [first] + [first[:1]] * (len(layer.top) - 1)
    else:
        opened = cls(layer, proto.TEST)
        try:
            tops = opened.setup([])
        finally:
            opened.close()
    new = proto.LayerParameter(name=layer.name, type="Input", top=list(layer.top))
    if cls.brings == "images" and first is None:
        tops = [(1, *shape[1:]) for shape in tops]  # one image: the batch is training's
    for shape in tops:
        new.input_param.shape.add().dim.extend(shape)
    return new


def _give_shapes(layer: proto.LayerParameter, shapes: Mapping[str, Shape]) -> None:
    own = [list(shape.dim) for shape in layer.input_param.shape]
    own = own * len(layer.top) if len(own) == 1 else own
    if len(own) != len(layer.top):
        return  # the layer itself says what is wrong
    del layer.input_param.shape[:]
    for name, shape in zip(layer.top, own, strict=True):
        layer.input_param.shape.add().dim.extend(shapes.get(name, shape))


def _wiring(
    layers: Iterable[proto.LayerParameter],
) -> tuple[dict[Made, list[int]], dict[int, list[Made]], dict[str, Made]]:
    """Who reads each version of a blob, what each layer reads, and the last version under each name."""
    latest: dict[str, Made] = {}
    readers: dict[Made, list[int]] = {}
    reads: dict[int, list[Made]] = {}
    for i, layer in enumerate(layers):
        reads[i] = [latest[name] for name in layer.bottom if name in latest]  # a name that is missing: Net says so
        for made in reads[i]:
            readers.setdefault(made, []).append(i)
        for j, name in enumerate(layer.top):
            latest[name] = (i, j)
            readers.setdefault((i, j), [])
    return readers, reads, latest


def _unread_inputs(layers: Iterable[proto.LayerParameter]) -> set[str]:
    """Inputs that no layer of the whole net reads: they are outputs of it, as in Caffe."""
    layers = list(layers)
    readers, _, _ = _wiring(layers)
    return {layers[i].top[j] for (i, j), by in readers.items() if not by and class_of(layers[i]).given}


def _silenced(layers: Iterable[proto.LayerParameter]) -> set[str]:
    """Blobs that only a Silence reads: they are no outputs of the net, as in Caffe."""
    layers = list(layers)
    readers, _, latest = _wiring(layers)
    read = {name: [layers[i].type for i in readers[made]] for name, made in latest.items()}
    return {name for name, types in read.items() if types and set(types) == {"Silence"}}


def _chosen(layers: list[proto.LayerParameter], unread: set[str], data: set[str], silenced: set[str]) -> list[str]:
    """The outputs, sorted: what no layer reads, and what is worth deploying of that; none where no layer gives one."""
    readers, reads, latest = _wiring(layers)
    origins: dict[Made, set[bool]] = {}  # which kinds of input reach a blob: images (True), labels and second branches
    for i, layer in enumerate(layers):
        reach = set().union(*(origins[made] for made in reads[i]))
        for j in range(len(layer.top)):
            if class_of(layer).given:
                origins[i, j] = {j == 0 or layer.name not in data}
            else:
                origins[i, j] = {False} if class_of(layer).branches and j else reach
    ends = {}
    for name, made in latest.items():
        if not readers[made] and (not class_of(layers[made[0]]).given or name in unread):
            ends[name] = made
    for useful in (lambda made: origins[made] != {False}, lambda made: not _loss_weight(layers[made[0]], made[1])):
        ends = {name: made for name, made in ends.items() if useful(made)} or ends
    return sorted(ends.keys() - silenced or ends)


def _prune(layers: list[proto.LayerParameter], result: Deployed) -> None:
    """Put the layers that the outputs need into `result`, and the others among those that went."""
    _, reads, latest = _wiring(layers)
    wanted, needed = {latest[name] for name in result.outputs}, set()
    for i in reversed(range(len(layers))):
        if any((i, j) in wanted for j in range(len(layers[i].top))):
            needed.add(i)
            wanted.update(reads[i])
    if not needed:
        return
    for i, layer in enumerate(layers):
        if i not in needed:
            result.dropped.append(layer.name)
            continue
        new = result.param.layer.add()
        new.CopyFrom(layer)
        for field in ("include", "exclude", "loss_weight", "propagate_down"):
            new.ClearField(field)
        if class_of(layer).given:
            _drop_tops(new, [j for j in range(len(layer.top)) if (i, j) not in wanted])


def _loss_weight(layer: proto.LayerParameter, top: int) -> float:
    return layer.loss_weight[top] if top < len(layer.loss_weight) else 0.0


def _drop_tops(layer: proto.LayerParameter, unwanted: list[int]) -> None:
    for j in reversed(unwanted):
        del layer.top[j]
        del layer.input_param.shape[j]


def refuse_unfilled(net: Net, weights: StrPath) -> None:
    """Raise WeightsError where the file `weights`, which `net` was made with, has nothing for a layer that learns.

    Of layers that share a name a file fills the first, as in Caffe: the others leave as their fillers made them, and a
    warning says so.
    """
    names = [step.layer.name for step in net.graph.steps]
    reached = {place for place, entry in Weights([str(weights)]).matched(names) if entry.blobs}
    blobs = [len(layer.blobs) for layer in net.layers.values()]
    missing = [place for place, count in enumerate(blobs) if count and place not in reached]
    filled = {names[place] for place in reached}
    unknown = [net.graph.steps[place].key for place in missing if names[place] not in filled]
    if unknown:
        raise WeightsError(f"has no weights for {', '.join(unknown)}: is it of another net?", str(weights))
    if missing:
        logging.getLogger("sdcaffe").warning(
            "%s keep what their fillers gave them: as in Caffe, %s fills one layer of a name",
            ", ".join(net.graph.steps[place].key for place in missing),
            weights,
        )
