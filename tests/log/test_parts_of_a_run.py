"""Parts of a run that show no iteration are parts of it all the same: their ends, resumes and snapshots count."""

from __future__ import annotations

import pytest

from sdcaffe.log import parse_log


def line(second: int, file: str, message: str) -> str:
    return f"I1128 10:00:{second:02d}.000000   100 {file}:1] {message}\n"


def part(second: int, *lines: str, at: int | None = None) -> str:
    """A start of the program at a second; it goes on from the snapshot of iteration `at`."""
    text = line(second, "solver.cpp", 'Initializing solver from parameters: \nnet: "n"')
    if at is not None:
        text += line(second, "caffe.cpp", f"Resuming from run_iter_{at}.solverstate")
    return text + "".join(lines)


def rows(second: int, *iterations: int) -> str:
    return "".join(line(second + i, "solver.cpp", f"Iteration {n}, loss = 0.5") for i, n in enumerate(iterations))


def saved(second: int, at: int) -> str:
    """A snapshot, as the log tells it."""
    return line(second, "solver.cpp", f"Snapshotting to binary proto file run_iter_{at}.caffemodel") + line(
        second, "sgd_solver.cpp", f"Snapshotting solver state to binary proto file run_iter_{at}.solverstate"
    )


DONE = line(30, "solver.cpp", "Optimization Done.")
STOPPED = line(30, "solver.cpp", "Optimization stopped early.") + DONE
FIRST = part(0, rows(1, 0, 1), saved(5, 2), DONE)

CHAINS = {
    "each finished, none but the first with a row": (
        FIRST + part(10, saved(11, 3), DONE, at=2) + part(20, saved(21, 4), DONE, at=3),
        ("finished", [2, 3], [2, 3, 4], [0, 1]),
    ),
    "the last killed before its first row": (FIRST + part(10, at=2), ("cut short", [2], [2], [0, 1])),
    "the last killed before it resumed": (FIRST + part(10), ("cut short", [], [2], [0, 1])),
    "a killed part between": (
        FIRST + part(10, at=2) + part(20, rows(21, 2, 3), saved(25, 4), DONE, at=2),
        ("finished", [2, 2], [2, 4], [0, 1, 2, 3]),
    ),
    "a part that died before it resumed, between": (
        FIRST + part(10) + part(20, rows(21, 2), saved(25, 3), DONE, at=2),
        ("finished", [2], [2, 3], [0, 1, 2]),
    ),
    "the last stopped before its first row": (
        FIRST + part(10, saved(11, 3), STOPPED, at=2), ("stopped", [2], [2, 3], [0, 1]),
    ),
    "iterations that are done again": (
        part(0, rows(1, 0, 1), saved(4, 2), rows(5, 2, 3)) + part(20, rows(21, 2, 3, 4), saved(25, 5), DONE, at=2),
        ("finished", [2], [2, 5], [0, 1, 2, 3, 4]),
    ),
    "a row that a part without rows does away with": (
        part(0, rows(1, 0, 1), saved(4, 2), rows(5, 2, 3)) + part(20, saved(25, 3), DONE, at=2),
        ("finished", [2], [2, 3], [0, 1]),
    ),
    "the first without a row": (
        part(0, saved(1, 2), DONE) + part(10, saved(11, 4), DONE, at=2), ("finished", [2], [2, 4], []),
    ),
    "a part that did nothing, behind a longer one": (
        part(0, rows(1, 0, 1), saved(4, 2), rows(5, 2, 3), saved(8, 4), DONE) + part(20, at=2),
        ("cut short", [2], [2, 4], [0, 1, 2, 3]),
    ),
    "begun anew": (FIRST + part(10, rows(11, 0), saved(15, 1), DONE), ("finished", [], [1], [0])),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_parts_are_joined(chain: str) -> None:
    text, told = CHAINS[chain]
    run = parse_log(text)
    snapshots = [snapshot.iteration for snapshot in run.snapshots]
    assert (run.end, run.resumes, snapshots, [row.iteration for row in run.train]) == told
    assert [row.seconds for row in run.train] == sorted(row.seconds for row in run.train)


@pytest.mark.parametrize("prefix", ["my runs/run", "/a b/c_iter_9.d/a run_iter_77.x", "run_iter_5"])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_prefix_may_have_spaces_and_numbers(chain: str, prefix: str) -> None:
    text, (end, resumes, snapshots, iterations) = CHAINS[chain]
    run = parse_log(text.replace("run_iter_", f"{prefix}_iter_"))
    assert (run.end, run.resumes) == (end, resumes)
    assert [snapshot.iteration for snapshot in run.snapshots] == snapshots
    assert [row.iteration for row in run.train] == iterations
    assert all(str(s.model).startswith(prefix) and str(s.state).startswith(prefix) for s in run.snapshots)


def test_the_name_of_an_output_may_have_spaces() -> None:
    named = line(2, "solver.cpp", "    Train net output #0: my loss = 0.5 (* 1 = 0.5 loss)")
    (row,) = parse_log(part(0, rows(1, 0), named)).train
    assert row.outputs == {"my loss": 0.5}
