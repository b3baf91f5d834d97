"""A net as a diagram: nodes, what they say, and the blobs between them; and that as DOT text. Draws nothing.

Layers that work in place are lines of the node whose blob they change, so that a convolution, its BatchNorm,
Scale and ReLU are one node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.errors import GraphError, LayerError
from sdcaffe.layers.base import Layer, class_of

_PHASES = {proto.TRAIN: "TRAIN", proto.TEST: "TEST"}

# What a node is: Layer.drawn_as. The names are classes of colour.
COLORS = {
    "data": "#d7e8d5",
    "convolution": "#f6cfcb",
    "product": "#e2d4ea",
    "pooling": "#fde3c8",
    "loss": "#fbf0c4",
    "plain": "#dbe7f7",
}


@dataclass
class Node:
    """A layer and those that work in place on its blob; `lines` is what it says, the name first if it has one."""

    kind: str
    lines: list[str]
    layers: list[str]
    phases: frozenset[int]


@dataclass
class Edge:
    """Blobs from one node (by index) to a later one; `label` has the names that the source's name does not say."""

    source: int
    target: int
    label: str = ""


@dataclass
class Diagram:
    name: str
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def diagram(net: proto.NetParameter, phase: int | None = None, *, lr_mult: bool = False) -> Diagram:
    """The diagram of a NetParameter, of one phase or (None) of both, where a node says which it is only in.

    Levels and stages are not looked at. `lr_mult` shows the learning rate multipliers of weights. Raises
    GraphError for a layer with include and exclude rules.
    """
    return _Maker(net, [phase] if phase is not None else list(_PHASES), lr_mult).result


class _Maker:
    def __init__(self, net: proto.NetParameter, phases: list[int], lr_mult: bool) -> None:
        self.result = Diagram(net.name)
        self._lr_mult = lr_mult
        self._latest: dict[int, dict[str, int]] = {phase: {} for phase in phases}  # blob -> the node that has it
        self._read: set[tuple[int, str]] = set()  # node and blob that somebody reads
        self._edges: dict[tuple[int, int], Edge] = {}
        for layer in net.layer:
            present = frozenset(phase for phase in phases if _present(layer, phase))
            if present:
                self._add(layer, present)
        if len(phases) > 1:
            for node in self.result.nodes:
                if len(node.phases) == 1:
                    node.lines.append(f"{_PHASES[next(iter(node.phases))]} only")

    def _add(self, layer: proto.LayerParameter, present: frozenset[int]) -> None:
        nodes = self.result.nodes
        host = self._host(layer, present)
        if host is not None:
            self._join(nodes[host], layer)
            return
        index = len(nodes)
        lines = [line for line in (layer.name, _what(layer, self._lr_mult)) if line]
        nodes.append(Node(_kind(layer), lines, [layer.name], present))
        for blob in layer.bottom:
            for source in sorted({self._latest[phase][blob] for phase in present if blob in self._latest[phase]}):
                self._read.add((source, blob))
                self._link(source, index, blob if blob != nodes[source].lines[0] else "")
        for blob in layer.top:
            for phase in present:
                self._latest[phase][blob] = index

    def _join(self, node: Node, layer: proto.LayerParameter) -> None:
        """Layers without parameters worth a line of their own share one."""
        what = _what(layer, self._lr_mult)
        if len(node.layers) > 1 and " " not in node.lines[-1].split(", ")[-1] and " " not in what:
            node.lines[-1] += f", {what}"
        else:
            node.lines.append(what)
        node.layers.append(layer.name)

    def _link(self, source: int, target: int, label: str) -> None:
        """One edge for all blobs between two nodes."""
        edge = self._edges.get((source, target))
        if edge is None:
            edge = self._edges[source, target] = Edge(source, target, label)
            self.result.edges.append(edge)
        elif label not in edge.label.split(", "):
            edge.label = ", ".join(part for part in (edge.label, label) if part)

    def _host(self, layer: proto.LayerParameter, present: frozenset[int]) -> int | None:
        """The node a layer works in place on, if nobody else has read that blob from it."""
        if len(layer.bottom) != 1 or list(layer.bottom) != list(layer.top):
            return None
        blob = layer.bottom[0]
        holders = {self._latest[phase].get(blob) for phase in present}
        host = holders.pop()
        if holders or host is None or self.result.nodes[host].phases != present or (host, blob) in self._read:
            return None
        return host


def _present(layer: proto.LayerParameter, phase: int) -> bool:
    if layer.include and layer.exclude:
        raise GraphError(
            f'layer "{layer.name}" has include rules and exclude rules; use one kind', layer=layer.name, field="exclude"
        )
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _class(layer: proto.LayerParameter) -> type[Layer]:
    """The class of a layer; of a type that nobody here knows, any layer's."""
    try:
        return class_of(layer)
    except LayerError:
        return Layer


def _kind(layer: proto.LayerParameter) -> str:
    cls = _class(layer)
    return cls.drawn_as or ("loss" if cls.loss else "plain" if layer.bottom else "data")


def _what(layer: proto.LayerParameter, lr_mult: bool) -> str:
    """The type of a layer and the parameters that a reader of a diagram looks for."""
    parts = [part for part in _class(layer).settings(layer) if part]
    if lr_mult and _kind(layer) in ("convolution", "product"):
        multipliers = [f"{spec.lr_mult:g}" for spec in layer.param] or ["1"]
        parts.append(f"lr mult {', '.join(multipliers)}")
    return f"{layer.type} {', '.join(parts)}".strip()


def to_dot(found: Diagram, rankdir: str = "TB", *, label_edges: bool = True) -> str:
    """The diagram in graphviz's language; `rankdir` is TB, BT, LR or RL."""
    lines = [
        f"digraph {_quoted(found.name or 'Net')} {{",
        f"  rankdir={rankdir};",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=10];',
    ]
    for i, node in enumerate(found.nodes):
        label = _quoted("\n".join(node.lines))
        lines.append(
            f'  n{i} [label={label}, fillcolor="{COLORS[node.kind]}", tooltip={_quoted(", ".join(node.layers))}];'
        )
    for edge in found.edges:
        label = f" [label={_quoted(edge.label)}]" if edge.label and label_edges else ""
        lines.append(f"  n{edge.source} -> n{edge.target}{label};")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
