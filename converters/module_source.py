"""A net as the source of a PyTorch module that needs no sdcaffe: same outputs, state_dict as `state_dict` names it.

The source is run against the net before it is written. It holds what a deployed net computes; training is not its aim,
though Dropout and BatchNorm know of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdcaffe import proto
from sdcaffe.converters.module_folded import folded
from sdcaffe.converters.module_text import WIDTH, Names, attributes, class_name, prose, statement, string
from sdcaffe.converters.onnx_deploy import deployed, refuse_unfilled
from sdcaffe.converters.state_dict import blob_names, to_state_dict
from sdcaffe.converters.torch_files import write_tensors
from sdcaffe.errors import NetError, SdcaffeError
from sdcaffe.graph import Step
from sdcaffe.layers.base import Layer, Shape, Source, blamed_on, class_of
from sdcaffe.log import Tick, no_tick
from sdcaffe.net import Net
from sdcaffe.proto.files import StrPath
from sdcaffe.proto.weights import LayerBlobs

TOLERANCE = 1e-5  # of the largest value of an output

_LONGEST = 96  # characters of an expression that others may still be nested in
_WORDS = ("self", "torch", "nn", "F", "Tensor", "dict", "float", "super", "x", "_")
_MODULE, _SCRIPTED = nn.Module(), torch.jit.RecursiveScriptModule  # whose attributes no layer may hide
_USED = {
    "import torch": r"\btorch\.",
    "from torch import Tensor, nn": "",
    "from torch.nn import functional as F": r"\bF\.",
}


@dataclass
class Written:
    """What was written: the class, its inputs and outputs, how many layers, and how far outputs were from the net's.

    `exact`: in float64, since in float32 a layer that chooses among nearly equal values takes others by rounding.
    """

    name: str
    inputs: list[str]
    outputs: list[str]
    layers: int
    difference: float
    exact: bool = False


def convert(
    model: StrPath,
    target: StrPath,
    weights: StrPath | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
    begins: Sequence[str] = (),
    ends: Sequence[str] = (),
    fold: bool = True,
    ignore_unknown: bool = False,
    tick: Tick = no_tick,
) -> Written:
    """Write the TEST phase of the prototxt `model` as Python source; with `weights` also TARGET's .pt, for it to load.

    Data layers become inputs and losses go, as `deployed` says, of `shapes`, `begins` and `ends` too. Raises
    LayerError, by layer name and type, for what cannot be written, SdcaffeError where source and net would not agree;
    then nothing is written. With `weights`, and unless `fold` is False, BatchNorm and Scale become part of the weights
    of the layers before them.
    """
    source, positions = proto.read_net_located(model, ignore_unknown=ignore_unknown)
    try:
        plan = deployed(source, shapes, begins=begins, ends=ends)
        net = Net(plan.param, proto.TEST, weights=None if weights is None else Path(weights))
        if weights is not None:
            refuse_unfilled(net, weights)
        tick(1, 3)
        written = folded(net, plan.param, plan.outputs) if fold and weights is not None else net
        text, name = source_of(written, plan.outputs, Path(model).name, Path(target).with_suffix(".pt").name)
    except NetError as error:
        positions.locate(error)
        error.where = error.where or str(model)
        raise
    if weights is None:
        _randomise(net)
    state, exact = _state(written), False
    try:
        difference = _check(text, name, net, plan.outputs, state)
    except _Apart:
        if not any(layer.chooses or layer.with_mask for layer in net.layers.values()):
            raise
        # By rounding a layer may choose another of nearly equal values. In float64 none is that near.
        exact, fine = True, Net(plan.param, proto.TEST, weights=None if weights is None else Path(weights)).double()
        if weights is None:
            _randomise(fine)
        again = folded(fine, plan.param, plan.outputs) if written is not net else fine
        difference = _check(text, name, fine, plan.outputs, _state(again))
    tick(2, 3)
    with proto.atomic_write(target) as file:  # which is there when both are
        file.write(text.encode())
        file.flush()
        if weights is not None:
            write_tensors(Path(target).with_suffix(".pt"), state)
    tick(3, 3)
    return Written(name, list(net.inputs), plan.outputs, len(written.layers) - len(net.inputs), difference, exact)


def _state(net: Net) -> dict[str, Tensor]:
    """The module's state_dict, of the blobs of `net`."""
    names = attributes_of(net)
    return to_state_dict([LayerBlobs(names[one.name], one.type, one.blobs) for one in layers_of(net)])


def layers_of(net: Net) -> list[LayerBlobs]:
    """The layers of a net that have blobs, as a weight file has them."""
    return [LayerBlobs(name, net.layers[name].type, list(blobs)) for name, blobs in net.blob_arrays().items()]


def attributes_of(net: Net) -> dict[str, str]:
    """The name of each layer -> the attribute that its module is, and what its keys in the state_dict begin with."""
    return attributes(net.layers, lambda name: name == "self" or hasattr(_MODULE, name) or hasattr(_SCRIPTED, name))


def source_of(net: Net, outputs: Iterable[str], origin: str = "", state: str = "net.pt") -> tuple[str, str]:
    """The source of a module and the name of its class. Raises LayerError for what cannot be written."""
    return _Source(net, list(outputs)).text(origin, state)


class _Source:
    """Source in the making, a SourceBuilder: modules for `__init__`, statements for `forward`."""

    def __init__(self, net: Net, outputs: list[str]) -> None:
        self.net = net
        self.outputs = outputs
        self.attributes = attributes_of(net)
        self.modules: list[str] = []
        self.statements: list[str] = []
        self.owners: dict[int, str] = {}  # a parameter -> where it stands first
        self.parts: dict[str, Callable[..., Any]] = {}
        self.steps: list[Step] = []
        self.layers: list[Layer] = []
        self.alias: dict[int, int] = {}  # what a Split gives -> what it copies
        for layer, step in zip(net.assembled.layers, net.graph.steps, strict=True):
            if layer.copies:
                self.alias.update((top, self._slot(step.bottoms[0])) for top in step.tops)
            elif not layer.given:
                self.steps.append(step)
                self.layers.append(layer)
        shapes = net.assembled.shapes
        self.sources = [
            self._source(layer, [shapes[slot] for slot in step.bottoms])
            for layer, step in zip(self.layers, self.steps, strict=True)
        ]
        taken = (*_WORDS, *self.parts)
        self.name = class_name(net.name, taken)
        self.names = Names((*taken, self.name))
        self.output_slots = [self._slot(net.graph.latest[name]) for name in outputs]
        self.readers: dict[int, list[int]] = {slot: [len(self.steps)] for slot in self.output_slots}
        for i, step in enumerate(self.steps):
            for slot in step.bottoms:
                self.readers.setdefault(self._slot(slot), []).append(i)
        self.values: dict[int, str] = {}  # slot -> a variable, or an expression to nest where its one reader stands
        self.inputs = [(name, self.names.new(name)) for name in net.inputs]
        self.values.update((net.assembled.inputs[name], variable) for name, variable in self.inputs)
        for i, step in enumerate(self.steps):
            self._write(i, step)
        self._return()

    def _source(self, layer: Layer, bottoms: list[Shape]) -> Source:
        with blamed_on(layer):
            return layer.to_source(self, *bottoms)

    def part(self, part: Callable[..., Any]) -> str:
        name = part.__name__
        if self.parts.setdefault(name, part) is not part:
            raise SdcaffeError(f'two layers bring parts of the name "{name}", and one file cannot hold both')
        return name

    def _slot(self, slot: int) -> int:
        return self.alias.get(slot, slot)

    def _write(self, i: int, step: Any) -> None:
        written = self.sources[i]
        bottoms = [self._slot(slot) for slot in step.bottoms]
        module = self._module(step.key, self.layers[i], written.module) if written.module is not None else "self"
        if written.each:
            expressions = [self._filled(written, [slot], module) for slot in bottoms]
        else:
            expressions = [self._filled(written, bottoms, module)]
        if len(expressions) == len(step.tops):
            for slot, expression in zip(step.tops, expressions, strict=True):
                self._keep(i, slot, expression)
            return
        variables = [self._variable(slot) if self.readers.get(slot) else "_" for slot in step.tops]
        self.values.update(zip(step.tops, variables, strict=True))
        self.statements.append(statement(f"{', '.join(variables)} = ", expressions[0], 8))

    def _filled(self, source: Source, bottoms: list[int], module: str) -> str:
        return source.text.format(*(self.values[slot] for slot in bottoms), **{"self": module})

    def _keep(self, i: int, slot: int, expression: str) -> None:
        """Nest the value in its one reader where that comes next and takes it; give it a variable otherwise."""
        readers = self.readers.get(slot, [])
        alone = readers == [i + 1]
        if alone and len(expression) <= _LONGEST and (i + 1 == len(self.steps) or self._nests(i + 1)):
            self.values[slot] = expression
            return
        variable = "x" if alone else self._variable(slot)
        self.values[slot] = variable
        if variable != expression:
            self.statements.append(statement(f"{variable} = ", expression, 8))

    def _nests(self, i: int) -> bool:
        return len(self.steps[i].bottoms) == 1 and self.sources[i].nests

    def _variable(self, slot: int) -> str:
        """A blob's variable; versions of a blob that layers make in place have one."""
        for other, name in self.values.items():
            if self.net.graph.slots[other] == self.net.graph.slots[slot] and re.fullmatch(r"\w+", name) and name != "x":
                return name
        return self.names.new(self.net.graph.slots[slot])

    def _module(self, name: str, layer: Layer, module: str) -> str:
        """Add a layer's module, under `name`, to `__init__`; the expression that gets it."""
        attribute = self.attributes[name]
        self.modules.append(statement(f"self.{attribute} = ", module, 8))
        found = f"self.{attribute}"
        self._share(name, layer, found)
        return found

    def _share(self, key: str, layer: Layer, found: str) -> None:
        """Parameters that another layer owns are its own."""
        if key in {self.net.graph.steps[place].key for place in self.net.assembled.views}:
            raise layer.error("a parameter shared under another shape cannot be written as a PyTorch module")
        names = blob_names(layer.type, len(layer.blobs), layer.name)
        for i, blob in enumerate(layer.blobs):
            owner = self.owners.setdefault(id(blob), f"{found}.{names[i]}")
            if owner != f"{found}.{names[i]}":
                self.modules.append(f"{' ' * 8}{found}.{names[i]} = {owner}")

    def _return(self) -> None:
        values = [self.values[slot] for slot in self.output_slots]
        if len(values) == 1:
            self.statements.append(statement("return ", values[0], 8))
            return
        entries = [f"{string(name)}: {value}" for name, value in zip(self.outputs, values, strict=True)]
        inner = "".join(f"{' ' * 12}{entry},\n" for entry in entries)
        self.statements.append(f"{' ' * 8}return {{\n{inner}{' ' * 8}}}")

    # ---- The file ----

    def text(self, origin: str, state: str) -> tuple[str, str]:
        body = self._class()
        code = "\n\n".join([*(inspect.getsource(part) for part in self.parts.values()), body])
        return f"{self._head(origin, state)}\n{self._imports(code)}\n\n{code}", self.name

    def _head(self, origin: str, state: str) -> str:
        lines = [f'"""{prose(self.net.name) or self.name} as a PyTorch module, which needs PyTorch alone.', ""]
        lines += [f"Written by sdcaffe from {prose(origin)}." if prose(origin) else "Written by sdcaffe."]
        if self.modules:
            lines += [
                "`sdcaffe convert module --weights` writes the state_dict of a .caffemodel:",
                "",
                f"    model = {self.name}().eval()",
                f'    model.load_state_dict(torch.load("{prose(state)}", weights_only=True))',
            ]
        return "\n".join([*lines, '"""', ""])  # torch.jit.script reads annotations, not their text

    def _imports(self, code: str) -> str:
        wanted = [line for line, pattern in _USED.items() if re.search(pattern, code)]
        return "\n".join([*wanted, ""])

    def _renamed(self) -> list[str]:
        """A table of the layers that are called otherwise."""
        parts = [step.key for step, source in zip(self.steps, self.sources, strict=True) if source.module is not None]
        other = [f"    #   {string(key)}: {self.attributes[key]}" for key in parts if self.attributes[key] != key]
        told = "    # Layers whose names cannot be attributes, and what they and their keys are called here:"
        return [told, *other, ""] if other else []

    def _class(self) -> str:
        takes = [f"{variable} {_shown(self.net.blob_shapes[name])}" for name, variable in self.inputs]
        gives = [f"{prose(name)} {_shown(self.net.blob_shapes[name])}" for name in self.outputs]
        lines = [f"class {self.name}(nn.Module):"]
        if len(", ".join([*takes, *gives])) < WIDTH - 30:
            lines += [f'    """Takes {", ".join(takes) or "nothing"}; gives {", ".join(gives)}."""', ""]
        else:
            lines += ['    """Takes', "", *(f"    {blob}" for blob in takes), "", "    and gives", ""]
            lines += [*(f"    {blob}" for blob in gives), '    """', ""]
        lines += self._renamed()
        if self.modules:
            lines += ["    def __init__(self) -> None:", "        super().__init__()", *self.modules, ""]
        result = "Tensor" if len(self.outputs) == 1 else "dict[str, Tensor]"
        arguments = ", ".join(["self", *(f"{variable}: Tensor" for _, variable in self.inputs)])
        lines += [statement("def forward", f"({arguments})", 4) + f" -> {result}:", *self.statements]
        return "\n".join(lines) + "\n"


def _shown(shape: Shape) -> str:
    return f"({', '.join(['n', *map(str, shape[1:])])})" if shape else "()"


# ---- Checking ----


@torch.no_grad()
def _randomise(net: Net) -> None:
    """Numbers for every blob, so that a comparison without weights sees each of them."""
    generator = torch.Generator().manual_seed(1)
    for layer in net.layers.values():
        for blob in layer.blobs:
            if blob.dim() > 1:
                blob.normal_(0, (blob.numel() / blob.shape[0]) ** -0.5, generator=generator)
            else:
                blob.uniform_(0.3, 1, generator=generator)


class _Apart(SdcaffeError):
    """The module's numbers are not the net's."""


@torch.no_grad()
def _check(text: str, name: str, net: Net, outputs: list[str], state: dict[str, Tensor]) -> float:
    """Run the source beside the net; returns the largest relative difference. Raises SdcaffeError above TOLERANCE.

    A logit x is known to some share of its size, and e^x to x times that share: probabilities are measured by both.
    """
    namespace: dict[str, Any] = {"__name__": "net"}
    kind = next((blob.dtype for layer in net.layers.values() for blob in layer.blobs), torch.float32)
    with torch.random.fork_rng(devices=[]):
        exec(compile(text, "net.py", "exec"), namespace)  # every name and string in it went through module_text
        model = namespace[name]().eval()
    try:
        model.to(kind).load_state_dict(state)
    except RuntimeError as error:
        raise SdcaffeError(
            "the module's parameters are not the layers' blobs; a layer says in torch_names what its module calls "
            f"them: {error}"
        ) from error
    generator = torch.Generator().manual_seed(1)
    inputs = {blob: torch.rand(net.blob_shapes[blob], generator=generator).to(kind) for blob in net.inputs}
    made = {layer.top[0]: layer for layer in net.param.layer if layer.top}
    logits = {name: made[name].bottom[0] for name in outputs if name in made and class_of(made[name]).probabilities}
    slots = {slot: inputs[blob] for blob, slot in net.assembled.inputs.items()}
    with torch.set_grad_enabled(kind == torch.float64):  # else a net computes in float32
        expected = net.compute(slots, keep=[*outputs, *logits.values()]).blobs
    result = model(*inputs.values())
    got = [result] if isinstance(result, Tensor) else list(result.values())
    worst = 0.0
    for blob, value in zip(outputs, got, strict=True):
        want = expected[blob]
        if value.shape != want.shape:
            raise SdcaffeError(f'the module gives "{blob}" as {tuple(value.shape)}, the net as {tuple(want.shape)}')
        if torch.equal(value, want) or not want.numel():
            continue
        if not want.isfinite().all():
            raise SdcaffeError(
                f'the net itself gives numbers in "{blob}" that are not finite, of inputs from 0 to 1, so the module '
                "cannot be held against it: no file is written"
            )
        steep = max(1.0, float(expected[logits[blob]].abs().max())) if blob in logits else 1.0
        difference = float((value - want).abs().max() / want.abs().max()) / steep
        if not difference <= TOLERANCE:
            raise _Apart(
                f'the module and the net differ by {difference:.1e} (relative) in "{blob}": no file is written'
            )
        worst = max(worst, difference)
    return worst
