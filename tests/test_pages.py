"""The pages say what is there: commands and Python run, files exist, what is written from code is current."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from pages import ITERATIONS, ROOT, Block, blocks, prepare, run
from PIL import Image
from warm_commands import WarmCommands

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "commands.md"]
RUN = ("sh", "python")


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = _loaded(ROOT / "docs" / "write_commands.py")


def test_every_page_has_its_place_in_the_site():
    listed = re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("nav:")[2])
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_the_page_of_commands_is_what_the_parsers_say():
    assert WRITER.PAGE.read_text() == WRITER.page(), "run `python docs/write_commands.py`"


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.kind in RUN and not b.why_not for b in blocks(p))], ids=str)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path, warm: WarmCommands):
    prepare(tmp_path)
    Image.new("RGB", (32, 32), (200, 10, 60)).save(tmp_path / "picture.png")
    for block in blocks(page):
        if block.kind in RUN and not block.why_not:
            run(block, tmp_path, warm.environment, warm.python)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    for name in set(
        re.findall(r"(?<![\w./-])(?:prototxt|tests|docs|sdcaffe|converters|examples)/[\w/.-]+\w(?![\w<*{])", text)
    ):
        assert (ROOT / name).exists() or list(ROOT.glob(name + ".*")), name
    for target in re.findall(r"\]\(([\w/.-]+\.md)", text):
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs_as_its_first_lines_say(example: Path, tmp_path: Path, warm: WarmCommands):
    prepare(tmp_path)
    text = example.read_text()
    commands = textwrap.dedent(text.split('"""')[1].rpartition("\n\n")[2])
    assert "sdcaffe " in commands or f"examples/{example.name}" in commands
    run(
        Block("sh", re.sub(r"\.py (400|200)\b", f".py {ITERATIONS}", commands).replace(" 64", " 4"), None),
        tmp_path,
        warm.environment,
    )
    assert len(text.splitlines()) <= 60


def test_examples_are_on_their_page():
    page = (ROOT / "docs" / "examples.md").read_text()
    assert all(f"examples/{path.name}" in page for path in (ROOT / "examples").glob("*.py"))


def test_a_flag_that_takes_a_value_says_what_holds_without_it():
    for command in WRITER.every_command():
        for flag in command.flags:
            assert flag.help, (command.name, flag.option_strings)
            if flag.option_strings and flag.nargs != 0 and not flag.required:
                assert "default" in flag.help, (command.name, flag.option_strings, flag.help)
