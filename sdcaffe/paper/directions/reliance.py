"""How far a trained net relies on single directions: its accuracy as more and more of its units are clamped.

After Morcos et al., "On the importance of single directions for generalization" (2018). A unit is a channel of a
feature map. How a net runs with units clamped stands in clamps.py.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdcaffe.log import Tick, no_tick
from sdcaffe.log.picture import COLORS, legend
from sdcaffe.log.table import text_table
from sdcaffe.paper.directions.clamps import Clamps

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class Reliance:
    """`accuracies` (orders, points): with `clamped[j]` of `units` clamped, in each random order.

    `trained` is the name of the net that the weights were trained in, "" where their file does not say. Of several
    nets together, the rows are the nets and `rows` says so.
    """

    name: str
    units: int
    clamped: list[int]
    accuracies: np.ndarray
    trained: str = ""
    rows: str = "orders"

    @property
    def area(self) -> float:
        """The mean accuracy over the fraction clamped, from none to all, by the trapezoid rule.

        The higher, the less the net relies on single directions.
        """
        return float(_areas(self).mean())


def measure(
    clamps: Clamps,
    name: str,
    *,
    batches: int,
    points: int,
    orders: int,
    seed: int = 0,
    trained: str = "",
    tick: Tick = no_tick,
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
    return Reliance(name, units, clamped, accuracies, trained)


def pooled(found: Sequence[Reliance]) -> list[Reliance]:
    """The nets trained alike, as one: a row for each net, its mean over the orders.

    Alike are those with one name of the net that they were trained in. Where that parts nothing, or leaves each net
    alone, they stay as they are.
    """
    alike: dict[str, list[Reliance]] = {}
    for reliance in found:
        alike.setdefault(reliance.trained or reliance.name, []).append(reliance)
    if len(alike) in (1, len(found)):
        return list(found)
    return [
        Reliance(
            f"{name}, {len(nets)} nets" if len(nets) > 1 else nets[0].name,
            nets[0].units,
            nets[0].clamped,
            np.stack([net.accuracies.mean(0) for net in nets]),
            name,
            "nets",
        )
        for name, nets in alike.items()
    ]


def lines(found: Sequence[Reliance]) -> list[str]:
    """A table: the accuracy in percent by the share clamped, mean and deviation over orders or nets; and the area.

    Of nets that are pooled, the area of each stands below.
    """
    shown = pooled(found)
    rows: list[tuple[str, ...]] = [("clamped", *(reliance.name for reliance in shown))]
    for column, count in enumerate(shown[0].clamped):
        rows.append((f"{count / shown[0].units:.0%}", *(_cell(r, r.accuracies[:, column], count) for r in shown)))
    areas = [_areas(reliance) for reliance in shown]
    rows.append(("area", *(_cell(r, area) for r, area in zip(shown, areas, strict=True))))
    text = [
        f"accuracy, %, of {shown[0].units} units clamped; mean and deviation over {shown[0].rows}",
        "",
        *text_table(rows, "r" * len(rows[0])),
    ]
    if shown[0].rows == "nets":
        each = [("net", "none clamped", "area")]
        each += [(r.name, f"{100 * r.accuracies[0, 0]:.2f}", f"{100 * r.area:.2f}") for r in found]
        text += ["", *text_table(each, "lrr")]
    return text


def _cell(reliance: Reliance, values: np.ndarray, count: int | None = None) -> str:
    """Mean and deviation; one net's accuracy with no unit clamped, or all, is the same in every order."""
    fixed = reliance.rows == "orders" and count in (0, reliance.units)
    spread = f" ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 and not fixed else ""
    return f"{100 * values.mean():.2f}{spread}"


def _areas(reliance: Reliance) -> np.ndarray:
    """The area of each row."""
    share = np.array(reliance.clamped) / reliance.units
    return ((reliance.accuracies[:, 1:] + reliance.accuracies[:, :-1]) / 2 * np.diff(share)).sum(1)


def to_csv(found: Sequence[Reliance]) -> str:
    """A line for each net, order and number of units clamped."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("net", "trained", "order", "units", "clamped", "accuracy"))
    for reliance in found:
        for order, values in enumerate(reliance.accuracies.tolist()):
            for count, value in zip(reliance.clamped, values, strict=True):
                writer.writerow((reliance.name, reliance.trained, order, reliance.units, count, f"{value:.6g}"))
    return file.getvalue()


def to_json(found: Sequence[Reliance]) -> str:
    content = [
        {
            "net": r.name,
            "trained": r.trained,
            "units": r.units,
            "clamped": r.clamped,
            "accuracy": r.accuracies.tolist(),
            "area": r.area,
        }
        for r in found
    ]
    return json.dumps(content, indent=2) + "\n"


def plot(found: Sequence[Reliance], ending: str) -> bytes:
    """Accuracy by the share of units clamped: a line for the mean of the orders, a band from lowest to highest.

    Nets trained alike are one line and one colour, and the band is theirs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Axes = figure.add_subplot()
    shown, lines = pooled(found), []
    for i, reliance in enumerate(shown):
        x, y = 100 * np.array(reliance.clamped) / reliance.units, 100 * reliance.accuracies
        color = COLORS[i % len(COLORS)]
        axes.fill_between(x, y.min(0), y.max(0), color=color, alpha=0.15, linewidth=0)
        lines += axes.plot(x, y.mean(0), color=color, marker="o", markersize=3)
    axes.set(xlabel="units clamped, %", ylabel="test accuracy, %", xlim=(0, 100))
    axes.set_title(f"mean, lowest and highest of the {shown[0].rows}", fontsize="medium")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    legend(axes, lines, [reliance.name for reliance in shown], frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=150)
    return file.getvalue()
