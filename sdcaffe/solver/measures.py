"""What a solver says of a test net: Caffe's mean of each output, and measures that plugins bring.

`eval_type` in the solver names the measure of its tests.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import SolverError, unknown
from sdcaffe.log import glog, number
from sdcaffe.net import Net
from sdcaffe.net.net import Pass
from sdcaffe.plugins import Kind
from sdcaffe.solver.lines import Scores, flat, log_outputs
from sdcaffe.solver.predictions import Predictions


class Measure:
    """One test of a net: made when the test begins, then given each batch, then asked for its scores.

    `param` is the SolverParameter, with the fields that the class declares in a class `Fields`; `net` the test net.
    `keep` names blobs that it wants of each batch besides the net's outputs.
    """

    keep: tuple[str, ...] = ()

    def __init__(self, param: proto.SolverParameter, net: Net) -> None:
        self.param, self.net = param, net

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        """Raise SolverError for settings that the measure has no meaning for; called before a net is built."""

    def update(self, batch: Pass) -> None:
        """Take in a batch: `batch.loss` is its total loss (0-dim), `batch.blobs` the net's outputs and `keep` by name.

        Batches come in order. Of several processes, the root is given those of all, on the CPU.
        """
        raise SolverError(f"{type(self).__name__} does not define update")

    def scores(self) -> Scores:
        """The values by name, once all batches are in: what a log and `Solver.test_scores` say of the test."""
        raise SolverError(f"{type(self).__name__} does not define scores")

    def log(self, scores: Scores) -> None:
        """Write the lines of the test, one for each value as Caffe writes them unless the class says otherwise."""
        log_outputs("solver.cpp:414", "Test", scores, self.net.loss_weights)


MEASURES = Kind("eval_type", Measure, "SolverParameter", SolverError)
register_measure = MEASURES.register


@register_measure("classification")
class Mean(Measure):
    """Caffe's: the mean over the batches of each value of each output; with test_compute_loss, of the loss too.

    With test_metrics, what the predictions are worth comes after the outputs, see `predictions.Judged.scores`.
    """

    def __init__(self, param: proto.SolverParameter, net: Net) -> None:
        super().__init__(param, net)
        self._names: list[str] | None = None
        self._total: Tensor | float = 0.0
        self._loss: Tensor | float = 0.0
        self._batches = 0
        self._predictions = Predictions(net) if param.test_metrics else None
        if self._predictions is not None:
            self.keep = self._predictions.blobs

    def update(self, batch: Pass) -> None:
        names, values = flat({name: batch.blobs[name] for name in self.net.outputs})
        if self._names not in (None, names):
            raise SolverError(
                f'an output of net "{self.net.name}" holds more or fewer numbers in a test batch than before, so it '
                "has no mean: end the net in layers whose tops keep their shape, or name another eval_type"
            )
        self._names = names
        self._total, self._loss = self._total + values, self._loss + batch.loss
        self._batches += 1
        if self._predictions is not None:
            self._predictions.add(batch.blobs)

    def scores(self) -> Scores:
        means = torch.as_tensor(self._total) / self._batches
        found = list(zip(self._names or [], means.tolist(), strict=True))
        return found if self._predictions is None else found + self._predictions.judged().scores()

    def log(self, scores: Scores) -> None:
        if self.param.test_compute_loss:
            glog("solver.cpp:394", f"Test loss: {number(float(self._loss) / self._batches)}")
        super().log(scores)


def measure_class(param: proto.SolverParameter) -> type[Measure]:
    """The measure that a SolverParameter names. Raises SolverError for one that nobody brought."""
    found = MEASURES.get(param.eval_type)
    if found is None:
        raise SolverError(unknown("eval_type", param.eval_type, MEASURES.names()), field="eval_type")
    return found
