"""Commands in forks of a process that has imported all of it: a start takes milliseconds, so that many can be killed.

A fork runs `main` of the command line as a program of its own does. What it says goes to a file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import NoReturn


class Forks:
    """The process that commands are forked from, which has run `first` itself, for what that imports.

    `said`: the file of what the last command said.
    """

    def __init__(self, said: str, first: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, said, json.dumps(first)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # a fork has none of the other threads
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._answer() == "ready"

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, command: list[str], seconds: float | None = None) -> int | None:
        """The exit code of a command; None where it was still running after `seconds` and was killed with SIGKILL."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        pid = int(self._answer())
        if seconds is not None and not select.select([self._process.stdout], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        code = int(self._answer())
        return None if code == -signal.SIGKILL else code

    def timed(self, command: list[str]) -> float:
        """The seconds that a command takes, which has to do its work."""
        begin = time.monotonic()
        assert self.run(command) == 0
        return time.monotonic() - begin

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _serve(said: str, first: list[str]) -> None:
    from sdcaffe.cli import main

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    _say_to(said)
    assert main(first) == 0
    answers.write("ready\n")
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            _run(json.loads(line), said)
        answers.write(f"{child}\n")
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


def _run(command: list[str], said: str) -> NoReturn:
    """What a fork does: the command, as if it had been started for it."""
    from sdcaffe.cli import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _say_to(said)
    code = 1
    try:
        code = main(command)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say_to(file: str) -> None:
    output = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]))
