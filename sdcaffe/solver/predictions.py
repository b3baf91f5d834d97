"""What the predictions of a test are worth beyond their mean loss: errors, likelihood, calibration, confusion.

All in float64, over every image that was tested. It runs no net.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import SolverError
from sdcaffe.layers.softmax_loss import SoftmaxWithLoss
from sdcaffe.net import Net
from sdcaffe.solver.lines import Scores

BINS = 15  # of confidence, as in Guo et al. (2017)
COLDEST, HOTTEST = 1e-3, 1e3  # temperatures between which the best is looked for
_HALVINGS = 50


class Predictions:
    """The logits and labels of a test, gathered batch by batch from a net that has a SoftmaxWithLoss.

    `blobs` names the two that each batch must bring. Raises SolverError for a net that has no such loss, or not one
    label for each item.
    """

    def __init__(self, net: Net) -> None:
        losses = [layer for layer in net.layers.values() if isinstance(layer, SoftmaxWithLoss)]
        if not losses:
            raise SolverError(
                f'the metrics need logits and labels, but net "{net.name}" has no SoftmaxWithLoss in the phase '
                f"{proto.Phase.Name(net.phase)} that reads them: give it one",
                field="test_metrics",
            )
        self.blobs = tuple(losses[-1].layer_param.bottom)[:2]
        self._ignored = losses[-1].ignore
        logits, labels = (net.blob_shapes[name] for name in self.blobs)
        if len(logits) < 2 or losses[-1].axis != 1 or math.prod(labels) != logits[0] or math.prod(logits[2:]) != 1:
            raise SolverError(
                f'the metrics need one row of scores and one label for each item, but "{self.blobs[0]}" is '
                f'{logits} and "{self.blobs[1]}" {labels}',
                field="test_metrics",
            )
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, blobs: Mapping[str, Tensor]) -> None:
        """Take in a batch, its blobs by name."""
        logits, labels = (blobs[name].detach().cpu() for name in self.blobs)
        self._logits.append(logits.flatten(1))
        self._labels.append(labels.flatten().long())

    def judged(self) -> Judged:
        """What all batches so far are worth. Raises SolverError for fewer than two items that count."""
        logits, labels = torch.cat(self._logits).double(), torch.cat(self._labels)
        if self._ignored is not None:
            logits, labels = logits[labels != self._ignored], labels[labels != self._ignored]
        if len(labels) < 2:
            raise SolverError(f"the metrics need two images or more, not {len(labels)}", field="test_metrics")
        return Judged(logits, labels)


@dataclass(frozen=True)
class Judged:
    """Logits (n, classes), float64, and labels (n,), int64, in the order of the test."""

    logits: Tensor
    labels: Tensor

    def scores(self) -> Scores:
        """The values by name.

        - `error`: the share whose label has not the highest score; a tie is an error, as in Accuracy
        - `top_5_error`: nor one of the five highest; left out for five classes or fewer
        - `nll`: the mean negative log-likelihood, in nats
        - `ece`: the expected calibration error, see `calibration_error`
        - `nll_scaled`: the mean NLL after one temperature. The images of even places (0, 2, ...) are scaled by the
          temperature that is best for those of odd places, and these by that of the even ones, so no image is used to
          fit what it is measured with. `nll_scaled_even` and `nll_scaled_odd` are the means of the two halves
        - `temperature_even`, `temperature_odd`: the temperatures fitted on the two halves
        """
        above = self._rivals()
        found = [("error", float((above > 0).double().mean()))]
        if self.logits.shape[1] > 5:
            found.append(("top_5_error", float((above > 4).double().mean())))
        found += [("nll", float(self.losses().mean())), ("ece", self.calibration_error())]
        even, odd = (Judged(self.logits[i::2], self.labels[i::2]) for i in (0, 1))
        temperatures = even.best_temperature(), odd.best_temperature()
        halves = even.losses(temperatures[1]), odd.losses(temperatures[0])
        found += [
            ("nll_scaled", float(torch.cat(halves).mean())),
            ("nll_scaled_even", float(halves[0].mean())),
            ("nll_scaled_odd", float(halves[1].mean())),
            ("temperature_even", temperatures[0]),
            ("temperature_odd", temperatures[1]),
        ]
        return found

    def _rivals(self) -> Tensor:
        """For each item, how many classes score at least as high as its label."""
        own = self.logits.gather(1, self.labels[:, None])
        return (~(self.logits < own)).sum(1) - 1

    def losses(self, temperature: float = 1.0) -> Tensor:
        """The negative log-likelihood of each label, in nats, of softmax(logits / temperature)."""
        return -(self.logits / temperature).log_softmax(1).gather(1, self.labels[:, None])[:, 0]

    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al., 2017): |accuracy - confidence|, averaged over the images' bins.

        Confidence is the highest probability; bin k of 15 holds those above k/15 and up to (k + 1)/15.
        """
        confidence, chosen = self.logits.softmax(1).max(1)
        surplus = (chosen == self.labels).double() - confidence
        bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        sums = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, surplus)
        return float(sums.abs().sum() / len(surplus))

    def best_temperature(self) -> float:
        """The temperature of least mean NLL, from 0.001 to 1000; where all is right, a cold one.

        The NLL is convex in 1/T; its slope there is the mean of E[logit] less the label's logit. Halves until found.
        """
        own = self.logits.gather(1, self.labels[:, None])[:, 0].mean()
        cold, hot = math.log(COLDEST), math.log(HOTTEST)
        for _ in range(_HALVINGS):
            middle = (cold + hot) / 2
            expected = (self.logits * (self.logits / math.exp(middle)).softmax(1)).sum(1).mean()
            cold, hot = (cold, middle) if expected < own else (middle, hot)
        return math.exp(cold)

    def confusion(self) -> Tensor:
        """How many images of each class (rows) are taken for each class (columns), int64."""
        classes = self.logits.shape[1]
        pairs = self.labels * classes + self.logits.argmax(1)
        return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
