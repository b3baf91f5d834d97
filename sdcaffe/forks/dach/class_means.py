"""A batch of features beside the means of their classes: the sums over items and classes that HomoMeanLoss takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Own = Callable[[Tensor, Tensor], Tensor]  # (difference from the own mean (n, d), count (n, 1)) -> (n, d)
# (rows (n, d), own mean (n, d), own count (n, 1), another mean (d,), its count ()) -> (n, d)
Other = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class ClassMeans(NamedTuple):
    """Rows (n, d) with their classes (n, labels), and of each label's classes the count and the mean of its rows.

    `counts` are (labels, classes), `means` (labels, classes, d). A class that is none of these counts nowhere.
    """

    rows: Tensor
    classes: Tensor
    counts: Tensor
    means: Tensor

    def own(self, label: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of each row the count (n, 1) and mean (n, d) of its class; where it has one (n, 1)."""
        classes, number = self.classes[:, label], self.counts.shape[1]
        known = (classes >= 0) & (classes < number)
        at = classes.clamp(0, number - 1)
        return known.unsqueeze(1), self.counts[label][at].unsqueeze(1), self.means[label][at]

    def within(self, function: Own, least: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """For each label: which rows' classes count `least` or more (n, 1), and the function of these rows (n, d)."""
        for label in range(self.counts.shape[0]):
            known, count, mean = self.own(label)
            taken = known & (count >= least)
            yield taken, torch.where(taken, function(self.rows - mean, count), 0)

    def between(self, function: Other) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """For each label and class: which rows are of other classes (n, 1), and the function of these (n, d)."""
        for label, each in enumerate(self.counts):
            known, count, mean = self.own(label)
            known = known & (count >= 1)
            for one in range(len(each)):
                taken = known & (self.classes[:, label] != one).unsqueeze(1) & (each[one] >= 1)
                found = function(self.rows, mean, count, self.means[label, one], each[one])
                yield label, one, taken, torch.where(taken, found, 0)

    def mean_within(self, function: Own, least: int = 1) -> tuple[Tensor, Tensor]:
        """Of each row the mean over labels (n, d), 0 where there is none, and over how many (n, 1)."""
        return self._mean(self.within(function, least))

    def mean_between(self, function: Other) -> tuple[Tensor, Tensor]:
        """The same over labels and classes."""
        return self._mean((taken, found) for _, _, taken, found in self.between(function))

    def _mean(self, parts: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        total, number = torch.zeros_like(self.rows), self.rows.new_zeros(len(self.rows), 1)
        for taken, found in parts:
            total += found
            number += taken
        return total / number.clamp(min=1), number

    def sums_within(self, function: Own, least: int = 1) -> tuple[Tensor, Tensor]:
        """Of each label's classes the sum over their rows (labels, classes, d), and of how many (labels, classes)."""
        totals, numbers = torch.zeros_like(self.means), torch.zeros_like(self.counts)
        for label, (taken, found) in enumerate(self.within(function, least)):
            at = self.classes[:, label].clamp(0, self.counts.shape[1] - 1)
            totals[label].index_add_(0, at, found)
            numbers[label].index_add_(0, at, taken[:, 0].to(numbers.dtype))
        return totals, numbers

    def sums_between(self, function: Other) -> tuple[Tensor, Tensor]:
        """The same over the rows of other classes."""
        totals, numbers = torch.zeros_like(self.means), torch.zeros_like(self.counts)
        for label, one, taken, found in self.between(function):
            totals[label, one] = found.sum(0)
            numbers[label, one] = taken.sum()
        return totals, numbers
