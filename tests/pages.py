"""What stands in the code blocks of a page, and runs it. Which pages there are is not its business."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ITERATIONS = 4  # of each training: the page's own takes minutes
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
_RENAME = (
    f"for f in runs/*/*_iter_{ITERATIONS}.*; do"
    f" if [ -e $f ]; then for n in 400 800; do cp $f ${{f/_iter_{ITERATIONS}./_iter_$n.}}; done; fi; done"
)


class Block(NamedTuple):
    kind: str
    code: str
    why_not: str | None


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order, without those that show a file: an example is run as a file."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["kind"], m["code"], m["why"]) for m in found if not m["code"].startswith("--8<--")]


def prepare(folder: Path) -> None:
    """A folder as a reader has it: the clone's files, with trainings cut short, and weights as they end."""
    for name in ("examples", "tests", "reference_logs"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("quickstart", "quickstart_ssd", "quickstart_segmentation", "quickstart_taught"):
        shutil.copytree(ROOT / "prototxt" / name, folder / "prototxt" / name)
    for name in ("cifar100", "study"):
        (folder / "prototxt" / name).symlink_to(ROOT / "prototxt" / name)
    for solver in (folder / "prototxt").glob("quickstart*/solver_*.prototxt"):
        text = solver.read_text()
        text = re.sub(r"(?m)^max_iter: \d+", f"max_iter: {ITERATIONS}", text)
        solver.write_text(re.sub(r"(?m)^test_iter: \d+", "test_iter: 1", text))


def run(block: Block, folder: Path, environment: dict[str, str], python: str = sys.executable) -> None:
    """Run a block in `folder`; what fails is an AssertionError with its output."""
    if block.kind == "python":
        _run([python, "-c", block.code], folder, environment)
    else:  # a shortened run's snapshots get the names that pages know
        code = re.sub(r"(?m)^sdcaffe train .*$", lambda line: f"{line[0]}\n{_RENAME}", block.code)
        _run(["bash", "-eu", "-c", code], folder, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def environment() -> dict[str, str]:
    """The test's own, with this Python's `sdcaffe` first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
