"""Starts a process for each device of this machine, as torchrun would, and ends them together. Trains nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVarTuple

import torch
import torch.distributed as dist

from sdcaffe.errors import Place, SdcaffeError, told
from sdcaffe.run import processes, starter
from sdcaffe.solver.devices import in_a_job, own_device

Given = TypeVarTuple("Given")

GRACE = 5.0  # seconds that the others have to end by themselves, once one has failed

_EVERY = 0.05  # seconds between two looks at whether one has ended

_HOST = "127.0.0.1"
_INTERRUPTED = 130
_LISTENING, _OUTCOME = "sdcaffe/listening", "sdcaffe/outcome"  # in the store: the root hears signals; what it returned
_SIGNALS = [signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def run(devices: list[str], function: Callable[[str | None, *Given], str | None], *args: *Given) -> str | None:
    """Call `function(device, *args)` in a process for each device, at once; here, for one device or none (None).

    Returns what it returned, in the first of several processes. In a process that torchrun started it is called here
    too, with this process's own device. `function` has to be importable and `args` picklable; it enters
    `processes.launched` itself. SIGINT and SIGHUP go on to the root, SIGTERM as SIGINT. Raises SdcaffeError with what
    the first process to fail said; the others are ended.
    """
    if len(devices) < 2 or in_a_job():
        return function(own_device(devices), *args)
    return _run_each(devices, function, args)


def environment(rank: int, world: int, store: dist.TCPStore) -> dict[str, str]:
    """The variables that torchrun gives its processes, for those of one machine; `store` is kept by who starts them."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def new_store() -> dist.TCPStore:
    """Where the processes of one machine meet, on a port that is free."""
    return dist.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)


def _run_each(devices: list[str], function: Callable[..., str | None], args: Sequence[Any]) -> str | None:
    store = new_store()
    every: list[subprocess.Popen[bytes]] = []
    with _ignored([*_SIGNALS, signal.SIGTERM]) as ours:  # and the processes begin so
        try:
            for rank in range(len(devices)):
                every.append(starter.start(rank, _work, (rank, devices, store.port, function, args)))
            for number, handler in ours.items():
                if handler is not signal.SIG_IGN:  # nohup
                    signal.signal(number, _forwarder(every[0], store))
            _until_all_ended_or_one_failed(every)
            failure = _failure(every, devices, store)
            if failure:
                _wait(every, GRACE)
        finally:
            _end(every)
    if failure:
        raise failure
    return store.get(_OUTCOME).decode() if store.check([_OUTCOME]) else None


@contextmanager
def _ignored(numbers: list[signal.Signals]) -> Iterator[dict[signal.Signals, Any]]:
    """Ignore signals while the context lasts; yields what handled them. Nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forwarder(root: subprocess.Popen[bytes], store: dist.TCPStore) -> Callable[[int, FrameType | None], None]:
    """To the root, which asks the others to stop with it; before there is one that listens, stop here."""

    def forward(number: int, frame: FrameType | None) -> None:
        if root.poll() is None and store.check([_LISTENING]):
            root.send_signal(signal.SIGINT if number == signal.SIGTERM else number)
        else:
            raise KeyboardInterrupt

    return forward


def _failure(every: list[subprocess.Popen[bytes]], devices: list[str], store: dist.TCPStore) -> BaseException | None:
    """What to raise; None where all did what they had to."""
    codes = [child.returncode or 0 for child in every]
    if not any(codes):
        return None
    if _INTERRUPTED in codes:
        return KeyboardInterrupt()
    for rank, code in enumerate(codes):
        if code < 0:
            return SdcaffeError(
                f"process {rank} of {len(every)} ({devices[rank]}) was killed by {signal.Signals(-code).name}, and the "
                "others were ended. The snapshots are as they were: go on from the last with --snapshot auto"
            )
    rank = next(rank for rank, code in enumerate(codes) if code)
    notes = processes.notes_in(store)
    if notes.check(["why"]):
        words, _, excerpt = notes.get("why").decode().partition("\n")
        return SdcaffeError(words, Place("", excerpt))
    return SdcaffeError(f"process {rank} of {len(every)} ({devices[rank]}) ended with exit code {codes[rank]}")


def _until_all_ended_or_one_failed(every: Sequence[subprocess.Popen[bytes]]) -> None:
    while None in (codes := [child.poll() for child in every]) and not any(codes):
        time.sleep(_EVERY)


def _wait(every: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(child.poll() is None for child in every) and time.monotonic() < end:
        time.sleep(_EVERY)


def _end(every: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in every:
        child.terminate()
    _wait(every, GRACE)
    for child in every:
        child.kill()
        starter.wait_for(child)


def _work(rank: int, devices: list[str], port: int, function: Callable[..., str | None], args: Sequence[Any]) -> None:
    """What each process runs. It ends, with a snapshot, when the one that started it is killed."""
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if rank == 0 else signal.SIG_IGN)
    world = len(devices)
    store = dist.TCPStore(_HOST, port, is_master=False)
    os.environ.update(environment(rank, world, store))
    torch.set_num_threads(max(1, torch.get_num_threads() // world))
    if rank == 0:
        store.set(_LISTENING, "")
    try:
        outcome = function(devices[rank], *args)
        if rank == 0 and outcome is not None:
            store.set(_OUTCOME, outcome)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        words = told(error)
        if words is None:
            traceback.print_exc()
        processes.notes_in(store).compare_set("why", "", words or f"process {rank} failed; see above")
        sys.exit(1)
