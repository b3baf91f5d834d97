"""What a log says of a run, as numbers. How a log is read stands in parser.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe import proto

NAN = math.nan
FINISHED, STOPPED, CUT_SHORT = "finished", "stopped", "cut short"


@dataclass
class TrainRow:
    """One display of the training net. What the log does not say is NaN, or an output that is not there:
    the loss Caffe computes once more after the last iteration comes with neither.

    `seconds` of training since the start; `loss` is the smoothed total. `outputs` holds every number the
    net puts out, by blob name; a blob of several numbers has `name`, `name[1]`, `name[2]` and so on.
    """

    iteration: int
    seconds: float
    lr: float = NAN
    loss: float = NAN
    outputs: dict[str, float] = field(default_factory=dict)


@dataclass
class TestRow:
    """One test of test net `net`: its mean outputs, and the total loss where `test_compute_loss` is set."""

    iteration: int
    seconds: float
    net: int = 0
    loss: float = NAN
    outputs: dict[str, float] = field(default_factory=dict)


@dataclass
class Snapshot:
    iteration: int
    seconds: float
    model: str
    state: str | None = None


@dataclass
class Run:
    """What a log says of one run. A log of `caffe test` gives one test row, at iteration 0.

    `start` is when optimisation began, in the writer's local time. `end` is "finished", "stopped" (early,
    by a signal) or "cut short" (the log just ends). `resumes` lists the iterations where the run was taken
    up from a snapshot: rows of iterations done again replace the earlier ones, and `seconds` count on from
    the snapshot, so they leave out work that was lost and the time between sessions. `nets` has the text of each
    net the program built, in its order: that of training, then those of the tests. `weights` names the files
    that training started from. `devices` are the kinds that it trained on, "CPU" or "GPU", as far as the log says, and
    `processes` how many trained as one, each with a batch of its own. `fp32_tests`: the log says that its tests were
    computed in fp32, whatever it trained in; where it does not, they were in the precision of the training.
    """

    net: str = ""
    start: datetime | None = None
    solver_text: str = ""
    nets: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    train: list[TrainRow] = field(default_factory=list)
    test: list[TestRow] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    resumes: list[int] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    processes: int = 1
    fp32_tests: bool = False
    end: str = CUT_SHORT

    def solver(self) -> proto.SolverParameter:
        """The solver's settings as a SolverParameter; fields Caffe does not have are left out."""
        from sdcaffe import proto

        message = proto.SolverParameter()
        proto.text.parse(self.solver_text, message, "log", ignore_unknown=True)
        return message

    def test_error(self, net: int = 0) -> float | None:
        """The last test error of test net `net` in percent, or None where no accuracy was logged."""
        for row in reversed(self.test):
            value = accuracy(row.outputs) if row.net == net else None
            if value is not None:
                return 100 * (1 - value)
        return None


def accuracy(outputs: Mapping[str, float]) -> float | None:
    """The accuracy among a net's outputs: the one of that name, else the first whose name says so."""
    names = [name for name in outputs if "acc" in name.lower()]
    if not names:
        return None
    return outputs["accuracy" if "accuracy" in names else names[0]]
