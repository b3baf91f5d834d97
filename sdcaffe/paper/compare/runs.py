"""A training run as its log shows it: how far it came, and its errors. What it is a run of, recognise.py finds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sdcaffe.log import Run, TestRow, accuracy
from sdcaffe.paper.recipes import Recipe


@dataclass
class TrainingRun:
    """A log and what it was recognised as. `reason` says why it stands for no published value, or is empty.

    `settings` are the run's parameters but for its seed: runs that share them, whatever their nets are called, differ
    by chance alone. `network_key` tells whether networks are the same, known or not. `recipe` is the nearest one, and
    `departures` say what is not as it has it. `top1` and `top5` are the test net's outputs. A `copy` is a run that
    another log shows already.
    """

    logs: list[str] = field(default_factory=list)
    log: Run = field(default_factory=Run)
    network: str = ""
    network_key: str = ""
    data_set: str = ""
    mechanism: str = ""
    peer: str = ""
    mu: float | None = None
    precision: str = "fp32"
    seed: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    departures: list[str] = field(default_factory=list)
    recipe: Recipe | None = None
    reason: str = ""
    max_iter: int = 0
    top1: str = ""
    top5: str = ""
    copy: bool = False

    @property
    def what(self) -> dict[str, str]:
        """The settings that decide over what is trained: the net's name does not, nor does what it is trained on."""
        return {name: text for name, text in self.settings.items() if name not in ("name", "device", "processes")}

    @property
    def tested_in(self) -> str:
        """The precision of its tests."""
        return "fp32" if self.log.fp32_tests else self.precision

    @property
    def comparable(self) -> bool:
        """Whether network, data set and mechanism are known, be they in the paper or not."""
        return bool(self.network and self.data_set and self.mechanism) and not self.copy

    @property
    def iterations(self) -> int:
        """How many were done, as far as the log shows."""
        return max(
            (rows[-1].iteration for rows in (self.log.train, self.log.test, self.log.snapshots) if rows), default=0
        )

    @property
    def result(self) -> bool:
        """Whether it is a finished run of the paper's own settings."""
        return self.finished and not self.departures and not self.reason

    @property
    def finished(self) -> bool:
        """All iterations were done, and a test came after the last one."""
        tests = self.errors()
        return 0 < self.max_iter <= self.iterations and bool(tests) and tests[-1][0] >= self.max_iter

    @property
    def starts_at(self) -> int:
        """Where the log begins: 0, or the iteration of a snapshot from a session whose log is missing."""
        if not self.log.resumes:
            return 0
        first = min((rows[0].iteration for rows in (self.log.train, self.log.test) if rows), default=0)
        return self.log.resumes[0] if first >= self.log.resumes[0] else 0

    @property
    def last_test(self) -> dict[str, float]:
        """The outputs of the last test of net 0; none where there was none."""
        return next((row.outputs for row in reversed(self.log.test) if row.net == 0), {})

    def errors(self, name: str | None = None) -> list[tuple[int, float]]:
        """Iteration and error in percent of each test of net 0; by `top1`, or the output `name`."""
        found = []
        for row in self.log.test:
            value = self._accuracy(row, name) if row.net == 0 else None
            if value is not None and math.isfinite(value):
                found.append((row.iteration, 100 * (1 - value)))
        return found

    def _accuracy(self, row: TestRow, name: str | None) -> float | None:
        name = name or self.top1
        return row.outputs.get(name) if name else accuracy(row.outputs)

    def last(self, name: str | None = None) -> float | None:
        errors = self.errors(name)
        return errors[-1][1] if errors else None

    def best(self, name: str | None = None) -> float | None:
        return min((error for _, error in self.errors(name)), default=None)

    @property
    def progress(self) -> str:
        if self.finished:
            return f"{self.iterations:,}"
        if 0 < self.max_iter <= self.iterations:
            return f"{self.iterations:,}, but no test error at the end"
        if not self.max_iter:
            return f"{self.iterations:,}"
        return f"cut short at {self.iterations:,} of {self.max_iter:,} ({self.iterations / self.max_iter:.0%})"
