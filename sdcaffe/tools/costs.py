"""What a net costs, layer by layer: shapes, parameters, multiply-adds, memory of activations. Runs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sdcaffe.graph import Step
from sdcaffe.layers.base import Shape
from sdcaffe.log.table import text_table
from sdcaffe.net import Net

FLOAT = 4  # bytes


@dataclass
class LayerCost:
    """One layer. Parameters that an earlier layer owns count there only; statistics are blobs that are not learned.

    `multiply_adds` are those of one forward pass over the whole batch: of convolutions and of products with a
    weight matrix, as papers count them; `memory` is bytes of tops that are no other blob's memory.
    """

    name: str
    type: str
    shapes: list[Shape]
    parameters: int = 0
    frozen: int = 0
    statistics: int = 0
    multiply_adds: int = 0
    memory: int = 0


@dataclass
class Costs:
    """Of a net; `batch` is the first axis of its data."""

    name: str
    batch: int
    layers: list[LayerCost] = field(default_factory=list)

    def total(self, what: str) -> int:
        """The sum over all layers of one of the numbers of LayerCost."""
        return sum(getattr(layer, what) for layer in self.layers)


def costs(net: Net) -> Costs:
    """The costs of every layer, in prototxt order; splits that were inserted by themselves are left out."""
    shapes, found, batch = net.assembled.shapes, {}, 1
    for step in reversed(net.graph.steps):
        layer = net.layers[step.key]
        tops = [shapes[slot] for slot in step.tops]
        if not step.bottoms and tops and tops[0] and not layer.blobs:
            batch = tops[0][0]
        own = [shape for shape, same in zip(tops, step.in_place, strict=True) if not same]
        memory = 0 if layer.copies or layer.views else FLOAT * sum(map(math.prod, own))
        products = layer.multiply_adds([shapes[slot] for slot in step.bottoms], tops)
        found[step.key] = LayerCost(layer.name, layer.type, tops, multiply_adds=products, memory=memory)
    for item in net.learnable:
        key, count = net.graph.steps[item.place].key, item.tensor.numel()
        cost = found[key]
        if item.index in net.layers[key].fixed_blobs:
            cost.statistics += count
        else:
            cost.parameters += count
            cost.frozen += count if item.lr_mult == 0 else 0
    listed = [found[step.key] for step in net.graph.steps if not _is_automatic(step, net)]
    return Costs(net.name, batch, listed)


def lines(found: Costs) -> list[str]:
    """A table of the layers, and the totals."""
    rows = [["layer", "type", "output", "parameters", "multiply-adds", "memory"]]
    for layer in found.layers:
        shown = ", ".join(" x ".join(map(str, shape)) or "scalar" for shape in layer.shapes)
        numbers = [amount(layer.parameters), amount(layer.multiply_adds), size(layer.memory)]
        rows.append([layer.name, layer.type, shown, *numbers])
    parameters, frozen, statistics = (found.total(what) for what in ("parameters", "frozen", "statistics"))
    products, memory = found.total("multiply_adds"), found.total("memory")
    notes = [f"{parameters - frozen:,} learned" if frozen else "", f"{frozen:,} with lr_mult 0" if frozen else ""]
    notes += [f"besides {statistics:,} stored statistics" if statistics else ""]
    note = ", ".join(part for part in notes if part)
    each = f" for {found.batch} images, {products // found.batch:,} for one" if found.batch > 1 else ""
    return [
        *text_table(rows, "lllrrr"),
        "",
        f"net            {found.name or '(no name)'}",
        f"parameters     {parameters:,}{f' ({note})' if note else ''}, {size(FLOAT * parameters)}",
        f"multiply-adds  {products:,}{each}",
        f"activations    {size(memory)} forward, in float32",
    ]


def _is_automatic(step: Step, net: Net) -> bool:
    return net.layers[step.key].copies and step.layer.name.endswith("_split")


def amount(number: int) -> str:
    """A count as a table shows it."""
    return f"{number:,}" if number else "-"


def size(number: int) -> str:
    """Bytes as a table shows them."""
    if not number:
        return "-"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
