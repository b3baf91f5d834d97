from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from sdcaffe.log import Progress, glog
from sdcaffe.run.progress import LiveProgress, Screen, bar, shown
from sdcaffe.run.view import View, lines, shortened


class Terminal(io.StringIO):
    """A terminal wide enough for the display; `screen` is its text without control codes."""

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal()


def test_a_display_of_loss_rate_speed_time_left_and_accuracy(terminal: Terminal) -> None:
    seconds = [0.0]
    progress = LiveProgress(Screen(terminal), clock=lambda: seconds[0])
    progress.update(100, 1000, loss=4.60517, lr=0.1, images=64)
    progress.tested(0, {"accuracy": 0.625, "loss": 1.5})
    seconds[0] = 10.0
    progress.update(150, 1000, loss=2.302585, lr=0.01, images=64, epoch=9.6)  # 5 iterations a second, 850 to go
    progress.close()
    assert "iteration 100/1000" in terminal.screen
    assert "loss 4.605  lr 0.1" in terminal.screen
    assert re.search(
        r"iteration 150/1000  ━+─+  epoch 9.6  320 images/s  0:02:50 left  5 iterations/s", terminal.screen
    )
    assert "loss 2.303  test accuracy 62.50%  lr 0.01  best 62.50%  test loss 1.5" in terminal.screen


VIEW = View(
    156250,
    156250,
    loss=2.30258,
    lr=0.00032,
    images=128,
    epoch=399.9,
    terms={"kl": 0.0123456, "mmd": 0.00041234},
    outputs={"loss_a": 1.9, "loss_b": 1.8},
    scores={"accuracy": 0.6512, "loss": 1.25},
    best=0.7,
    rate=96.5,
    left=45296,
    elapsed=3600,
)
MATTERS = ["iteration 156250/156250", "epoch 399.9", "loss 2.303", "kl 0.01235", "mmd 0.0004123"]
MATTERS += ["test accuracy 65.12%", "lr 0.00032", "12352 images/s", "12:34:56 left"]


@pytest.mark.parametrize(("width", "rows"), [(40, 4), (60, 4), (80, 2), (120, 2), (200, 2)])
@pytest.mark.parametrize("name", ["", "self_distilled_lambda0.5_temperature2_seed1"])
def test_nothing_that_matters_is_cut(width: int, rows: int, name: str) -> None:
    found = lines(VIEW, name, width, 23)
    assert max(map(len, found)) <= width
    assert [text for text in MATTERS if text not in "\n".join(found)] == []
    assert len(found) <= rows + bool(name)


def test_wide_terminals_show_more() -> None:
    narrow, wide = ("\n".join(lines(VIEW, "", width, 50)) for width in (80, 200))
    for text in ("loss_a 1.9", "loss_b 1.8", "test loss 1.25", "1:00:00 so far", "96.5 iterations/s", "best 70.00%"):
        assert text in wide
        assert text not in narrow


def test_where_rows_are_few_the_place_and_the_losses_come_first() -> None:
    assert lines(VIEW, "a_seed1", 80, 1) == ["a_seed1  iteration 156250/156250  epoch 399.9  loss 2.303  kl 0.01235"]


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("self_distilled_seed1", 12) == "...led_seed1"


def test_runs_share_a_screen_that_stays_until_the_last_is_over(terminal: Terminal, tmp_path: Path) -> None:
    screen = Screen(terminal)
    with shown(tmp_path / "b.log", terminal, run="b_seed2", screen=screen) as second:
        with shown(tmp_path / "a.log", terminal, run="a_seed1", screen=screen) as first:
            first.update(3, 10, loss=1.5, lr=1, images=1)
            second.update(4, 10, loss=2.5, lr=1, images=1)
            first.say("careful")
        assert "\x1b[?25h" not in terminal.getvalue()  # the cursor comes back with the end of the display
        second.update(5, 10, loss=2.25, lr=1, images=1)
    assert terminal.getvalue().count("\x1b[?25h") == 1
    last = terminal.screen[terminal.screen.rindex("a_seed1") :]
    assert re.match(r"a_seed1  iteration 3/10 .*\n.*loss 1.5 .*\n.*b_seed2  iteration 5/10 .*\n.*loss 2.25 ", last)


def test_a_solver_is_asked_for_its_loss_four_times_a_second(terminal: Terminal) -> None:
    seconds = [0.0]
    progress = LiveProgress(Screen(terminal), clock=lambda: seconds[0])
    assert progress.due()
    progress.update(1, 10, loss=1, lr=1, images=1)
    seconds[0] = 0.2
    assert not progress.due()
    seconds[0] = 0.3
    assert progress.due()
    progress.close()


def test_without_a_terminal_no_loss_is_asked_for_but_scores_and_snapshot_are_kept() -> None:
    with shown(stream=io.StringIO()) as progress:
        assert not progress.due()
        progress.tested(1, {"accuracy": 0.5})
        progress.saved("tiny_iter_15.solverstate")
    assert type(progress) is Progress
    assert progress.scores == {1: {"accuracy": 0.5}}
    assert progress.snapshot == Path("tiny_iter_15.solverstate")


def test_a_terminal_shows_warnings_but_no_scrolling_lines(terminal: Terminal, tmp_path: Path) -> None:
    with shown(tmp_path / "tiny.log", terminal) as progress:
        glog("solver.cpp:289", "Solving tiny")
        progress.update(1, 10, loss=1, lr=1, images=1)
        glog("snapshot.py:1", "Passing over a broken [bold]snapshot[/bold]", level=30)
    assert "Solving" not in terminal.screen
    assert "Passing over a broken [bold]snapshot[/bold]" in terminal.screen
    assert "1/10" in terminal.screen
    assert "Solving tiny" in (tmp_path / "tiny.log").read_text()


def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with shown(stream=terminal):
        glog("solver.cpp:289", "Solving tiny")
    assert terminal.getvalue().endswith("solver.cpp:289] Solving tiny\n")


def test_a_bar_counts_at_the_foot_of_a_terminal(terminal: Terminal) -> None:
    seconds = [0.0]
    with bar("images [n]", terminal, clock=lambda: seconds[0]) as tick:
        for done in (1, 2, 3):
            tick(done, 400)
        seconds[0] = 1.0
        tick(150, 400)
        tick(400, 400)
    assert "images [n]" in terminal.screen
    assert [f"{n}/400" in terminal.screen for n in (1, 2, 3, 150, 400)] == [True, False, False, True, True]


def test_a_bar_is_silent_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with bar("images", stream) as tick:
        tick(1, 2)
    assert stream.getvalue() == ""
