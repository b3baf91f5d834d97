"""Places the nodes of a directed graph in rows, so that edges point down and few of them cross (Sugiyama 1981).

Knows sizes and edges only. Four steps: rows by longest path; a point in every row that a long edge passes; an
order within each row by the mean place of the neighbours; x by least squares, with room between neighbours.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]

_SWEEPS = 12  # over the order of the rows
_MOVES = 80  # over their places
_STRAIGHTENED = 3  # times that long edges are made straight
_STRAIGHT = 8.0  # how firmly the points of one edge hold to each other; neighbours that are nodes hold with 1
_PORT = 26.0  # between the ends of two edges at a node
_LEAST_WIDTH = 10.0  # of the room that an edge takes in a row it passes


@dataclass
class Layout:
    """Centres of the nodes; of each edge the points it goes through, in order; the size of the whole."""

    centres: list[Point]
    paths: list[list[Point]]
    width: float
    height: float


@dataclass
class _Cell:
    """A node, or the point where an edge passes a row; `x` is its centre."""

    row: int
    width: float
    node: int | None
    above: list[tuple[_Cell, float]] = field(default_factory=list, repr=False)  # neighbours and how firmly held
    below: list[tuple[_Cell, float]] = field(default_factory=list, repr=False)
    place: int = 0
    x: float = 0.0


def arrange(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    rooms: Sequence[float],
    *,
    across: float = 24.0,
    down: float = 30.0,
) -> Layout:
    """Lay out nodes of the given (width, height), `across` and `down` apart; an edge goes to a later node only.

    `rooms` is the width that each edge asks for where it leaves its source; a node should be as wide as they are.
    """
    rows_of = _rows(len(sizes), edges)
    cells = [_Cell(row, sizes[i][0], i) for i, row in enumerate(rows_of)]
    chains = [_chain(cells[source], cells[target]) for source, target in edges]
    everything = [*cells, *(cell for chain in chains for cell in chain[1:-1])]
    rows: list[list[_Cell]] = [[] for _ in range(max(rows_of, default=-1) + 1)]
    for cell in _first_order(everything):
        rows[cell.row].append(cell)
    _order(rows)
    _place(rows, across)
    for _ in range(_STRAIGHTENED):
        for chain in chains:
            _straighten(chain[1:-1], rows, across)
    left = min((cell.x - cell.width / 2 for cell in everything), default=0.0)
    for cell in everything:
        cell.x -= left
    heights = [max((sizes[c.node][1] for c in row if c.node is not None), default=0.0) for row in rows]
    tops = [sum(heights[:i]) + down * i for i in range(len(rows))]
    middle = [top + height / 2 for top, height in zip(tops, heights, strict=True)]
    centres = [(cell.x, middle[cell.row]) for cell in cells]
    paths = [_path(chain, sizes, centres, tops, heights) for chain in chains]
    _spread(paths, [source for source, _ in edges], sizes, rooms, 0)
    _spread(paths, [target for _, target in edges], sizes, [_PORT] * len(edges), -1)
    return Layout(
        centres,
        paths,
        max((cell.x + cell.width / 2 for cell in everything), default=0.0),
        tops[-1] + heights[-1] if rows else 0.0,
    )


def _rows(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Below every node that points to it; a node that none points to, just above the first it points to."""
    row = [0] * count
    for source, target in sorted(edges):
        row[target] = max(row[target], row[source] + 1)
    pointed = {target for _, target in edges}
    for node in range(count):
        targets = [row[target] for source, target in edges if source == node]
        if node not in pointed and targets:
            row[node] = min(targets) - 1
    return row


def _chain(source: _Cell, target: _Cell) -> list[_Cell]:
    """The cells of an edge, those it passes included; long edges are held straight."""
    passed = [_Cell(row, _LEAST_WIDTH, None) for row in range(source.row + 1, target.row)]
    chain = [source, *passed, target]
    for upper, lower in itertools.pairwise(chain):
        firmness = _STRAIGHT if upper.node is None and lower.node is None else 1.0
        upper.below.append((lower, firmness))
        lower.above.append((upper, firmness))
    return chain


def _first_order(cells: list[_Cell]) -> list[_Cell]:
    """Depth first from the top, so that a branch stays together."""
    seen: set[int] = set()
    order = []
    stack = [cell for cell in reversed(cells) if not cell.above]
    while stack:
        cell = stack.pop()
        if id(cell) not in seen:
            seen.add(id(cell))
            order.append(cell)
            stack += [below for below, _ in reversed(cell.below)]
    return order


def _order(rows: list[list[_Cell]]) -> None:
    """Sort each row by the mean place of its neighbours, down and up again; the order with fewest crossings stays."""
    _number(rows)
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            row.sort(key=lambda cell: _mean_place(cell, down))
            _number([row])
        crossings = _crossings(rows)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best
    _number(rows)


def _number(rows: list[list[_Cell]]) -> None:
    for row in rows:
        for i, cell in enumerate(row):
            cell.place = i


def _mean_place(cell: _Cell, down: bool) -> float:
    neighbours = cell.above if down else cell.below
    return sum(other.place for other, _ in neighbours) / len(neighbours) if neighbours else float(cell.place)


def _crossings(rows: list[list[_Cell]]) -> int:
    """Two edges cross where the ends of one row's edges, left to right, are out of order."""
    total = 0
    for row in rows:
        passed: list[int] = []
        for cell in row:
            ends = sorted(other.place for other, _ in cell.below)
            total += sum(len(passed) - bisect.bisect_right(passed, end) for end in ends)
            for end in ends:
                bisect.insort(passed, end)
    return total


def _place(rows: list[list[_Cell]], across: float) -> None:
    """Move rows, down and up, to where their neighbours draw them."""
    for row in rows:
        _settle(row, [0.0] * len(row), [1.0] * len(row), across)
    for sweep in range(_MOVES):
        both = sweep >= _MOVES // 4
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted, firmness = [], []
            for cell in row:
                pulls = [*cell.above, *cell.below] if both else cell.above if sweep % 2 == 0 else cell.below
                weight = sum(strength for _, strength in pulls)
                wanted.append(sum(other.x * strength for other, strength in pulls) / weight if pulls else cell.x)
                firmness.append(weight or 0.1)
            _settle(row, wanted, firmness, across)


def _straighten(passing: list[_Cell], rows: list[list[_Cell]], across: float) -> None:
    """Give the points of one edge the same x for as many rows on end as their neighbours allow."""
    run: list[_Cell] = []
    low, high = -math.inf, math.inf
    for cell in [*passing, None]:
        if cell is not None:
            row, i = rows[cell.row], cell.place
            before, after = row[i - 1] if i else None, row[i + 1] if i + 1 < len(row) else None
            least = before.x + (before.width + cell.width) / 2 + across if before else -math.inf
            most = after.x - (after.width + cell.width) / 2 - across if after else math.inf
            if max(low, least) <= min(high, most):
                run, low, high = [*run, cell], max(low, least), min(high, most)
                continue
        if run:
            x = min(max(sum(point.x for point in run) / len(run), low), high)
            for point in run:
                point.x = x
        if cell is not None:
            run, low, high = [cell], least, most


def _settle(row: list[_Cell], wanted: list[float], firmness: list[float], across: float) -> None:
    """The x nearest to `wanted` by weighted squares that keep the order and leave room: isotonic regression."""
    offsets = [0.0]
    for left, right in itertools.pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + across)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many cells
    for want, weight, offset in zip(wanted, firmness, offsets, strict=False):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, other_count = blocks.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((mean, weight, count))
    settled = [mean for mean, _, count in blocks for _ in range(count)]
    for cell, x, offset in zip(row, settled, offsets, strict=False):
        cell.x = x + offset


def _spread(
    paths: list[list[Point]], nodes: list[int], sizes: Sequence[Point], rooms: Sequence[float], end: int
) -> None:
    """Set the ends of edges at one node side by side, in the order of where they come from or go to."""
    at: dict[int, list[tuple[list[Point], float]]] = {}
    for path, node, room in zip(paths, nodes, rooms, strict=True):
        at.setdefault(node, []).append((path, room))
    for node, group in at.items():
        if len(group) == 1:
            continue
        group.sort(key=lambda item: item[0][1 if end == 0 else -2][0])
        total = sum(room for _, room in group)
        scale = min(1.0, sizes[node][0] / total)
        x = group[0][0][end][0] - scale * total / 2
        for path, room in group:
            path[end] = (x + scale * min(room, _PORT) / 2, path[end][1])
            x += scale * room


def _path(
    chain: list[_Cell], sizes: Sequence[Point], centres: list[Point], tops: list[float], heights: list[float]
) -> list[Point]:
    """From the foot of the source, past every row between, to the head of the target."""
    source, target = chain[0].node, chain[-1].node
    assert source is not None
    assert target is not None
    points = [(chain[0].x, centres[source][1] + sizes[source][1] / 2)]
    for cell in chain[1:-1]:
        points += [(cell.x, tops[cell.row]), (cell.x, tops[cell.row] + heights[cell.row])]
    return [*points, (chain[-1].x, centres[target][1] - sizes[target][1] / 2)]
