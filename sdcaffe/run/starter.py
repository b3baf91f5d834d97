"""Notices that what started this process is gone: the run then stops, with a snapshot. Ends no other process.

Does so from the beginning: torch takes seconds to come, on a busy machine a minute, and comes after.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Literal

from sdcaffe.errors import SdcaffeError

gone = threading.Event()  # set once it is

_EVERY = 1.0  # seconds between two looks at whose child this process is


def asked() -> Literal["stop"] | None:
    """What a solver of this process is asked by what started it: to stop, once that is gone."""
    return "stop" if gone.is_set() else None


def watch(until_gone: Callable[[], object], rank: int) -> None:
    """Wait in the background for the end of what started this process; then tell the solver, or end without one.

    A signal at the parent's death, as Linux can send it, is no substitute: it comes once for each of the parent's
    threads that ends, and a second SIGINT cuts a stop short.
    """

    def watching() -> None:
        until_gone()
        if rank == 0:
            print("sdcaffe: error: the process that started this one is gone; this run stops", file=sys.stderr)
        gone.set()
        if not _has_solver():
            os._exit(1)

    threading.Thread(target=watching, daemon=True).start()


def begin(rank: int, work: bytes) -> None:
    """What a process of several runs first: it watches who started it, then does `work`, a function and its arguments.

    They come packed, by `packed`: what they need is brought in as they are unpacked.
    """
    os.setsid()  # the terminal's Ctrl-C goes to the one that started this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which ends this process
    parent = multiprocessing.parent_process()
    assert parent is not None
    watch(parent.join, rank)
    function, args = ForkingPickler.loads(work)
    function(*args)


def packed(function: Callable[..., None], args: tuple[object, ...]) -> bytes:
    """Work for `begin`."""
    return bytes(ForkingPickler.dumps((function, args)))


def _has_solver() -> bool:
    """Whether there may be a solver that can be asked to stop."""
    distributed = sys.modules.get("torch.distributed")
    ready = getattr(distributed, "is_initialized", None)  # missing while it is imported
    return ready is not None and bool(ready())


def watch_torchrun() -> None:
    """`watch` torchrun, where that started this process. Raises SdcaffeError where it is gone already."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid()

    def until_gone() -> None:
        while os.getppid() == parent:
            time.sleep(_EVERY)

    watch(until_gone, int(os.environ["RANK"]))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # else it is these processes that keep the store
        try:
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            socket.create_connection(address, timeout=30).close()
        except ConnectionRefusedError:
            if int(os.environ["RANK"]) > 0:  # the first says it
                sys.exit(1)
            raise SdcaffeError("torchrun, which started this process, is gone") from None
        except OSError:  # slow or out of reach: who joins waits longer, and says more
            pass
