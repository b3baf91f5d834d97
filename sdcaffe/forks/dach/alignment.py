"""Pairs of items that HomoMeanLoss aligns: how far the two of a pair lie from all means of classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sdcaffe.forks.dach.class_means import ClassMeans
from sdcaffe.forks.dach.homo_measures import distance, slope


class Tasks(NamedTuple):
    """What pairs are drawn of: two with labels, two without, one with and one without; how much each side learns."""

    labelled: tuple[float, float]
    bare: tuple[float, float]
    mixed: tuple[float, float]

    def share(self, pairs: int) -> int:
        """How many pairs each task has, of so many in all; mixed pairs are two tasks, each way round."""
        return pairs // self._tasks() if self._tasks() else 0

    def count(self, pairs: int) -> int:
        """How many pairs there are when so many are asked for."""
        return self.share(pairs) * self._tasks() or pairs

    def _tasks(self) -> int:
        return any(self.labelled) + any(self.bare) + 2 * any(self.mixed)


class Pairs(NamedTuple):
    """Rows by number: `first` and `second` (m,), how much each learns (m,), and whether there are any pairs ()."""

    first: Tensor
    second: Tensor
    first_weight: Tensor
    second_weight: Tensor
    valid: Tensor


def drawn(classes: Tensor, bare: int, ignored: int, tasks: Tasks, asked: int) -> Pairs:
    """Pairs of items of these classes (n,): those of class `bare` are without a label, those of `ignored` out.

    None where there are fewer than two of either side. Of sides with fewer items than a task has pairs, the first
    come again; CAFFE-DACH reads past its list there.
    """
    each = tasks.share(asked)
    without = classes == bare
    labelled = _Side(~without & (classes != ignored))
    others = _Side(without)
    if any(tasks.labelled) or any(tasks.mixed):
        labelled.shuffle()
    if any(tasks.bare):
        others.shuffle()
    first, second, weights = [], [], []
    for on, side, weight in _columns(tasks, labelled, others):
        if any(on):
            first.append(side.first(each))
            weights.append(weight)
    if any(tasks.labelled):
        labelled.shuffle()
    if any(tasks.bare) or any(tasks.mixed):
        others.shuffle()
    for on, side, _ in _columns(tasks, labelled, others, other=True):
        if any(on):
            second.append(side.first(each))
    if not each:
        nothing = classes.new_zeros(asked)
        none = torch.zeros(asked, device=classes.device)
        return Pairs(nothing, nothing, none, none, torch.zeros((), dtype=torch.bool, device=classes.device))
    ones = torch.ones(each, device=classes.device)
    return Pairs(
        torch.cat(first),
        torch.cat(second),
        torch.cat([ones * weight for weight, _ in weights]),
        torch.cat([ones * weight for _, weight in weights]),
        (labelled.count >= 2) & (others.count >= 2),
    )


class _Side:
    """The items of one side in an order, at first the batch's."""

    def __init__(self, member: Tensor) -> None:
        self.member, self.count = member, member.sum()
        self.order = (~member).to(torch.uint8).argsort(stable=True)

    def shuffle(self) -> None:
        keys = torch.rand(len(self.member), dtype=torch.float64, device=self.member.device)
        self.order = (keys + 2 * (~self.member)).argsort()

    def first(self, number: int) -> Tensor:
        places = torch.arange(number, device=self.member.device)
        return self.order[places % self.count.clamp(min=1)]


def _columns(
    tasks: Tasks, labelled: _Side, bare: _Side, other: bool = False
) -> Iterator[tuple[tuple[float, float], _Side, tuple[float, float]]]:
    """Task by task: its weights, what the first (or the other) of its pairs are of, and what the two learn."""
    yield tasks.labelled, labelled, tasks.labelled
    yield tasks.bare, bare, tasks.bare
    yield tasks.mixed, bare if other else labelled, tasks.mixed
    yield tasks.mixed, labelled if other else bare, (tasks.mixed[1], tasks.mixed[0])


class _Distances(NamedTuple):
    """Of one class: its count, which pairs count (m,), and of both sides: of this class (m, 1), differences (m, d)."""

    number: Tensor
    counted: Tensor
    mine: tuple[Tensor, Tensor]
    apart: tuple[Tensor, Tensor]


class Alignment:
    """The pairs of one label, held against the means of its classes.

    With `nonself` an item is held against the mean of its class without itself. `inner` measures an item's difference
    from a mean; its root is taken, or not, as `outer` says, which measures what the sums over classes differ by.
    """

    def __init__(self, means: ClassMeans, label: int, pairs: Pairs, inner: str, outer: str, nonself: bool) -> None:
        self.means, self.label, self.pairs = means, label, pairs
        self.inner, self.outer, self.nonself = inner, outer, nonself
        self.roots = outer.endswith("sqroots-sqroots")

    def _classes(self) -> Iterator[_Distances]:
        sides = (self.pairs.first, self.pairs.second)
        rows = [self.means.rows[side] for side in sides]
        classes = [self.means.classes[side, self.label] for side in sides]
        for one, count in enumerate(self.means.counts[self.label]):
            mean = self.means.means[self.label, one]
            mine = [(each == one).unsqueeze(1) for each in classes]
            apart = [row - mean for row in rows]
            counted = self.pairs.valid & (count >= 1) & torch.ones_like(classes[0], dtype=torch.bool)
            if self.nonself:
                apart = [torch.where(m, a * (count / (count - 1)), a) for m, a in zip(mine, apart, strict=True)]
                counted &= (count >= 2) | ~(mine[0] | mine[1]).squeeze(1)
            yield _Distances(count, counted, (mine[0], mine[1]), (apart[0], apart[1]))

    def _far(self, apart: Tensor) -> Tensor:
        return distance(self.inner, apart).sum(1)

    def difference(self) -> tuple[Tensor, Tensor]:
        """Of each pair what the sums over classes differ by (m,), and over how many classes they are (m,)."""
        total = self.means.rows.new_zeros(len(self.pairs.first))
        number = torch.zeros_like(total)
        for one in self._classes():
            first, second = (self._far(apart) for apart in one.apart)
            gap = first.sqrt() - second.sqrt() if self.roots else first - second
            total += torch.where(one.counted, gap, 0)
            number += one.counted
        return total, number

    def measured(self) -> tuple[Tensor, Tensor]:
        """Of each pair its measure, a class, (m,); 0 where no class counts, and over how many (m,)."""
        total, number = self.difference()
        return distance(self.outer, total) / number.clamp(min=1), number

    def slopes(self) -> tuple[Tensor, Tensor]:
        """The measure's derivatives by the rows of both sides (m, d), with their shares in the means.

        Of subabs with sqroots twice that, as the fork has it.
        """
        total, number = self.difference()
        outer = slope(self.outer, total) / number.clamp(min=1)
        size = (len(self.pairs.first), self.means.rows.shape[1])
        found = (self.means.rows.new_zeros(size), self.means.rows.new_zeros(size))
        for one in self._classes():
            parts = []
            for sign, apart in zip((1, -1), one.apart, strict=True):
                by = sign * outer
                if self.roots:
                    root = self._far(apart).sqrt() * (2 if "subsqr" in self.outer else 1)
                    by = torch.where(root > 0, by / root, 0)
                parts.append(slope(self.inner, apart) * by.unsqueeze(1))
            for side in (0, 1):
                mine, other = one.mine[side], one.mine[1 - side]
                if self.nonself:
                    pull = parts[1 - side] / (one.number - other.to(one.number.dtype))
                else:
                    pull = (parts[0] + parts[1]) / one.number
                whole = parts[side] - torch.where(mine, pull, 0)
                found[side].add_(torch.where(one.counted.unsqueeze(1), whole, 0))
        return found
