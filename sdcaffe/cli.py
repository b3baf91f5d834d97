"""The command line: picks the command and turns its errors into a few words and an exit code.

An error is one line, and for a mistake in a prototxt the line of the file below it, with a caret. 0 done, 1 failed,
2 not a command. What each command does stands in its module of `commands`.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from sdcaffe import commands, terminal
from sdcaffe.errors import SdcaffeError, nearest, told
from sdcaffe.flags import Parser, UsageError

_HELP = ("-h", "-help", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the program's own) hold; returns the exit code."""
    with terminal.guarded(), _terminated_as_interrupted():
        return _guarded(list(sys.argv[1:] if arguments is None else arguments))


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that nothing half written stays."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _guarded(arguments: list[str]) -> int:
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("sdcaffe."):
            raise
        print(f"sdcaffe: error: this command needs {error.name}, which is not installed here", file=sys.stderr)
        return 1
    except (SdcaffeError, KeyboardInterrupt, OSError, MemoryError, RuntimeError, ImportError) as error:
        words = told(error)
        if words is None:
            raise
        print(f"sdcaffe: error: {words}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _run(arguments: list[str]) -> int:
    if any("\0" in argument for argument in arguments):
        raise UsageError("an argument has a zero byte: no file and no name has one")
    if not arguments or arguments[0] in _HELP:
        print(_overview(commands, "sdcaffe"))
        return 0 if arguments else 2
    if arguments[0] in ("-version", "--version"):
        from sdcaffe import __version__

        print(f"sdcaffe {__version__}")
        return 0
    return _command(arguments, commands.__name__, "sdcaffe")


def _command(arguments: list[str], group: str, program: str) -> int:
    """Run the command of a group that `arguments` open with; `program` is what was typed before them."""
    name = arguments[0].replace("_", "-")
    known = commands.names(group)
    if name not in known:
        near = nearest(name, known)
        hint = f'Did you mean "{near}"?' if near else f"There are: {', '.join(known)}."
        raise UsageError(f'unknown command "{" ".join([*program.split()[1:], arguments[0]])}". {hint}')
    module = commands.load(name, group)
    program, rest = f"{program} {name}", arguments[1:]
    if commands.is_group(module):
        if rest and rest[0] not in _HELP:
            return _command(rest, module.__name__, program)
        print(_overview(module, program))
        return 0 if rest else 2
    parser = Parser(program, commands.first_line(module), f"example:\n  {module.EXAMPLE}")
    module.add_flags(parser)
    try:
        args = parser.read(rest)
    except SystemExit as end:  # --help
        return int(end.code or 0)
    if getattr(args, "fork", None) is None:
        return module.run(args) or 0
    from sdcaffe.proto.dialects import read_as

    with read_as(args.fork):
        return module.run(args) or 0


def _overview(group: ModuleType, program: str) -> str:
    about = "Train and use Caffe networks." if group is commands else commands.first_line(group)
    lines = [f"usage: {program} COMMAND [FLAGS]", "", about, "", "commands:"]
    for name in commands.names(group.__name__):
        lines.append(f"  {name:20s} {commands.first_line(commands.load(name, group.__name__))}")
    version = "; sdcaffe --version the version" if group is commands else ""
    lines += ["", f"{program} COMMAND --help shows the flags of a command{version}."]
    return "\n".join(lines)
