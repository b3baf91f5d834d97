"""`sdcaffe train --set`: each combination is a run as if its values stood in the files; mistakes are told first."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import UsageError
from sdcaffe.log import parse_log
from sdcaffe.run import run
from sdcaffe.run.sweep import values_of

NET = """
name: "two"
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TRAIN }
  data_param { source: "synthetic:train/8" batch_size: 8 shuffle: true } transform_param { scale: 0.01 } }
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
  data_param { source: "synthetic:test/8" batch_size: 20 } transform_param { scale: 0.01 } }
layer { name: "a.b" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "parts" type: "Slice" bottom: "fc" top: "a" top: "b" slice_param { axis: 0 } include { phase: TRAIN } }
layer { name: "kl" type: "KLLoss" bottom: "a" bottom: "b" top: "kl" loss_weight: 1 include { phase: TRAIN } }
layer { name: "mmd" type: "MMDLoss" bottom: "a" bottom: "b" top: "mmd" loss_weight: 0.1 include { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 5 momentum: 0.9 max_iter: 6 display: 1
random_seed: 3 snapshot: 4 test_iter: 2 test_interval: 3 snapshot_prefix: "out/two" solver_mode: CPU
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def weights(name):
    entries = proto.read_weights(f"out/{name}_iter_6.caffemodel")
    return np.concatenate([np.ravel(blob) for entry in entries for blob in entry.blobs])


def test_each_combination_ends_as_the_files_rewritten_by_hand(folder, capsys):
    arguments = ["--set", "lambda=0.5,2", "--set", "kl.kl_loss_param.temperature=1", "--set", "stepvalue=[2,4]"]
    assert main(["train", "solver.prototxt", *arguments, "--seeds", "2"]) == 0
    names = [f"two_lambda{x}_kl.kl_loss_param.temperature1_stepvalue2-4_seed{n}" for x in ("0.5", "2") for n in (1, 2)]
    assert sorted(path.stem for path in Path("out").glob("*.log")) == sorted(names)
    Path("net.prototxt").write_text(
        NET.replace("loss_weight: 1 include", "loss_weight: 2 kl_loss_param { temperature: 1 } include")
    )
    Path("hand.prototxt").write_text(
        SOLVER.replace("stepvalue: 5", "stepvalue: 2 stepvalue: 4").replace("random_seed: 3", "random_seed: 2")
    )
    run("hand.prototxt")
    np.testing.assert_array_equal(weights(names[3]), weights("two"))
    by_hand, swept = parse_log("out/two.log"), parse_log(f"out/{names[3]}.log")
    assert [row.outputs for row in swept.train] == [row.outputs for row in by_hand.train]
    assert not np.array_equal(weights(names[1]), weights(names[3]))
    shared, table, _ = capsys.readouterr().out.split("\n\n")
    assert shared == "all with kl.kl_loss_param.temperature=1, stepvalue=[2,4]"
    heading, _, *rows = table.splitlines()
    assert heading.split() == ["lambda", "runs", "test", "error,", "%"]
    assert [row.split()[:2] for row in rows] == [["0.5", "2"], ["2", "2"]]
    errors = [parse_log(f"out/{name}.log").test_error() for name in names[2:]]
    assert rows[1].split()[2:] == [f"{np.mean(errors):.2f}", "±", f"{np.std(errors, ddof=1):.2f}"]


def test_a_sweep_goes_on_from_where_each_run_was(folder):
    asked = iter([None] * 8 + ["stop", "stop"])
    first = run("solver.prototxt", settings={"mu": [0, 1]}, ask=lambda: next(asked))
    assert [outcome.settings for outcome in first] == [{"mu": "0"}, {"mu": "1"}]
    assert not any(outcome.finished for outcome in first)
    assert main(["train", "solver.prototxt", "--set", "mu=0,1", "--snapshot", "auto"]) == 0
    assert parse_log("out/two_mu1.log").resumes
    ends = [weights(f"two_mu{mu}") for mu in (0, 1)]
    for path in Path("out").iterdir():
        path.unlink()
    run("solver.prototxt", settings={"mu": [0, 1]})
    for mu, end in enumerate(ends):
        np.testing.assert_array_equal(weights(f"two_mu{mu}"), end)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "lamda=1",
            'the solver has no field "lamda", and no layer of its net has one by that name. Did you mean lambda?',
        ),
        ("base_rl=1", "Did you mean base_lr?"),
        ("kll.loss_weight=1", 'the net has no layer "kll". Did you mean kl.loss_weight?'),
        (
            "kl.temperature=1",
            'layer "kl" (KLLoss) has no field "temperature". Did you mean kl.kl_loss_param.temperature?',
        ),
        ("a.b.inner_product_param.num_outputs=1", "Did you mean a.b.inner_product_param.num_output?"),
        ("kl.kl_loss_param=1", 'has no field "kl_loss_param"'),
        ("kl.kl_loss_param.gradient=EXAC", 'not "EXAC". Did you mean "EXACT"?'),
        ("base_lr=fast", 'base_lr=fast: field "base_lr" takes a decimal number, not "fast"'),
        ("base_lr=1 gamma: 2", "this is more than one value"),
        ("base_lr=inf", "solver.prototxt base_lr=inf: base_lr is inf; it must be a finite number"),
        ("type=SDG", 'solver.prototxt type=SDG: unknown solver type "SDG". Did you mean "SGD"?'),
        ("base_lr=1,1", "base_lr is set to 1, 1: give each value once"),
        ("base_lr=1,,2", '"1,,2" is no list of values'),
        ("base_lr", "'base_lr' is no FIELD=A,B"),
        ("train_state.stage=" + "x" * 200, "too long for a file's: write into the solver what all runs share"),
        ("random_seed=1", "random_seed is set, and seeds are too"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(setting, message, capsys):
    assert main(["train", "solver.prototxt", "--seeds", "2", "--set", setting]) != 0
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_value_that_a_layer_refuses_stops_the_sweep_before_any_run_trains(capsys):
    assert main(["train", "solver.prototxt", "--set", "temperature=2,0"]) == 1
    said = capsys.readouterr()
    assert 'two_temperature0: layer "kl" (KLLoss): temperature must be a positive number, not 0' in said.err
    assert "Iteration" not in said.out + said.err
    assert not list(Path("out").glob("*.solverstate"))


def test_one_field_is_set_once(capsys):
    assert main(["train", "solver.prototxt", "--set", "mu=1", "--set", "mmd.loss_weight=2"]) == 2
    assert "mu and mmd.loss_weight set the same field" in capsys.readouterr().err
    assert main(["train", "solver.prototxt", "--set", "mu=1", "--set", "mu=2"]) == 2
    assert "give all its values at once, as mu=1,2,3" in capsys.readouterr().err


def test_a_list_is_one_value():
    assert values_of("1, [2,3],x") == ("1", "[2,3]", "x")
    with pytest.raises(UsageError):
        values_of("[1,2")


@pytest.mark.parametrize(
    "flags",
    [
        ["--set", "base_lr=" + ",".join(map(str, range(1, 10_002)))],
        [
            "--set",
            "base_lr=" + ",".join(map(str, range(1, 102))),
            "--set",
            "gamma=" + ",".join(map(str, range(1, 101))),
        ],
        ["--set", "base_lr=1,2", "--seeds", "5001"],
        ["--seeds", ",".join(map(str, range(1, 10_002)))],
    ],
)
def test_more_runs_than_a_process_holds_are_refused_at_once(flags, capsys):
    before = time.process_time()
    assert main(["train", "solver.prototxt", *flags]) == 2
    assert re.search("error: 1[0-9]{4} runs at once are more than 10000\n", capsys.readouterr().err)
    assert time.process_time() - before < 5
