"""The runs of the published tables, one after the other or several at once, each in a process of its own.

Locks share the runs out.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, suppress
from multiprocessing import connection

import torch

from sdcaffe import layers
from sdcaffe.errors import SdcaffeError
from sdcaffe.paper.reproduce.jobs import Job
from sdcaffe.paper.reproduce.training import Limit, seconds_left, train_all
from sdcaffe.run import starter
from sdcaffe.tools.step_times import StepTime

_LOOK = 0.2  # seconds between looks at the limit
_PROCESS = 1 << 29  # bytes of a GPU that a process takes besides its run
_MOST_FAILED = 255  # that an exit code can tell
_ROOM = 0.9  # of a GPU's free memory that runs may fill


def fitting(jobs: Sequence[Job], times: dict[str, StepTime], wanted: int, device: str | None) -> int:
    """How many runs go at once, of those wanted: a processor core each; on a GPU, as many as its memory holds.

    On a GPU that is known of nets that were measured; of others, one run at a time is taken to fit.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return max(1, min(wanted, os.cpu_count() or 1))
    memory = [times[job.param.net].memory for job in jobs if not job.done and job.param.net in times]
    if not memory or not all(memory):
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(wanted, int(_ROOM * free) // (max(memory) + _PROCESS)))


def run_all(
    jobs: Iterable[Job],
    times: dict[str, StepTime],
    limit: Limit,
    device: str | None = None,
    say: Callable[[str], None] = print,
    *,
    workers: int = 1,
    go_on: str = "the same command",
) -> None:
    """Train what is not done until all is done or the limit is reached: of what can start, the first seed's cheapest.

    So every row has its first seed before one has its second. A run that fails is told and the others go on. Of several
    `workers`, each is a process of its own. `go_on` is the command that goes on. Raises SdcaffeError at the end if any
    failed or none could run.
    """
    todo = [job for job in jobs if not job.done and seconds_left(job, times) is not None]
    if not todo and any(not job.done for job in jobs):
        raise SdcaffeError("none of these runs can be made here")
    if workers > 1:
        failed = train(todo, times, limit, device, say, workers)
    else:
        failed = train_all(todo, times, limit, device, say)
    if limit.reached:
        say(f"stopped; to go on: {go_on}")
    if failed:
        raise SdcaffeError(f"{failed} runs failed: see above")


def train(
    todo: Sequence[Job],
    times: dict[str, StepTime],
    limit: Limit,
    device: str | None,
    say: Callable[[str], None],
    workers: int,
) -> int:
    """Train in `workers` processes; how many runs failed. A limit that is reached stops them all, with snapshots."""
    threads = max(1, torch.get_num_threads() // workers)
    pipes: list[connection.Connection[str, str]] = []
    processes: list[subprocess.Popen[bytes]] = []
    stopped = False
    try:
        for rank in range(workers):
            here, there = multiprocessing.Pipe(duplex=False)
            arguments = (pickle.dumps(list(todo)), times, device, threads, there.fileno())
            processes.append(starter.start(rank, _work, arguments, keep=[there.fileno()]))
            there.close()
            pipes.append(here)
        while pipes:
            ready = connection.wait(pipes, _LOOK)
            for pipe in [pipe for pipe in pipes if pipe in ready]:
                try:
                    say(pipe.recv())
                except EOFError:  # it has ended
                    pipes.remove(pipe)
            if not stopped and limit.check() == "stop":
                stopped = True
                for process in processes:
                    starter.stop(process)
    finally:
        for process in processes:
            starter.stop(process)
        for process in processes:
            starter.wait_for(process)
    return sum(process.returncode if process.returncode > 0 else process.returncode < 0 for process in processes)


def _work(jobs: bytes, times: dict[str, StepTime], device: str | None, threads: int, pipe: int) -> None:
    """One process, of the pickled Jobs: what it does goes into the pipe; it exits with how many of its runs failed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the process that began this one hears them, and asks
        signal.signal(number, signal.SIG_IGN)
    layers.discover()
    todo: list[Job] = pickle.loads(jobs)  # after the fields of the layers that were found
    torch.set_num_threads(threads)
    parent: connection.Connection[str, str] = connection.Connection(pipe, readable=False)

    def say(text: str) -> None:
        with suppress(BrokenPipeError):  # nobody is left to hear it
            parent.send(text)

    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):  # a run's lines are in its log
        failed = train_all(todo, times, Limit(asked=starter.asked), device, say)
    sys.exit(min(failed, _MOST_FAILED))
