from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image

from sdcaffe.cli import main
from sdcaffe.log import parse_log
from sdcaffe.log.curves import errors, losses, plot, rates, short_names
from sdcaffe.terminal import shown

FILES = Path(__file__).parents[1] / "goldens" / "files"
TRAIN = str(FILES / "caffe_train.log")
RUN = parse_log(FILES / "caffe_train.log")


def texts(svg: Path) -> str:
    """What a picture says: matplotlib leaves each text as a comment before its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text()))


def test_curves_are_the_numbers_of_the_log() -> None:
    """Numbers as they stand in the recorded log."""
    train, test = losses(RUN, lambda row: row.iteration)
    assert (train.x[:2], train.y[:2]) == ([0, 5], [1.08294, 0.809297])
    assert (test.x, test.y) == ([0, 10, 20, 30], [19.4078, 15.637, 31.8137, 0])
    assert not train.test
    assert test.test
    (error,) = errors(RUN, lambda row: row.iteration)
    np.testing.assert_allclose(error.y, [66.6667, 25, 41.6667, 0], rtol=1e-5)
    (rate,) = rates(RUN, lambda row: row.iteration)
    assert rate.x == [0, 5, 10, 15, 20, 25, 30]
    assert rate.y == [0.01, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    (error,) = errors(RUN, lambda row: row.seconds)
    np.testing.assert_allclose(error.x, [0.001003, 0.007049, 0.015279, 0.019342])


def test_a_picture_of_one_run(tmp_path: Path) -> None:
    assert main(["plot", TRAIN, "-o", str(tmp_path / "x.png")]) == 0
    picture = Image.open(tmp_path / "x.png")
    assert picture.size[0] == 9 * 130
    colors = {tuple(color) for color in np.asarray(picture.convert("RGB")).reshape(-1, 3)}
    assert (0x00, 0x72, 0xB2) in colors
    assert (0xD5, 0x5E, 0x00) not in colors


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.log").write_text(Path(TRAIN).read_text().replace("Solving tiny", f"Solving net {name}"))
    logs = [str(tmp_path / "a" / "run.log"), str(tmp_path / "b" / "run.log"), str(FILES / "caffe_resume.log")]
    assert main(["plot", *logs, "--output", str(tmp_path / "x.svg")]) == 0
    said = texts(tmp_path / "x.svg")
    assert "net a, a/run.log: test error 0.00 %" in said
    assert "net b, b/run.log: test error 0.00 %" in said
    assert "tiny, files/caffe_resume.log: test error 16.67 %" in said
    for label in ("loss", "test error, %", "learning rate", "iteration", "training", "test"):
        assert re.search(rf"^{label}$", said, re.MULTILINE)
    drawn = (tmp_path / "x.svg").read_text()
    assert all(color in drawn for color in ("#0072b2", "#d55e00", "#009e73"))


def test_against_time(tmp_path: Path) -> None:
    assert main(["plot", TRAIN, "--seconds", "-o", str(tmp_path / "x.svg")]) == 0
    assert "seconds of training" in texts(tmp_path / "x.svg")


def test_panels_without_numbers_are_left_out(tmp_path: Path) -> None:
    assert main(["plot", str(FILES / "caffe_test.log"), "-o", str(tmp_path / "x.svg")]) == 0
    said = texts(tmp_path / "x.svg")
    assert "caffe_test.log: test error 16.67 %" in said
    assert "learning rate" not in said


def test_a_test_before_training_does_not_set_the_scale(tmp_path: Path) -> None:
    """A loss of 87.3365 at iteration 0 is cut; the axis ends near the largest loss after it."""
    log = (
        Path(TRAIN)
        .read_text()
        .replace("loss = 19.4078", "loss = 87.3365")
        .replace("31.8137", "3.8137")
        .replace("15.637", "1.5637")
    )
    (tmp_path / "x.log").write_text(log)
    assert main(["plot", str(tmp_path / "x.log"), "-o", str(tmp_path / "x.svg")]) == 0
    ticks = [float(text) for text in re.findall(r"(?m)^[\d.]+$", texts(tmp_path / "x.svg").partition("\nloss\n")[0])]
    assert max(ticks[ticks.index(0.0) :]) <= 5


def test_two_test_nets_and_values_that_are_none(tmp_path: Path) -> None:
    log = re.sub(
        r"(?m)^(.*solver.cpp:)414\](     Test net output #1: loss = )(\S+)(.*)$",
        r"\g<1>414]\2nan\4\n\g<1>347] Iteration 20, Testing net (#1)\n\g<1>414]     Test net output #0: acc = 0.5",
        Path(TRAIN).read_text(),
    )
    run = parse_log(log)
    assert [curve.net for curve in errors(run, lambda row: row.iteration)] == [0, 1]
    assert losses(run, lambda row: row.iteration)[1].y == []
    (tmp_path / "x.log").write_text(log)
    assert main(["plot", str(tmp_path / "x.log"), "-o", str(tmp_path / "x.pdf")]) == 0
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/x.log"], ["x.log"]),
        (["runs/a/x.log", "runs/b/x.log"], ["a/x.log", "b/x.log"]),
        (["a/c/x.log", "b/c/x.log", "b/c/y.log"], ["a/c/x.log", "b/c/x.log", "b/c/y.log"]),
        (["x.log", "x.log"], ["x.log", "x.log"]),
    ],
)
def test_names_are_as_short_as_they_can_be(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([TRAIN], 2, "the following arguments are required: -o/--output"),
        ([TRAIN, "-o", "x.gif"], 2, "its name must end in one of .png, .svg, .pdf"),
        ([str(FILES / "caffe_time.log"), "-o", "x.png"], 1, "no log holds a loss, an accuracy or a learning rate"),
        ([str(FILES / "list.txt"), "-o", "x.png"], 1, "list.txt: holds no line of a Caffe log"),
        ([TRAIN, "-o", "nowhere/x.png"], 1, "nowhere/x.png: cannot be written"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *arguments]) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_a_whole_picture() -> None:
    from sdcaffe.log.curves import plot

    picture = Image.open(io.BytesIO(plot([("one", RUN)], "png")))
    picture.load()
    assert picture.format == "PNG"


NAMES = ["$q^^$", "$\\frac{1}{", "_hidden", "a_b", "100 %", "#1", "{}", "\\", "a\nb", "\x1b[31m", "$", "~&", "\u7f51"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_written_as_it_is(name: str) -> None:
    """No formula is read in it, and none is left out of the legend."""
    run = parse_log(
        "I1128 10:00:00.000000 1 solver.cpp:1] Initializing solver from parameters: \n"
        "I1128 10:00:01.000000 1 solver.cpp:1] Iteration 0, loss = 0.5\n"
        "I1128 10:00:02.000000 1 solver.cpp:1] Iteration 1, loss = 0.4\n"
    )
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters that its font lacks
        picture = plot([(name, run)], "svg").decode()
    as_written = escape(shown(name).replace("\n", "\\n"))
    assert f"<!-- {as_written} -->" in picture
