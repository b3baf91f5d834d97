"""Writes what a run reports as TensorBoard's events, and passes it on. Reads none."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcaffe.errors import UsageError
from sdcaffe.log import Progress, accuracy

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_installed() -> None:
    """Raise UsageError where TensorBoard is not there."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError('writing for TensorBoard needs the package tensorboard: pip install "sdcaffe[tensorboard]"')


class Board(Progress):
    """Writes to `folder` and passes everything on to `progress`.

    At each display of the solver: the net's outputs by name, as `train/kl`, `train/smoothed_loss`, `train/lr` and
    `train/seconds_per_iteration`. At each test of net k: its scores, as `test_0/accuracy`, and `test_0/error_percent`.
    What a run that goes on does again takes the place of what was written before.
    """

    def __init__(self, progress: Progress, folder: Path) -> None:
        super().__init__()
        self._progress, self._folder = progress, folder
        self._writer: SummaryWriter | None = None

    def due(self) -> bool:
        return self._progress.due()

    def update(self, iteration: int, max_iter: int, **seen: Any) -> None:
        self._progress.update(iteration, max_iter, **seen)

    def displayed(
        self, iteration: int, *, loss: float, lr: float, seconds: float, outputs: Mapping[str, float]
    ) -> None:
        own = {"smoothed_loss": loss, "lr": lr, "seconds_per_iteration": seconds}
        self._write("train", {**outputs, **own}, iteration)
        self._progress.displayed(iteration, loss=loss, lr=lr, seconds=seconds, outputs=outputs)

    def tested(self, net: int, scores: Mapping[str, float], iteration: int = 0) -> None:
        super().tested(net, scores, iteration)
        value = accuracy(scores)
        error = {} if value is None else {"error_percent": 100 * (1 - value)}
        self._write(f"test_{net}", {**scores, **error}, iteration)
        self._progress.tested(net, scores, iteration)

    def saved(self, state: str | Path) -> None:
        super().saved(state)
        self._progress.saved(state)

    def say(self, text: str) -> None:
        self._progress.say(text)

    def close(self) -> None:
        """Write what is left; `progress` is closed by whoever made it."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=iteration)
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, iteration)
        self._writer.flush()
