"""Starts processes of this program, and notices in them that what started them is gone.

The run then stops, with a snapshot. This is so from the beginning: torch takes seconds to come, on a busy machine a
minute, and comes after.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing import spawn
from typing import Literal, TypeVarTuple

from sdcaffe.errors import SdcaffeError

Given = TypeVarTuple("Given")

gone = threading.Event()  # set once what started this process is, or wants no more of it

_EVERY = 1.0  # seconds between two looks at whose child this process is
_SIZE = 8  # bytes of the length before each of the two parts that a process is sent
_MAIN = "import sys; sys.path[:] = {path!r}; from sdcaffe.run.starter import _main; _main({rank})"

_NOT_THERE = "Can't get attribute"  # how pickle begins of a function that cannot be imported

_heeds = False  # whether somebody asks, and so ends by itself
_begins = False  # whether this process is still on its way to its work


def start(
    rank: int, function: Callable[[*Given], None], args: tuple[*Given], keep: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Call `function(*args)`, which are importable and picklable, in a process of its own; it has a session of its own.

    As with multiprocessing's "spawn", the script of this process is imported there, under another name. The process
    keeps the file descriptors `keep`. Its standard input shows it that this process is gone, or calls `stop`; of those
    of several ranks the first says so. Raises SdcaffeError where such a process starts another while it imports that
    script, and OSError where the system has no room for one.
    """
    if _begins:
        raise SdcaffeError(
            'the script starts processes while they import it: what it does belongs under if __name__ == "__main__":'
        )
    code = _MAIN.format(path=[entry for entry in sys.path if isinstance(entry, str)], rank=rank)
    command = [*spawn.get_command_line()[:-2], code]  # without multiprocessing's own code, but with this one's flags
    preparation = spawn.get_preparation_data(f"process {rank}")
    preparation.pop("authkey", None)
    if not os.path.isfile(preparation.get("init_main_from_path", "")):  # a script on standard input
        preparation.pop("init_main_from_path", None)
    parts = pickle.dumps(preparation), pickle.dumps((function, args))
    child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=keep, start_new_session=True)
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, which its exit code tells
        child.stdin.write(b"".join(len(part).to_bytes(_SIZE) + part for part in parts))
        child.stdin.flush()
    return child


def stop(child: subprocess.Popen[bytes]) -> None:
    """Ask the solver of a process that `start` started to stop, with a snapshot; without a solver it ends."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has ended
        child.stdin.write(b"s")
        child.stdin.flush()


def wait_for(child: subprocess.Popen[bytes]) -> None:
    """Until a process that `start` started has ended; to one that has not, this one is gone."""
    with suppress(BrokenPipeError), child:
        pass


def asked() -> Literal["stop"] | None:
    """What a solver of this process is asked by what started it: to stop, once that is gone or calls `stop`."""
    global _heeds
    _heeds = True
    return "stop" if gone.is_set() else None


def _watch(until_gone: Callable[[], bool], rank: int) -> None:
    """Wait in the background for the end of what started this process; then tell the solver, or end without one.

    `until_gone` returns whether it is gone; otherwise it asks. A signal at the parent's death, as Linux can send it, is
    no substitute: it comes once for each of the parent's threads that ends, and a second SIGINT cuts a stop short.
    """

    def watching() -> None:
        is_gone = until_gone()
        if is_gone:
            _say_gone(rank)
        gone.set()
        if not _has_solver():
            os._exit(int(is_gone))

    threading.Thread(target=watching, daemon=True).start()


def _say_gone(rank: int) -> None:
    if rank == 0:
        with suppress(OSError, ValueError):  # nobody may be left to hear it
            print("sdcaffe: error: the process that started this one is gone; this run stops", file=sys.stderr)


def _main(rank: int) -> None:
    """What a process that `start` started runs first: it watches who started it, then does its work.

    What the work needs is brought in as it is unpacked.
    """
    global _begins
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which ends this process
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        preparation, work = _part(pipe), _part(pipe)
    except EOFError:
        _say_gone(rank)
        sys.exit(1)
    _watch(lambda: not os.read(pipe, 1), rank)
    _begins = True
    try:
        spawn.prepare(pickle.loads(preparation))
        function, args = pickle.loads(work)
    except (SdcaffeError, AttributeError) as error:
        if isinstance(error, AttributeError) and not str(error).startswith(_NOT_THERE):
            raise
        sys.exit(f"sdcaffe: error: {error}" if rank == 0 else 1)
    except SystemExit as end:  # the script's, before any work
        sys.exit(end.code or 1)
    _begins = False
    function(*args)


def _part(pipe: int) -> bytes:
    """The next of what a process is sent. Raises EOFError where the sender ended first."""
    return _read(pipe, int.from_bytes(_read(pipe, _SIZE)))


def _read(pipe: int, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        more = os.read(pipe, size - len(read))
        if not more:
            raise EOFError
        read += more
    return bytes(read)


def _has_solver() -> bool:
    """Whether there may be a solver that can be asked to stop."""
    if _heeds:
        return True
    distributed = sys.modules.get("torch.distributed")
    ready = getattr(distributed, "is_initialized", None)  # missing while it is imported
    return ready is not None and bool(ready())


def watch_torchrun() -> None:
    """Watch torchrun, where that started this process. Raises SdcaffeError where it is gone already."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid()

    def until_gone() -> bool:
        while os.getppid() == parent:
            time.sleep(_EVERY)
        return True

    _watch(until_gone, int(os.environ["RANK"]))
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
