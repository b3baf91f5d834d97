"""What those at work report to: a solver that trains, a converter that counts. Shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

Tick = Callable[[int, int], None]  # (done, total): what a function that takes a while calls as it goes on


def no_tick(done: int, total: int) -> None:
    """The tick of one who does not watch."""


class Progress:
    """What a solver reports to. This one shows nothing; it keeps the last scores and the last snapshot.

    `scores` maps the index of a test net to its outputs by name; `snapshot` is the last solver state. One that `shows`
    itself on a terminal takes the place of the lines there.
    """

    shows: ClassVar[bool] = False

    def __init__(self) -> None:
        self.scores: dict[int, dict[str, float]] = {}
        self.snapshot: Path | None = None

    def due(self) -> bool:
        """Whether `update` would be seen now: a solver need not fetch its loss from a GPU otherwise."""
        return False

    def update(
        self,
        iteration: int,
        max_iter: int,
        *,
        loss: float,
        lr: float,
        images: int,
        epoch: float | None = None,
        terms: Mapping[str, float] | None = None,
        outputs: Mapping[str, float] | None = None,
    ) -> None:
        """`iteration` iterations are done. `loss` is the smoothed one; `images` go into one iteration.

        `epoch` is how often the training images were seen, None where their number is not known. `terms` are the last
        values of the losses that no labels go into, by the blob's name, `outputs` those of the other outputs of one
        number.
        """

    def displayed(
        self, iteration: int, *, loss: float, lr: float, seconds: float, outputs: Mapping[str, float]
    ) -> None:
        """A line of the log was due: `loss` and `lr` as it says, `seconds` an iteration took, and the outputs of one
        number, by name."""

    def tested(self, net: int, scores: Mapping[str, float], iteration: int = 0) -> None:
        """Test net `net` gave these mean outputs at `iteration`."""
        self.scores[net] = dict(scores)

    def saved(self, state: str | Path) -> None:
        """A snapshot was written; `state` is its solver state."""
        self.snapshot = Path(state)

    def say(self, text: str) -> None:
        """Show `text` apart from the display."""

    def close(self) -> None:
        """The run is over."""
