"""The wiring of a net: numbered blob slots, who writes and reads each, and when each can be let go."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.proto.keys import layer_keys


@dataclass
class Step:
    """One layer's place: the slots it reads and writes, and those that nobody reads after it.

    `key` is the layer's name, told apart from the other layers of that name.
    """

    layer: proto.LayerParameter
    key: str
    bottoms: list[int]
    tops: list[int]
    in_place: list[bool]  # for each top: it carries the name of the bottom at the same index
    release: list[int] = field(default_factory=list)


@dataclass
class Graph:
    """Steps in prototxt order over slots. A layer's place is the index of its step.

    A slot is one version of a blob: a layer that works in place reads one slot and writes the next under
    the same name, so no value that autograd has saved is ever overwritten.
    """

    name: str
    steps: list[Step]
    slots: list[str]  # the blob name of each slot
    latest: dict[str, int]  # blob name -> the slot that holds its last version
    outputs: dict[str, int]  # blobs that no layer reads, sorted by name as Caffe reports them

    def slot(self, name: str) -> int:
        """The slot that holds the last version of the blob `name`. Raises GraphError where there is none."""
        if name not in self.latest:
            raise GraphError(f'net "{self.name}" has no blob "{name}"; it has {", ".join(self.latest)}')
        return self.latest[name]


ANONYMOUS = "(automatic)"  # Caffe's name for the top that a loss layer adds by itself; nobody can read it


def build_graph(net: proto.NetParameter) -> Graph:
    """Wire a NetParameter whose layers are filtered and whose splits are inserted.

    Raises GraphError for two layers of one blob name, a bottom nobody makes, and a propagate_down that
    does not fit the bottoms.
    """
    slots: list[str] = []
    latest: dict[str, int] = {}
    maker: dict[str, str] = {}
    unread: set[str] = set()
    last_use: dict[int, int] = {}
    steps: list[Step] = []
    keys = layer_keys(layer.name for layer in net.layer)
    for i, layer in enumerate(net.layer):
        if layer.propagate_down and len(layer.propagate_down) != len(layer.bottom):
            raise GraphError(
                f'layer "{layer.name}" has {len(layer.propagate_down)} propagate_down for '
                f"{len(layer.bottom)} bottoms; give one for each or none",
                layer=layer.name,
                field="propagate_down",
            )
        bottoms = []
        for name in layer.bottom:
            if name not in unread:
                raise GraphError(f'unknown bottom blob "{name}" in layer "{layer.name}"', layer=layer.name)
            unread.discard(name)
            bottoms.append(latest[name])
            last_use[latest[name]] = i
        tops, in_place = [], []
        for j, name in enumerate(layer.top):
            same = j < len(layer.bottom) and layer.bottom[j] == name
            if name in latest and not same and name != ANONYMOUS:
                raise _duplicate(layer, name, maker[name])
            maker.setdefault(name, layer.name)
            in_place.append(same)
            tops.append(len(slots))
            slots.append(name)
            if name != ANONYMOUS:
                latest[name] = tops[-1]
                unread.add(name)
        steps.append(Step(layer, keys[i], bottoms, tops, in_place))
    outputs = {name: latest[name] for name in sorted(unread)}
    for slot, i in last_use.items():
        steps[i].release.append(slot)
    return Graph(net.name, steps, slots, latest, outputs)


def _duplicate(layer: proto.LayerParameter, name: str, first: str) -> GraphError:
    message = f'blob "{name}" is made by layer "{first}" and again by layer "{layer.name}"'
    if any(bottom.startswith(f"{name}_") and "_split_" in bottom for bottom in layer.bottom):
        message += (
            f'; layer "{layer.name}" works in place on a blob that another layer reads too: give its top a new name'
        )
    else:
        message += "; give one of them another top name"
    return GraphError(message, layer=layer.name, field="top")
