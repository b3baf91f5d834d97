from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image

from sdcaffe.cli import main
from sdcaffe.log import Run, TrainRow, parse_log
from sdcaffe.log.curves import Curve, Panel, errors, losses, losses_in_tests, mean, outputs, rates, short_names, span
from sdcaffe.log.picture import COLORS, plot
from sdcaffe.terminal import shown

FILES = Path(__file__).parents[1] / "goldens" / "files"
TRAIN = str(FILES / "caffe_train.log")
RUN = parse_log(FILES / "caffe_train.log")


def texts(svg: Path) -> str:
    """What a picture says: matplotlib leaves each text as a comment before its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text()))


def test_curves_are_the_numbers_of_the_log() -> None:
    """Numbers as they stand in the recorded log."""
    (train,), (test,) = (gather(RUN, lambda row: row.iteration) for gather in (losses, losses_in_tests))
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
    assert picture.size[0] == 2 * 5.5 * 130  # two panels beside each other
    colors = {tuple(color) for color in np.asarray(picture.convert("RGB")).reshape(-1, 3)}
    assert (0x00, 0x72, 0xB2) in colors
    assert (0xD5, 0x5E, 0x00) not in colors


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.log").write_text(Path(TRAIN).read_text().replace("Solving tiny", f"Solving net {name}"))
    logs = [str(tmp_path / "a" / "run.log"), str(tmp_path / "b" / "run.log"), str(FILES / "caffe_resume.log")]
    assert main(["plot", *logs, "--each", "--output", str(tmp_path / "x.svg")]) == 0
    said = texts(tmp_path / "x.svg")
    assert "net a, a/run.log: test error 0.00 %" in said
    assert "net b, b/run.log: test error 0.00 %" in said
    assert "tiny, files/caffe_resume.log: test error 16.67 %" in said
    for label in ("training loss", "test loss", "test error, %", "learning rate", "iteration"):
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
    panel = texts(tmp_path / "x.svg").partition("\ntest loss\n")[0].rpartition("\niteration\n")[2]
    panel = texts(tmp_path / "x.svg").partition("\ntest loss\n")[0].rpartition("\niteration\n")[2]
    assert max(map(float, panel.split())) <= 5


def curve(*points: tuple[int, float], **more: list[float]) -> Curve:
    """With the x of its iteration."""
    at, y = zip(*points, strict=True)
    return Curve(at=[*at], x=[*at], y=[*y], **more)


def test_runs_of_a_group_are_their_mean_in_a_band_of_the_deviation() -> None:
    """2, 4 and 9 have the mean 5 and the sample deviation sqrt(13); iterations that one lacks are left out."""
    found = mean([curve((10, 2), (20, 1)), curve((10, 4), (20, 1), (30, 7)), curve((10, 9), (20, 4))])
    assert (found.at, found.x, found.y) == ([10, 20], [10, 20], [5, 2])
    np.testing.assert_allclose(found.high, [5 + 13**0.5, 2 + 3**0.5])
    np.testing.assert_allclose(found.low, [5 - 13**0.5, 2 - 3**0.5])
    assert mean([curve((10, 2))]).low == []


def test_a_run_that_was_cut_short_is_beside_the_mean() -> None:
    cut = replace(RUN, end="cut short")
    curves = Panel("x", rates).curves([RUN, RUN, cut], lambda row: row.iteration)
    assert [(curve.whole, bool(curve.low)) for curve in curves] == [(True, True), (False, False)]


@pytest.mark.parametrize(
    ("curves", "low", "high"),
    [
        ([curve((100, 30), (200, 25))], 24.7, 30.3),  # 6 % of room to both sides
        ([curve((1, 87), (100, 3), (200, 1))], 0.88, 3.12),  # the untrained net's loss leaves at the top
        ([curve((1, 4), (100, 3), (200, 1))], 0.82, 4.18),  # less than twice the height stays
        ([curve((1, 0.1), (100, 3), (200, 2))], 0, 3.174),  # none leaves at the bottom, and none is below 0
        ([curve((100, 2), low=[-1.0], high=[5.0])], 0, 5.36),  # a band may leave it there
        ([curve((100, -2), (200, -1))], -2.06, -0.94),
        ([curve((100, 7))], 6.58, 7.42),
    ],
)
def test_the_axis_fits_the_curves(curves: list[Curve], low: float, high: float) -> None:
    np.testing.assert_allclose(span(curves), (low, high))


def test_many_values_of_single_iterations_are_averaged() -> None:
    """Of 250 values three are one point, and the last one has no two beside it."""
    rows = [TrainRow(i, i, outputs={"kl": i % 3, "more": 1}) for i in range(250)]
    (found,) = outputs(Run(train=rows), lambda row: row.seconds, ("kl", "more"))
    assert (found.at[:2], found.x[:2], len(found.y)) == ([2, 5], [1, 4], 83)
    assert set(found.y) == {2}


def test_runs_that_were_tested_once_stand_side_by_side() -> None:
    """Their panels have no iterations."""
    once = [replace(RUN, train=[], test=[replace(row, iteration=30)]) for row in (RUN.test[-1], RUN.test[1])]
    picture = plot([("a", once), ("b", once[:1])], "svg").decode()
    assert "<!-- test error, % -->" in picture
    assert "<!-- iteration -->" not in picture
    assert "<!-- a: test error 12.50 ± 17.68 % (2 runs) -->" in picture  # of 0 and 25


# How those see colours who lack a cone, on linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_tell_the_colours_apart(kind: str) -> None:
    """Any two lie 15 or more apart in CIELAB, where one sees a difference from 2.3 on."""
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in COLORS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1) @ np.array(XYZ).T / [0.95047, 1, 1.08883]
    x, y, z = np.where(seen > 216 / 24389, np.cbrt(seen), (24389 / 27 * seen + 16) / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert apart[~np.eye(len(COLORS), dtype=bool)].min() > 15


def test_two_test_nets_and_values_that_are_none(tmp_path: Path) -> None:
    log = re.sub(
        r"(?m)^(.*solver.cpp:)414\](     Test net output #1: loss = )(\S+)(.*)$",
        r"\g<1>414]\2nan\4\n\g<1>347] Iteration 20, Testing net (#1)\n\g<1>414]     Test net output #0: acc = 0.5",
        Path(TRAIN).read_text(),
    )
    run = parse_log(log)
    assert [curve.net for curve in errors(run, lambda row: row.iteration)] == [0, 1]
    assert losses_in_tests(run, lambda row: row.iteration)[0].y == []
    (tmp_path / "x.log").write_text(log)
    assert main(["plot", str(tmp_path / "x.log"), "-o", str(tmp_path / "x.pdf")]) == 0
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_losses_that_no_float_can_have(ending: str, tmp_path: Path) -> None:
    values = iter(["1e308", "-1e308", "3e38", "-3e38", *["1e39"] * 9999])
    log = re.sub(r"(?m)(Iteration \d+.*, loss = )\S+$", lambda m: m[1] + next(values), Path(TRAIN).read_text())
    (tmp_path / "x.log").write_text(log)
    assert losses(parse_log(log), lambda row: row.iteration)[0].y == [3e38, -3e38]
    assert main(["plot", str(tmp_path / "x.log"), "-o", str(tmp_path / f"x.{ending}")]) == 0


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
    picture = Image.open(io.BytesIO(plot([("one", [RUN])], "png")))
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
        "I1128 10:00:02.000000 1 solver.cpp:1] Optimization Done.\n"
    )
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters that its font lacks
        picture = plot([(name, [run])], "svg").decode()
    as_written = escape(shown(name).replace("\n", "\\n"))
    assert f"<!-- {as_written} -->" in picture


@pytest.mark.parametrize("length", [70, 200])
def test_no_name_in_the_legend_is_cut_off(length: int) -> None:
    picture = Image.open(io.BytesIO(plot([(letter * length, [RUN]) for letter in "WMN"], "png"))).convert("L")
    pixels = np.asarray(picture)
    assert pixels[:, :3].min() == pixels[:, -3:].min() == 255
