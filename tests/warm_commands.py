"""`sdcaffe` and `python` as programs that begin in milliseconds: each is a fork of a process that has imported it all.

For tests of many commands. What they see is what a program of its own sees: arguments, folder, environment, streams,
exit code. Where a start itself is tested, and for signals, a program is started.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect({door!r})
    command = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)])
    socket.send_fds(door, [command.encode() + b"\\n"], [0, 1, 2])
    code = door.recv(8)
os._exit(int(code or 255))
"""


class WarmCommands:
    """`environment` with a folder first on its PATH whose `sdcaffe` and `python` are forks, while the context lasts."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        door = folder / "door"
        for name in ("sdcaffe", "python"):
            program = folder / name
            program.write_text(_CLIENT.format(python=sys.executable, door=str(door), name=name))
            program.chmod(0o755)
        self.python = str(folder / "python")
        self.environment = environment | {"PATH": f"{folder}{os.pathsep}{environment['PATH']}"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(door)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __enter__(self) -> WarmCommands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()


def _serve(path: str) -> None:
    import onnxruntime  # noqa: F401
    import torchvision.io  # noqa: F401

    import sdcaffe
    from sdcaffe import cli  # noqa: F401

    sdcaffe.Net  # noqa: B018
    sdcaffe.discover()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
        while True:
            asked, _ = door.accept()
            if not os.fork():
                door.close()
                _answer(asked)
            asked.close()


def _answer(asked: socket.socket) -> NoReturn:
    """Runs one command in a fork, and says its exit code when it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(asked, 1 << 16, 3)
    while not message.endswith(b"\n"):
        message += asked.recv(1 << 16)
    child = os.fork()
    if not child:
        asked.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(*json.loads(message))
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    asked.sendall(str(code % 256).encode())
    os._exit(0)


def _run(name: str, arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code: object = 1
    try:
        code = _sdcaffe(arguments) if name == "sdcaffe" else _python(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _sdcaffe(arguments: list[str]) -> int:
    from sdcaffe.cli import main

    sys.argv = ["sdcaffe", *arguments]
    return main()


def _python(arguments: list[str]) -> None:
    """`python -c CODE`, `python -m MODULE` or `python FILE`, with what it is given."""
    kind = arguments[0]
    if kind == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), main.__dict__)
    elif kind == "-m":
        sys.argv, sys.path[0] = arguments[1:], os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1])
