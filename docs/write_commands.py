"""Writes commands.md from the parsers of the command line, none of which it knows by name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from sdcaffe import commands
from sdcaffe.flags import Parser

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

Each command takes `--help`. Flags may be written as Caffe's programs take them: `-solver FILE`, `--sighup_effect=stop`.
The exit code is 0 when done, 1 for a failure and 2 for flags that make no command. An error is one line.
"""


class Command(NamedTuple):
    """One command: its whole name, its module and the flags it shows."""

    name: str
    module: ModuleType
    flags: list[argparse.Action]


def page() -> str:
    """The whole of commands.md."""
    return "\n".join([HEAD, *map(_section, every_command())])


def every_command(group: str = commands.__name__, program: str = "sdcaffe") -> Iterator[Command]:
    """The commands of a group and of the groups inside it, in alphabetic order."""
    for name in commands.names(group):
        module = commands.load(name, group)
        if commands.is_group(module):
            yield from every_command(module.__name__, f"{program} {name}")
        else:
            parser = Parser(f"{program} {name}", None)
            module.add_flags(parser)
            yield Command(f"{program} {name}", module, parser.shown())


def _section(command: Command) -> str:
    first_line = commands.first_line(command.module)
    lines = [f"## {command.name}", "", first_line, "", "```sh", command.module.EXAMPLE, "```", ""]
    if command.flags:
        rows = [f"| {_names(flag)} | {_text(flag.help)} |" for flag in command.flags]
        lines += ["| flag | what it says |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _names(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else "|".join(map(str, action.choices or [action.dest.upper()])))
    names = [f"{name} {value}".strip() for name in action.option_strings] or [str(value)]
    return ", ".join(f"<code>{_text(name)}</code>" for name in names)


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "&#124;").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
