"""How far a trained net relies on single directions: its accuracy as more and more of its units are clamped.

After Morcos et al., "On the importance of single directions for generalization" (2018). A unit is a channel of a
feature map; a clamped one has one value everywhere, 0 or its mean. It trains nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.graph import keep_layers
from sdcaffe.log import accuracy
from sdcaffe.log.progress import Tick, no_tick
from sdcaffe.net import Net
from sdcaffe.report.table import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


@dataclass
class Reliance:
    """`accuracies` (orders, points): with `clamped[j]` of `units` clamped, in each random order."""

    name: str
    units: int
    clamped: list[int]
    accuracies: np.ndarray

    @property
    def area(self) -> float:
        """The mean accuracy over the fraction clamped, from none to all, by the trapezoid rule.

        The higher, the less the net relies on single directions.
        """
        mean, share = self.accuracies.mean(0), np.array(self.clamped) / self.units
        return float(((mean[1:] + mean[:-1]) / 2 * np.diff(share)).sum())


class Clamps:
    """A net in its test phase with a clamp behind each of some layers: a Scale that multiplies by 1 and adds 0.

    `after` names these layers; None: every layer of type `at`, ReLU or BatchNorm (then behind the Scale that follows
    it). Those whose top is no feature map (n, c, h, w) are left out. Raises DataError for a layer that is not there or
    has no feature map, and where none is left.
    """

    def __init__(
        self, param: Any, *, at: str = "ReLU", after: Sequence[str] | None = None, device: str = "cpu"
    ) -> None:
        state = proto.NetState()
        state.CopyFrom(param.state)
        state.phase = proto.TEST
        plain = proto.NetParameter()
        plain.CopyFrom(param)
        plain.state.CopyFrom(state)
        plain = keep_layers(plain)
        places = _places(plain, at, after)
        shapes = _shapes(plain)
        maps = {i: name for i, name in places.items() if len(shapes[name]) == 4}
        if after and len(maps) < len(places):
            flat = next(plain.layer[i].name for i in places if i not in maps)
            raise DataError(f'the top of layer "{flat}" is no feature map (n, c, h, w)')
        if not maps:
            raise DataError(f"the net has no {at} layer whose top is a feature map (n, c, h, w)")
        clamped, self.blobs = _with_clamps(plain, maps)
        self.net = Net(clamped, proto.TEST, device=device)
        self.channels = [shapes[name][1] for name in maps.values()]
        self.means = [torch.zeros(n, device=self.net.device) for n in self.channels]

    @property
    def units(self) -> int:
        return sum(self.channels)

    @torch.no_grad()
    def clamp(self, which: Iterable[int]) -> None:
        """Give the units with these numbers, counted through all layers, their value in `means`; free the others."""
        free = torch.ones(self.units, dtype=torch.bool, device=self.net.device)
        free[list(which)] = False
        for name, own, means in zip(self.blobs, free.split(self.channels), self.means, strict=True):
            weight, bias = self.net.params[_clamp(name)]
            weight.copy_(own)
            bias.copy_(torch.where(own, torch.zeros_like(means), means))

    @torch.no_grad()
    def score(self, batches: int) -> float:
        """The accuracy over the first `batches` batches. Raises DataError for a net without an Accuracy."""
        total: dict[str, float] = {}
        self._rewind()
        for _ in range(batches):
            for name, blob in self.net.compute(self.net.load()).blobs.items():
                if blob.numel() == 1:
                    total[name] = total.get(name, 0.0) + float(blob)
        found = accuracy(total)
        if found is None:
            raise DataError(f'net "{self.net.name}" has no output that is an accuracy')
        return found / batches

    @torch.no_grad()
    def use_means(self, batches: int) -> None:
        """From now on clamp to each unit's mean over images and places, which this pass over the data finds."""
        self.clamp([])
        sums = [torch.zeros(n, dtype=torch.float64, device=self.net.device) for n in self.channels]
        self._rewind()
        for _ in range(batches):
            blobs = self.net.compute(self.net.load(), keep=self.blobs).blobs
            for total, name in zip(sums, self.blobs, strict=True):
                total += blobs[name].double().mean((0, 2, 3))
        self.means = [(total / batches).float() for total in sums]

    def _rewind(self) -> None:
        for layer in self.net.data_layers:
            layer.cursor = 0

    def close(self) -> None:
        self.net.close()


def _clamp(blob: str) -> str:
    return f"clamp_{blob}"


def _places(net: Any, at: str, after: Sequence[str] | None) -> dict[int, str]:
    """Behind which layers, by index, clamps go, and the blob there."""
    names = [layer.name for layer in net.layer]
    for name in after or ():
        if name not in names:
            raise DataError(f'the net has no layer "{name}"; it has {", ".join(names)}')
    found: dict[int, str] = {}
    for i, layer in enumerate(net.layer):
        if layer.name in after if after else layer.type == at:
            place = i
            if at == "BatchNorm" and not after:
                readers = (j for j in range(i + 1, len(net.layer)) if layer.top[0] in net.layer[j].bottom)
                follows = next(readers, i)
                if net.layer[follows].type == "Scale" and len(net.layer[follows].bottom) == 1:
                    place = follows
            found[place] = net.layer[place].top[0]
    return found


def _shapes(param: Any) -> dict[str, tuple[int, ...]]:
    net = Net(param, proto.TEST)
    try:
        return net.blob_shapes
    finally:
        net.close()


def _with_clamps(net: Any, places: dict[int, str]) -> tuple[Any, list[str]]:
    """The net with a Scale behind each place; who read the blob later reads the Scale's top. And the blobs' names."""
    clamped = proto.NetParameter()
    clamped.CopyFrom(net)
    del clamped.layer[:]
    now: dict[str, str] = {}  # blob -> the name that its newest version has
    blobs = []
    for i, layer in enumerate(net.layer):
        added = clamped.layer.add()
        added.CopyFrom(layer)
        added.bottom[:] = [now.get(name, name) for name in layer.bottom]
        added.top[:] = [now.get(name, name) if name in layer.bottom else name for name in layer.top]
        if i in places:
            blob = added.top[0]
            scale = clamped.layer.add(name=_clamp(blob), type="Scale", bottom=[blob], top=[_clamp(blob)])
            scale.scale_param.bias_term = True
            now[places[i]] = _clamp(blob)
            blobs.append(blob)
    return clamped, blobs


def measure(
    clamps: Clamps, name: str, *, batches: int, points: int, orders: int, seed: int = 0, tick: Tick = no_tick
) -> Reliance:
    """Clamp ever more units, at `points` + 1 even steps from none to all, in `orders` random orders.

    Nets of as many units are clamped in the same orders. Each point scores `batches` batches.
    """
    units = clamps.units
    clamped = sorted({round(units * k / points) for k in range(points + 1)})
    accuracies = np.empty((orders, len(clamped)))
    for row in range(orders):
        order = np.random.default_rng([seed, row]).permutation(units)
        for column, count in enumerate(clamped):
            clamps.clamp(order[:count].tolist())
            known = row and count in (0, units)
            accuracies[row, column] = accuracies[0, column] if known else clamps.score(batches)
            tick(row * len(clamped) + column + 1, orders * len(clamped))
    return Reliance(name, units, clamped, accuracies)


def lines(found: Sequence[Reliance]) -> list[str]:
    """A table: the accuracy in percent by the share clamped, mean and deviation over orders; and the area."""
    rows: list[tuple[str, ...]] = [("clamped", *(reliance.name for reliance in found))]
    for column, count in enumerate(found[0].clamped):
        cells = []
        for reliance in found:
            values = 100 * reliance.accuracies[:, column]
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 and count not in (0, reliance.units) else ""
            cells.append(f"{values.mean():.2f}{spread}")
        rows.append((f"{count / found[0].units:.0%}", *cells))
    rows.append(("area", *(f"{100 * reliance.area:.2f}" for reliance in found)))
    return [f"accuracy, %, of {found[0].units} units clamped", "", *text_table(rows, "r" * len(rows[0]))]


def to_csv(found: Sequence[Reliance]) -> str:
    """A line for each net, order and number of units clamped."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("net", "order", "units", "clamped", "accuracy"))
    for reliance in found:
        for order, values in enumerate(reliance.accuracies.tolist()):
            for count, value in zip(reliance.clamped, values, strict=True):
                writer.writerow((reliance.name, order, reliance.units, count, f"{value:.6g}"))
    return file.getvalue()


def to_json(found: Sequence[Reliance]) -> str:
    content = [
        {"net": r.name, "units": r.units, "clamped": r.clamped, "accuracy": r.accuracies.tolist(), "area": r.area}
        for r in found
    ]
    return json.dumps(content, indent=2) + "\n"


def plot(found: Sequence[Reliance], ending: str) -> bytes:
    """Accuracy by the share of units clamped: a line for the mean of the orders, a band from lowest to highest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Axes = figure.add_subplot()
    for i, reliance in enumerate(found):
        x, y = 100 * np.array(reliance.clamped) / reliance.units, 100 * reliance.accuracies
        color = _COLORS[i % len(_COLORS)]
        axes.fill_between(x, y.min(0), y.max(0), color=color, alpha=0.15, linewidth=0)
        axes.plot(x, y.mean(0), color=color, marker="o", markersize=3, label=reliance.name)
    axes.set(xlabel="units clamped, %", ylabel="test accuracy, %", xlim=(0, 100))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=150)
    return file.getvalue()
