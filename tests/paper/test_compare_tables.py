"""The tables for a manuscript: figures computed here by hand from logs written by hand; a LaTeX sets them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from compare_logs import BASELINE, DISTILLED, SMALL, Log

from sdcaffe.cli import main

ODD = "A&B_50% #1 {x} $y$ \\z ~^ <|> *é* `q`"
DOCUMENT = (
    "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{tables}\n\\end{document}\n"
)


def written(folder: Path, flag: str, *logs: Log) -> str:
    for i, log in enumerate(logs):
        (folder / f"{i}.txt").write_text(log.text())
    assert main(["compare", str(folder), flag, str(folder / "tables.tex")]) == 0
    return (folder / "tables.tex").read_text()


def rows(latex: str) -> list[list[str]]:
    """The cells of all tabulars, each line of one as many as its columns."""
    found = []
    for columns, body in re.findall(r"\\begin{tabular}{(l?r*)}(.*?)\\end{tabular}", latex, re.DOTALL):
        for line in re.findall(r"(?m)^(.*) \\\\$", body):
            cells = re.split(r"(?<!\\) & ", line)
            assert len(cells) == len(columns)
            found.append(cells)
    return found


# Errors of 32 and 31: mean 31.5, sample deviation 0.5 ** 0.5. Of 28 and 27: 27.5.
PAIRS = (
    BASELINE.with_seed(1, 0.7, 0.68),
    BASELINE.with_seed(2, 0.7, 0.69),
    DISTILLED.with_seed(1, 0.7, 0.72),
    DISTILLED.with_seed(2, 0.7, 0.73),
)


def test_a_row_a_mechanism_with_the_best_in_bold(tmp_path: Path) -> None:
    text = written(tmp_path, "--latex", *PAIRS)
    assert rows(text) == [
        ["mechanism", "paper", "test error, \\%"],
        ["baseline", "31.01", "31.50 $\\pm$ 0.71"],
        ["self-distilled", "28.22", "\\textbf{27.50 $\\pm$ 0.71}"],
    ]
    (caption,) = re.findall(r"\\caption{(.*)}", text)
    assert caption == (
        "ResNet-32 on CIFAR-100, after the last of 156,250 iterations: mean $\\pm$ sample deviation over seeds; "
        "the lowest mean of a column is bold. Seeds 1, 2."
    )


def test_the_same_as_markdown(tmp_path: Path) -> None:
    text = written(tmp_path, "--markdown", *PAIRS)
    assert text.splitlines()[2:] == [
        "| mechanism | paper | test error, % |",
        "| --- | ---: | ---: |",
        "| baseline | 31.01 | 31.50 ± 0.71 |",
        "| self-distilled | 28.22 | **27.50 ± 0.71** |",
    ]


def test_mechanisms_of_other_seeds_are_named(tmp_path: Path) -> None:
    text = written(tmp_path, "--markdown", *PAIRS[:3], replace(BASELINE, seed=None, day="0701", kl=1, branches=2))
    assert "Seeds 1, 2; two branches + KL: 1 run, not all with a seed; self-distilled: seed 1." in text


@pytest.mark.parametrize(("seeds", "said"), [((3, 4, 5), "Seeds 3 to 5."), ((1, 2, 4), "Seeds 1, 2, 4.")])
def test_seeds_in_a_row_are_said_short(seeds: tuple[int, ...], said: str, tmp_path: Path) -> None:
    assert said in written(tmp_path, "--markdown", *(BASELINE.with_seed(seed, 0.7, 0.68) for seed in seeds))


def test_settings_tell_rows_of_one_mechanism_apart_and_other_schedules_are_another_table(tmp_path: Path) -> None:
    warm = replace(DISTILLED, temperature=4, day="0601")
    short = replace(BASELINE, max_iter=1000, day="0602")
    found = rows(written(tmp_path, "--latex", BASELINE, DISTILLED, warm, short))
    assert [row[0] for row in found] == [
        "mechanism", "baseline", "self-distilled, temperature 3", "self-distilled, temperature 4",
        "mechanism", "baseline",
    ]  # fmt: skip
    both = found[2][-1], found[3][-1]
    assert both == ("\\textbf{28.00}", "\\textbf{28.00}")  # the same to the last digit shown
    assert found[5][-1] == "31.00"  # nothing to be better than


@pytest.mark.parametrize("flag", ["--latex", "--markdown"])
def test_runs_cut_short_make_no_table(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.log").write_text(replace(BASELINE, until=90_000).text())
    assert main(["compare", str(tmp_path), flag, str(tmp_path / "tables"), "--csv", str(tmp_path / "x.csv")]) == 1
    assert "no log is of a finished run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


def test_names_are_written_as_they_are(tmp_path: Path) -> None:
    """Where a LaTeX is there it sets the tables; here their braces are paired and their signs escaped."""
    text = written(tmp_path, "--latex", *PAIRS, replace(BASELINE, net=ODD.replace("\\", "\\\\"), network=SMALL))
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert r"A\&B\_50\% \#1 \{x\} \$y\$ \textbackslash{}\textbackslash{}z \textasciitilde{}\textasciicircum{} " in text
    if shutil.which("pdflatex") is None:
        return
    (tmp_path / "page.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_a_pipe_in_a_name_ends_no_cell_of_markdown(tmp_path: Path) -> None:
    text = written(tmp_path, "--markdown", replace(BASELINE, net="a|b *c* <d>", network=SMALL))
    assert text.startswith("a\\|b \\*c\\* \\<d\\> on CIFAR-100, after")
