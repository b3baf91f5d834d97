"""A net of the paper's while it is written: its layers, the comments over them, and how much it learns.

How a layer is laid out is the business of proto/printing.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sdcaffe import proto
from sdcaffe.proto.printing import LayerText, Message, comment, fields, layer_text


class Blob(NamedTuple):
    """A blob while a net is written: its name, and its channels for counting what reads it."""

    name: str
    channels: int


class NetText:
    """A net under construction: layers in order, and how many parameters training will learn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters = 0
        self._layers: list[LayerText] = []
        self._sections: dict[int, str] = {}  # index of the layer below -> comment

    def section(self, title: str) -> None:
        """An empty line and a comment over the layers that follow."""
        self._sections[len(self._layers)] = title

    def layer(
        self,
        name: str,
        type_name: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        message: Message | None = None,
        *,
        phase: str | None = None,
    ) -> None:
        """Append one layer."""
        self._layers.append(LayerText(name, type_name, bottoms, tops, message or {}, phase))

    def extend(self, other: NetText, title: str) -> None:
        """Append another net's layers, the comments over them begun with `title`. What it learns is not counted."""
        self._sections |= {len(self._layers) + i: f"{title}, {text}" for i, text in other._sections.items()}
        self._layers += other._layers

    def net(self) -> proto.NetParameter:
        """The NetParameter."""
        net = proto.NetParameter()
        proto.text.parse(self.text([]), net, self.name)
        return net

    def replaced(self, name: str, layers: Iterable[tuple[int, proto.LayerParameter]]) -> NetText:
        """This net with other layers: each a LayerParameter, and the index of the layer here that it comes from.

        A comment stays over what comes from the layer below it, wherever that is. Fields keep their order.
        """
        result = NetText(name)
        result.parameters = self.parameters
        known = self.net().layer
        before = None
        for origin, layer in layers:
            if origin in self._sections and origin != before:
                result.section(self._sections[origin])
            before = origin
            here = self._layers[origin]
            result._layers.append(here if layer == known[origin] else _ordered_as(here, layer_text(layer)))
        return result

    def text(self, head: Iterable[str]) -> str:
        """The whole file, under a comment of the lines `head`."""
        lines = list(fields({"name": self.name}))
        for i, layer in enumerate(self._layers):
            if i in self._sections:
                lines += ["", f"# {self._sections[i]}"]
            lines += layer.lines()
        return comment(head) + "\n".join(lines) + "\n"


def _ordered_as(before: LayerText, layer: LayerText) -> LayerText:
    """A layer whose messages have their fields in the order in which another has them."""
    message: dict[str, object] = {}
    for name, value in layer.message.items():
        old = before.message.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = {key: value[key] for key in (*old, *(key for key in value if key not in old)) if key in value}
        message[name] = value
    return layer._replace(message=message)
