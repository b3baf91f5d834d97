"""The command line: picks the command and turns its errors into a line and an exit code.

0 done, 1 failed, 2 not a command. What each command does stands in its module of `commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sdcaffe import commands
from sdcaffe.errors import SdcaffeError, nearest
from sdcaffe.flags import Parser, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the program's own) hold; returns the exit code."""
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        return _fail(str(error), 2)
    except SdcaffeError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    except OSError as error:
        if error.errno is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "-help", "--help", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-version", "--version"):
        from sdcaffe import __version__

        print(f"sdcaffe {__version__}")
        return 0
    name = arguments[0].replace("_", "-")
    if name not in commands.names():
        near = nearest(name, commands.names())
        known = f'Did you mean "{near}"?' if near else f"There are: {', '.join(commands.names())}."
        raise UsageError(f'unknown command "{arguments[0]}". {known}')
    module = commands.load(name)
    parser = Parser(f"sdcaffe {name}", commands.first_line(module), f"example:\n  {module.EXAMPLE}")
    module.add_flags(parser)
    try:
        args = parser.read(arguments[1:])
    except SystemExit as end:  # --help
        return int(end.code or 0)
    return module.run(args) or 0


def _overview() -> str:
    lines = ["usage: sdcaffe COMMAND [FLAGS]", "", "Train and use Caffe networks.", "", "commands:"]
    for name in commands.names():
        lines.append(f"  {name:20s} {commands.first_line(commands.load(name))}")
    lines += ["", "sdcaffe COMMAND --help shows the flags of a command; sdcaffe --version the version."]
    return "\n".join(lines)


def _fail(message: str, code: int = 1) -> int:
    """One line on standard error, whatever the message holds."""
    print("sdcaffe: error: " + " ".join(message.split("\n")), file=sys.stderr)
    return code
