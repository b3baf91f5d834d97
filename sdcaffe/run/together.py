"""Several runs in one process, by turns: each computes what it would compute alone. What they do is not its business.

A process has one logger, one generator of random numbers, one way of rounding products. A run sets them as if it were
alone; between two of its turns they are put away for it, and those of the next run are put in their place. So the lines
of a run reach its own log only, and its draws do not depend on the others.

On a GPU each has a stream, so that their kernels run at once; nobody waits for the device but a run that asks for a
value, and whoever is far ahead of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import torch

from sdcaffe import log
from sdcaffe.errors import SdcaffeError
from sdcaffe.net import precision

AHEAD = 8  # turns that a run may be ahead of its GPU: enough to keep it busy while another run looks at its loss

Result = TypeVar("Result")


class Run(Generic[Result]):
    """A run that goes on a little each time: `turns`, such as `Solver.turns`, and what it returns at its end, `result`.

    What of the process a run changes and reads is its own: torch's generators, which begin as they are when the Run
    is made, where the log goes, and how products are rounded. A run on CUDA has a stream as well. numpy's and Python's
    global generators are everybody's.
    """

    result: Result

    def __init__(self, name: str, turns: Generator[None, None, Result], device: torch.device) -> None:
        self.name, self._turns = name, turns
        self._state = _ProcessState()
        self._gpu = _Gpu(device) if device.type == "cuda" else None

    def ready(self) -> bool:
        """Whether the device keeps up with what it was given."""
        return self._gpu is None or self._gpu.keeps_up()

    def wait(self) -> None:
        """Until the device has finished the oldest turn that it has not."""
        if self._gpu is not None:
            self._gpu.wait()

    def turn(self) -> bool:
        """Go on; whether there is more to do. Raises what the run raises: it is over then."""
        with self._in_its_place():
            try:
                next(self._turns)
            except StopIteration as end:
                self.result = end.value
                return False
            return True

    def end(self, error: BaseException) -> None:
        """Let the run end as if `error` had happened in it."""
        with self._in_its_place():
            try:
                self._turns.throw(error)
            except BaseException as raised:
                if raised is not error:
                    raise

    @contextmanager
    def _in_its_place(self) -> Iterator[None]:
        self._state.put_in_place()
        try:
            with nullcontext() if self._gpu is None else self._gpu.turn():
                yield
        finally:
            self._state.put_away()


class _ProcessState:
    """What of the process a run sets as if it were alone: as it was when last put away. A GPU's is `_Gpu`'s."""

    def __init__(self) -> None:
        self.put_away()

    def put_away(self) -> None:
        """Remember what holds now, at the end of a turn."""
        self._generator = torch.get_rng_state()
        self._log = log.destination()
        self._rounding = precision.rounding()

    def put_in_place(self) -> None:
        """Let it hold again, at the begin of the next."""
        torch.set_rng_state(self._generator)
        log.redirect(self._log)
        precision.round_as(self._rounding)


class _Gpu:
    """A run's stream and generator. A recorded graph draws from the very state that it was recorded with."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        self._stream = torch.cuda.Stream(index)
        self._default: Any = torch.cuda.default_generators[index]
        self._own = self._default.clone_state()
        self._behind: deque[torch.cuda.Event] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        everybodys = self._default.graphsafe_get_state()
        self._default.graphsafe_set_state(self._own)
        try:
            with torch.cuda.stream(self._stream):
                yield
                self._behind.append(self._stream.record_event())
        finally:
            self._own = self._default.graphsafe_get_state()
            self._default.graphsafe_set_state(everybodys)

    def keeps_up(self) -> bool:
        while self._behind and self._behind[0].query():
            self._behind.popleft()
        return len(self._behind) < AHEAD

    def wait(self) -> None:
        self._behind[0].synchronize()


def begin(runs: Sequence[Run[Result]]) -> None:
    """Let each run take its first turn. What one raises ends all of them, and is raised, with the run's name."""
    everybodys, begun = _ProcessState(), list[Run[Result]]()
    try:
        for run in runs:
            begun.append(run)
            run.turn()
    except BaseException as error:
        if isinstance(error, SdcaffeError):
            error.where = error.where or begun[-1].name
        for run in begun[:-1]:
            run.end(error)
        raise
    finally:
        everybodys.put_in_place()


def take_turns(runs: Sequence[Run[Result]], failed: Callable[[Run[Result], Exception], None]) -> None:
    """Let all runs go on in turns until each is over. One that raises an error is told to `failed`; the others go on.

    KeyboardInterrupt ends all of them.
    """
    everybodys = _ProcessState()
    left = list(runs)
    try:
        while left:
            able = [run for run in left if run.ready()]
            if not able:
                left[0].wait()
            for run in able:
                try:
                    more = run.turn()
                except Exception as error:
                    more = False
                    failed(run, error)
                if not more:
                    left.remove(run)
    except BaseException as error:
        for run in left:
            run.end(error)
        raise
    finally:
        everybodys.put_in_place()
