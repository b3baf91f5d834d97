"""Runs of days as logs written by hand (compare_logs), and what is to be said of them, computed here by hand."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from compare_logs import BASELINE, DISTILLED, IMAGENET, SMALL, Log, network

from sdcaffe import layers
from sdcaffe.paper.compare import Comparison, Group, Row, compare, gains
from sdcaffe.paper.compare import text as compare_text

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "goldens" / "files"


@pytest.fixture(autouse=True)
def known_layers() -> None:
    layers.discover()


def compared(folder: Path, *logs: Log) -> Comparison:
    for i, log in enumerate(logs):
        (folder / f"{i}.txt").write_text(log.text())
    return compare([folder])


def row(found: Comparison, table: int, mechanism: str, mu: str = "") -> Row:
    return next(
        row
        for row in found.rows
        if (row.value.table, row.value.network, row.value.data_set) == (table, "ResNet-32", "CIFAR-100")
        and row.value.mechanism == mechanism
        and (not mu or row.value.mu_text == mu)
    )


def result(row: Row) -> Group:
    assert row.result is not None
    return row.result


def test_a_finished_run_gives_its_last_and_its_best_error(tmp_path: Path) -> None:
    found = compared(tmp_path, BASELINE)  # accuracies 0.2, 0.7, 0.69
    for table in (1, 2, 3, 6):
        baseline = row(found, table, "baseline")
        group = result(baseline)
        assert (str(group.last), str(group.best), group.seeds) == ("31.00", "30.00", [1])
        assert baseline.difference(group) == pytest.approx(31.00 - 31.01)
        assert group.note == "156,250 iterations"
    assert sum(row.result is not None for row in found.rows) == 4


def test_seeds_are_averaged(tmp_path: Path) -> None:
    found = compared(tmp_path, BASELINE.with_seed(1, 0.7, 0.68), BASELINE.with_seed(2, 0.7, 0.69))
    group = result(row(found, 1, "baseline"))
    assert group.last is not None
    assert group.last.mean == pytest.approx(31.5)
    assert group.last.deviation == pytest.approx(0.5**0.5)  # of 32 and 31
    assert group.seeds == [1, 2]


def test_a_run_cut_short_is_no_result(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(BASELINE, until=110_000))
    baseline = row(found, 1, "baseline")
    assert baseline.result is None
    (group,) = baseline.groups
    assert group.last is None
    assert group.note == "cut short at 110,000 of 156,250 (70%)"
    assert baseline.difference(group) is None
    assert found.summary.startswith("0 of 79 published values measured, by 0 finished runs; 1 cut short")


@pytest.mark.parametrize(("interval", "kept"), [(100_000, "104166"), (1_000_000, "52083")])
def test_an_error_of_before_the_end_is_no_result(tmp_path: Path, interval: int, kept: str) -> None:
    """Caffe tests at the end only where test_interval divides max_iter."""
    text = BASELINE.text().replace("test_interval: 52083", f"test_interval: {interval}")
    lines, keeps = [], True
    for line in text.splitlines(keepends=True):
        if "Testing net" in line:
            keeps = f"Iteration {kept}," in line
        if keeps or "Test" not in line:
            lines.append(line)
    (tmp_path / "log").write_text("".join(lines))
    found = compare([tmp_path])
    baseline = row(found, 1, "baseline")
    assert baseline.result is None
    (group,) = baseline.groups
    assert (group.last, group.note) == (None, "156,250, but no test error at the end")
    assert "0 finished runs" in found.summary


def test_a_run_cut_short_does_not_touch_the_mean_of_the_others(tmp_path: Path) -> None:
    found = compared(tmp_path, DISTILLED, replace(DISTILLED.with_seed(2, 0.1, 0.2, 0.3), until=110_000))
    group = result(row(found, 1, "self-distilled"))
    assert str(group.last) == "28.00"
    assert group.note == "156,250 iterations; cut short at 110,000 of 156,250 (70%)"


def test_a_run_that_was_resumed_in_the_same_file(tmp_path: Path) -> None:
    first, second = replace(DISTILLED, until=104_166), replace(DISTILLED, resume=104_166, day="0424")
    (tmp_path / "log").write_text(first.text() + second.text())
    group = result(row(compare([tmp_path]), 5, "self-distilled", "0.0005"))
    assert str(group.last) == "28.00"
    assert [at for at, _ in group.runs[0].errors()] == [52_083, 104_166, 156_250]


def test_a_run_that_was_resumed_with_a_log_of_its_own(tmp_path: Path) -> None:
    first, second = replace(DISTILLED, until=104_166), replace(DISTILLED, resume=104_166, day="0424")
    found = compared(tmp_path, second, first)
    (run,) = found.runs
    assert run.logs == [str(tmp_path / "1.txt"), str(tmp_path / "0.txt")]
    assert [at for at, _ in run.errors()] == [52_083, 104_166, 156_250]
    assert result(row(found, 1, "self-distilled")).note == "156,250 iterations"


@pytest.mark.parametrize(
    ("before", "after", "batch", "note"),
    [("s 0, 1", "s 0, 1", 32, "GPU, 2 processes"), ("s 0", "s 1", 64, "GPU"), ("", "s 0", 64, "CPU and GPU")],
)
def test_what_a_run_with_two_logs_trained_on(tmp_path: Path, before: str, after: str, batch: int, note: str) -> None:
    """As with one log: each device that it trained on, and by how many processes."""
    sessions = replace(BASELINE, until=104_166), replace(BASELINE, resume=104_166, day="0424")
    for name, session, gpus in zip("ab", sessions, (before, after), strict=True):
        text = session.text().replace("batch_size: 64", f"batch_size: {batch}")
        (tmp_path / name).write_text(text.replace("Use CPU.", f"Using GPU{gpus}") if gpus else text)
    found = compare([tmp_path])
    (run,) = found.runs
    assert (len(run.logs), run.settings["device"]) == (2, note.partition(",")[0].replace(" and ", ", "))
    assert result(row(found, 1, "baseline")).note == f"156,250 iterations; {note}"


def test_a_resumed_run_whose_beginning_is_missing_says_so(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(DISTILLED, resume=104_166))
    note = "156,250 iterations; the log of what came before iteration 104,166 is missing"
    assert result(row(found, 1, "self-distilled")).note == note


def test_logs_of_caffe_with_python_layers_and_a_database(tmp_path: Path) -> None:
    log = replace(DISTILLED, of_caffe=True, source="examples/cifar100/cifar100_{}_lmdb", seed=None)
    assert re.search(r"(?m)^I0423 \d\d:", log.text())
    found = compared(tmp_path, log)
    group = result(row(found, 1, "self-distilled"))
    assert (str(group.last), group.seeds) == ("28.00", [None])
    assert (group.runs[0].settings["temperature"], group.runs[0].mu) == ("3", pytest.approx(0.0005))


@pytest.mark.parametrize("mu", [0.0001, 0.0005, 0.001, 0.005, 0.01])
def test_table_5_goes_by_the_weight_of_the_mmd(tmp_path: Path, mu: float) -> None:
    found = compared(tmp_path, replace(DISTILLED, mu=mu))
    measured = [row.value.mu_text for row in found.rows if row.value.table == 5 and row.result]
    assert measured == [f"{mu:g}"]


def test_a_run_without_mmd_is_table_5_at_0_and_table_6s_kl(tmp_path: Path) -> None:
    for log in (replace(DISTILLED, mu=None), replace(DISTILLED, mu=0)):
        found = compared(tmp_path, log)
        measured = {(row.value.table, row.value.mechanism, row.value.mu_text) for row in found.rows if row.result}
        assert measured == {(5, "self-distilled", "0"), (6, "two branches + KL", "")}


@pytest.mark.parametrize(
    ("mmd", "kl", "mechanism"),
    [(None, None, "two branches"), (0.0005, None, "two branches + MMD"), (None, 1, "two branches + KL")],
)
def test_the_rows_of_table_6(tmp_path: Path, mmd: float | None, kl: float | None, mechanism: str) -> None:
    found = compared(tmp_path, replace(DISTILLED, mu=mmd, kl=kl))
    assert [row.value.mechanism for row in found.rows if row.value.table == 6 and row.result] == [mechanism]


@pytest.mark.parametrize(
    ("change", "departure"),
    [
        ({"solver": {"weight_decay": 0.0005}}, "weight decay 0.0005, not 0.0001"),
        ({"solver": {"stepvalue": [46875, 93750]}}, "drops at epochs 60, 120, not 60, 120, 180"),
        ({"solver": {"gamma": 0.2}}, "drops to 0.2, not 0.1"),
        ({"solver": {"type": '"SGD"'}}, "SGD, not Nesterov"),
        ({"solver": {"iter_size": 2}}, "batch 128, not 64"),
        ({"solver": {"test_iter": 10}}, "tested on 1,000 of 10,000 images"),
        ({"max_iter": 7812}, "10 epochs, not 200"),
        ({"temperature": 4}, "temperature 4, not 3"),
        ({"kl": 2}, "lambda 2, not 1"),
        ({"solver": {"weights": '"a.caffemodel"'}}, "started from trained weights"),
    ],
)
def test_what_is_not_the_papers_setting_is_no_result(tmp_path: Path, change: dict[str, object], departure: str) -> None:
    found = compared(tmp_path, replace(DISTILLED, **change))
    distilled = row(found, 1, "self-distilled")
    assert distilled.result is None
    assert departure in distilled.groups[0].departures
    assert distilled.difference(distilled.groups[0]) is None


def test_runs_of_other_settings_are_not_averaged_with_the_papers(tmp_path: Path) -> None:
    other = replace(BASELINE.with_seed(2, 0.9, 0.9), solver={"weight_decay": 0.0005})
    baseline = row(compared(tmp_path, BASELINE, other), 1, "baseline")
    assert [group.status for group in baseline.groups] == ["measured", "other settings"]
    assert [str(group.last) for group in baseline.groups] == ["31.00", "10.00"]


def test_runs_of_two_precisions_are_never_averaged(tmp_path: Path) -> None:
    """Precision is a setting and no departure; runs of it are marked."""
    half = {"precision": '"bf16"'}
    logs = [replace(log, solver=half) for log in (BASELINE.with_seed(1, 0.7), BASELINE.with_seed(2, 0.69))]
    found = compared(tmp_path, *logs, BASELINE.with_seed(3, 0.6, 0.65))
    baseline = row(found, 1, "baseline")
    assert [group.status for group in baseline.groups] == ["measured", "measured"]
    assert [(str(g.last), g.seeds, g.precision) for g in baseline.groups] == [
        ("30.50 ± 0.71", [1, 2], "bf16"),
        ("35.00", [3], "fp32"),
    ]
    assert baseline.groups[0].note == "156,250 iterations; bf16, tests too"
    lines = [line for line in csv.DictReader(compare_text.to_csv(found).splitlines()) if line["status"] == "measured"]
    assert {(line["precision"], line["devices"], line["runs"]) for line in lines} == {
        ("bf16", "CPU", "2"),
        ("fp32", "CPU", "1"),
    }
    runs = json.loads(compare_text.to_json(found))["runs"]
    assert sorted((run["precision"], run["processes"]) for run in runs) == [("bf16", 1), ("bf16", 1), ("fp32", 1)]


def test_a_log_that_tested_in_fp32_says_so_and_others_are_marked(tmp_path: Path) -> None:
    text = replace(BASELINE, solver={"precision": '"bf16"'}).text()
    head, line, tail = text.partition("Network initialization done.\n")
    (tmp_path / "new.log").write_text(
        f"{head}{line}I0423 12:00:00.0 1 solver.cpp:57] Tests are computed in fp32\n{tail}"
    )
    (tmp_path / "old.log").write_text(text)
    for name, tested, note in (("new", "fp32", "bf16"), ("old", "bf16", "bf16, tests too")):
        found = compare([tmp_path / f"{name}.log"])
        assert [run["tested_in"] for run in json.loads(compare_text.to_json(found))["runs"]] == [tested]
        assert row(found, 1, "baseline").groups[0].note == f"156,250 iterations; {note}"


def test_a_gain_is_of_one_precision(tmp_path: Path) -> None:
    found = compared(tmp_path, BASELINE, replace(DISTILLED, solver={"precision": '"bf16"'}))
    assert [g.measured for g in gains(found.rows) if g.measured is not None] == []


def test_what_it_trained_on_is_told_and_no_departure(tmp_path: Path) -> None:
    """Two processes with a batch of 32 images each make one of 64; each with 64, they make one of 128."""
    text = BASELINE.text().replace("Use CPU.", "Using GPUs 0, 1")
    (tmp_path / "a.log").write_text(text.replace("batch_size: 64", "batch_size: 32"))
    (tmp_path / "b.log").write_text(text.replace("Solving", "Solving another"))
    first, second = row(compare([tmp_path]), 1, "baseline").groups
    assert (first.departures, first.note) == ([], "156,250 iterations; GPU, 2 processes")
    assert "batch 128, not 64" in second.departures
    assert (first.runs[0].settings["device"], first.runs[0].settings["processes"]) == ("GPU", "2")


def test_a_run_of_fewer_iterations_than_the_paper_s_is_no_finished_run_of_its(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(BASELINE, max_iter=900))
    assert found.summary == (
        "0 of 79 published values measured, by 0 finished runs; 0 cut short, 1 of other settings, "
        "0 logs of what the paper does not have."
    )


def test_of_two_settings_that_the_paper_leaves_open_the_better_repeated_comes_first(tmp_path: Path) -> None:
    lower = replace(BASELINE, source="cifar100:{}:elsewhere", accuracies=(0.9, 0.9))
    found = compared(tmp_path, lower, BASELINE, BASELINE.with_seed(2, 0.7, 0.69))
    baseline = row(found, 1, "baseline")
    assert [str(group.last) for group in baseline.groups] == ["31.00 ± 0.00", "10.00"]
    assert baseline.groups[1].unlike(baseline.groups[0]) == ["data cifar100:train:elsewhere"]


def test_top_5_errors_of_imagenet(tmp_path: Path) -> None:
    log = replace(
        BASELINE,
        net="AlexNet",
        network=network("imagenet/alexnet"),
        logits="fc8",
        distortion=IMAGENET,
        source="/data/ilsvrc12_{}_lmdb",
        max_iter=1_801_641,  # 90 epochs in batches of 64
        accuracies=(0.5, 0.57),
        top5=(0.7, 0.8),
        solver={"test_iter": 500, "weight_decay": 0.0005, "base_lr": 0.01},
    )
    found = compared(tmp_path, log)
    (alexnet,) = [row for row in found.rows if row.result]
    assert alexnet.difference(result(alexnet)) == pytest.approx(43.0 - 42.80)
    assert alexnet.difference_top5(result(alexnet)) == pytest.approx(20.0 - 19.98)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (replace(BASELINE, network=SMALL), "its network is none of the recipes', nor near one"),
        (replace(BASELINE, network=network("imagenet/resnet18")), "the paper has no ResNet-18 on CIFAR-100"),
        (replace(BASELINE, source="synthetic:{}"), "its data comes from synthetic:train"),
        (replace(BASELINE, source="cifar100:{}/25"), "it trains on a part of a data set, cifar100:train/25"),
        (replace(BASELINE, source="cifar10:{}"), 'called "ResNet-32 CIFAR-100 baseline", but its data comes from "cif'),
        (replace(DISTILLED, mu=0.3), "the paper has no ResNet-32 on CIFAR-100 trained self-distilled at mu 0.3"),
        (replace(BASELINE, net="ResNet-32", source="mnist_{}"), "its data comes from mnist_train, which names none of"),
    ],
)
def test_what_is_not_recognised_is_listed_with_why(tmp_path: Path, log: Log, reason: str) -> None:
    found = compared(tmp_path, log)
    assert found.runs == []
    assert reason in found.others[0].reason


def test_every_first_image_is_every_image(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(BASELINE, source="cifar100:{}/1"))
    assert result(row(found, 1, "baseline")).seeds == [1]


def test_runs_that_the_paper_does_not_have_are_averaged_over_seeds(tmp_path: Path) -> None:
    part = "cifar100:{}/25"
    logs = [replace(log, source=part) for log in (DISTILLED, BASELINE, BASELINE.with_seed(2, 0.3, 0.4, 0.67))]
    cut = replace(logs[1].with_seed(3, 0.5, 0.6, 0.7), until=110_000)
    found = compared(tmp_path, *logs, cut)
    baseline, distilled = found.other_groups  # accuracies 0.69 and 0.67; 0.72
    assert (baseline.runs[0].mechanism, str(baseline.last), baseline.seeds) == ("baseline", "32.00 ± 1.41", [1, 2])
    assert (distilled.runs[0].mechanism, str(distilled.last), distilled.seeds) == ("self-distilled", "28.00", [1])
    assert "cut short at 110,000" in baseline.note
    text = "\n".join(compare_text.lines(found))
    assert re.search(r"ResNet-32 +cifar100:train/25 +baseline +32.00 ± 1.41 .* 1, 2 ", text)
    assert "Not recognised" not in text
    lines = [line for line in csv.DictReader(compare_text.to_csv(found).splitlines()) if not line["table"]]
    assert [(line["status"], line["runs"], line["last_top1_error"]) for line in lines] == [
        ("not in the paper", "2", "32.0"),
        ("not in the paper", "1", "28.0"),
    ]
    content = json.loads(compare_text.to_json(found))["not_in_the_paper"]
    assert [group["last_top1_error"] for group in content] == [32, 28]
    assert (len(content[0]["finished"]), len(content[0]["cut_short"])) == (2, 1)


def test_an_end_that_was_trained_twice_counts_once() -> None:
    """Caffe wrote a snapshot at iteration 15, trained on to 30, and later from the snapshot to 30 again."""
    found = compare([FILES / "caffe_train.log", FILES / "caffe_resume.log"])
    (group,) = found.other_groups
    assert group.runs[0].logs == [str(FILES / "caffe_train.log")]
    assert len(group.runs) == 1
    (again,) = [run for run in found.others if run.copy]
    assert "which was finished" in again.reason


def test_a_copy_of_a_log_counts_once(tmp_path: Path) -> None:
    found = compared(tmp_path, BASELINE, BASELINE)
    assert result(row(found, 1, "baseline")).seeds == [1]
    assert [run.reason for run in found.others] == [f"a copy of {tmp_path / '0.txt'}"]


def test_folders_are_searched_by_content_and_names_do_not_matter(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "resnet110"
    deep.mkdir(parents=True)
    (deep / "wrn.caffemodel").write_text(BASELINE.text())
    (deep / "notes.log").write_text("lr was fine\n")
    (deep / "x.bin").write_bytes(bytes(range(256)) * 100)
    shutil.copy(FILES / "caffe_test.log", deep)
    found = compare([tmp_path, deep / "wrn.caffemodel"])
    assert [run.network for run in found.runs] == ["ResNet-32"]
    assert [run.reason.partition(":")[0] for run in found.others] == ["it shows no solver settings"]


def test_the_recorded_run_of_caffe_is_not_the_papers() -> None:
    (run,) = compare([FILES / "caffe_train.log"]).others
    assert run.reason == "its network is none of the recipes', nor near one"
    assert (run.finished, run.iterations, run.max_iter, run.seed) == (True, 30, 30, 3)
    assert (run.last(), run.best(), run.mechanism) == (0, 0, "baseline")


def test_the_gain_of_self_distillation(tmp_path: Path) -> None:
    found = compared(tmp_path, BASELINE, DISTILLED)  # 31.00 and 28.00
    measured = {(g.network, g.data_set): (g.published, g.measured) for g in gains(found.rows) if g.measured}
    assert measured == {("ResNet-32", "CIFAR-100"): (pytest.approx(2.79), pytest.approx(3.0))}
    assert len(gains(found.rows)) == 20
