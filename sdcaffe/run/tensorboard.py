"""Writes what a run reports as TensorBoard's events, and passes it on. Reads none."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcaffe.errors import SolverError, UsageError
from sdcaffe.log import Progress, accuracy, glog

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
    What a run that goes on does again takes the place of what was written before. What cannot be written, as on a full
    disk, does not end the run: that is said once. Raises SolverError for a folder that cannot be.
    """

    def __init__(self, progress: Progress, folder: Path) -> None:
        super().__init__()
        _check_place(folder)
        self._progress, self._folder = progress, folder
        self._writer: SummaryWriter | None = None
        self._failed = False

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
            with self._told():
                self._writer.close()

    def _write(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        if not self._failed:
            with self._told():
                self._add(group, values, iteration)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of a thread of TensorBoard's
            if not self._failed:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                place = "caffe.cpp:235"
                glog(place, f"{self._folder}: TensorBoard's events cannot be written: {reason}", logging.WARNING)
            self._failed = True

    def _add(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=iteration)
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, iteration)
        self._writer.flush()


def _check_place(folder: Path) -> None:
    """Raise SolverError where no such folder can be made. Makes none: the run may end before it has an event."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise SolverError("TensorBoard takes names of folders in UTF-8 alone", str(folder)) from None
    try:
        above = os.path.abspath(folder)
        while not _leads_to_folder(above):
            above = os.path.dirname(above)
    except OSError as error:
        raise SolverError(f"no folder for TensorBoard's events can be made: {error.strerror}", str(folder)) from None


def _leads_to_folder(path: str) -> bool:
    """False where nothing stands at `path`. Raises OSError for what is no folder, or a name that none has."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return True
