"""Writes commands.md from the parsers of the command line, none of which it knows by name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sdcaffe import commands
from sdcaffe.flags import Parser

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

Each command takes `--help`. Flags may be written as Caffe's programs take them: `-solver FILE`, `--sighup_effect=stop`.
The exit code is 0 when done, 1 for a failure and 2 for flags that make no command. An error is one line.
"""


def page() -> str:
    """The whole of commands.md."""
    return "\n".join([HEAD, *_group(commands.__name__, "sdcaffe")])


def _group(group: str, program: str) -> Iterator[str]:
    for name in commands.names(group):
        module = commands.load(name, group)
        if commands.is_group(module):
            yield from _group(module.__name__, f"{program} {name}")
        else:
            yield _command(module, f"{program} {name}")


def _command(module: ModuleType, program: str) -> str:
    parser = Parser(program, commands.first_line(module))
    module.add_flags(parser)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    lines = [f"## {program}", "", commands.first_line(module), "", "```sh", module.EXAMPLE, "```", ""]
    if shown:
        rows = [f"| {_names(action)} | {_text(action.help)} |" for action in shown]
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
