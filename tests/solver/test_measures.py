"""What a test phase says: Caffe's means, and a measure that a plugin brings, in one process and in several."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import sdcaffe
from sdcaffe import cli, proto
from sdcaffe.errors import SolverError
from sdcaffe.log import parse_log, setup

sys.path.append(str(Path(__file__).parent.parent / "run"))
from process_groups import together
from process_nets import PLAIN, write

# The worst batch, and how many batches lie below a limit: neither is a mean of outputs.
PLUGIN = """
from typing import Annotated

from sdcaffe import Measure, register_measure

@register_measure("worst")
class Worst(Measure):
    class Fields:
        worst_limit: Annotated[float, 1900] = 0.5

    def __init__(self, param, net):
        super().__init__(param, net)
        self.seen = []

    def update(self, batch):
        self.seen.append(float(batch.blobs["accuracy"]))

    def scores(self):
        return [("worst", min(self.seen)), ("below", float(sum(a < self.param.worst_limit for a in self.seen))),
                ("last", self.seen[-1])]
"""


def solver_in(folder, world, more=""):
    (folder / "worst.py").write_text(PLUGIN)
    path = write(folder, world, PLAIN, f'eval_type: "worst" {more}')
    path.write_text(path.read_text().replace("test_iter: 5", "test_iter: 7").replace("max_iter: 50", "max_iter: 2"))
    return path


def scores_of(folder, world):
    """Of an untrained net, what the solver says and the accuracy of each of its test batches."""
    os.chdir(folder)
    sdcaffe.discover(["worst.py"])
    solver = sdcaffe.Solver(f"solver_{world}.prototxt")
    solver.test_all()
    net = solver.test_nets[0]
    for layer in net.data_layers:
        layer.cursor = 0
    each = [float(net.forward()["accuracy"]) for _ in range(7)]
    solver.close()
    return solver.test_scores[0], each


def test_a_plugins_measure_has_every_batch_in_order_whatever_the_processes(tmp_path):
    solver_in(tmp_path, 1)
    solver_in(tmp_path, 2)
    ((alone, each),) = together(1, scores_of, tmp_path, 1)
    assert len(set(each)) > 3
    below = sum(accuracy < 0.5 for accuracy in each)
    assert alone == [("worst", min(each)), ("below", float(below)), ("last", each[-1])]
    for scores, _ in together(2, scores_of, tmp_path, 2):
        assert scores == alone


def test_the_command_takes_it_with_its_field_and_its_log_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    solver_in(tmp_path, 1, "worst_limit: 2")
    assert cli.main(["train", "solver_1.prototxt", "--plugin", "worst.py"]) == 0
    lines = re.findall(r"Test net output #(\d): (\w+) = (\S+)", (tmp_path / "run_1.log").read_text())
    assert [name for _, name, _ in lines] == ["worst", "below", "last"]
    assert float(lines[1][2]) == 7  # every accuracy lies below 2
    assert parse_log(tmp_path / "run_1.log").test[0].outputs["below"] == 7
    assert "Test loss" not in (tmp_path / "run_1.log").read_text()


def test_a_measure_that_nobody_brought(tmp_path):
    path = solver_in(tmp_path, 1)
    path.write_text(path.read_text().replace('"worst"', '"detction"'))
    with pytest.raises(SolverError, match=r'solver_1.prototxt:\d+:\d+: unknown eval_type "detction".*classification'):
        sdcaffe.Solver(path)


CHANGING = """
layer { name: "x" type: "Data" top: "x" top: "label" data_param { source: "synthetic:test" batch_size: 3 } }
layer { name: "filter" type: "Filter" bottom: "label" bottom: "label" top: "kept" }
layer { name: "quiet" type: "Silence" bottom: "x" }
"""


def test_outputs_that_change_their_number_have_no_mean(tmp_path):
    param = proto.SolverParameter()
    proto.text.parse("base_lr: 0.1 lr_policy: 'fixed' test_iter: 4 test_interval: 1 max_iter: 1", param, "s")
    proto.text.parse(CHANGING, param.net_param, "net")
    with setup(tmp_path / "log"), pytest.raises(SolverError, match="so it has no mean"):
        sdcaffe.Solver(param).test_all()


KEEPING = """
from sdcaffe import Measure, register_measure

@register_measure("largest")
class Largest(Measure):
    keep = ("x",)

    def update(self, batch):
        assert set(batch.blobs) == {"y", "x"}
        self.found = float(batch.blobs["x"].max()), float(batch.blobs["y"])

    def scores(self):
        return list(zip(("x", "y"), self.found, strict=True))
"""
KEPT = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 3 } data_filler { value: 7 } } }
layer { name: "y" type: "Reduction" bottom: "x" top: "y" }
"""


def test_a_measure_names_blobs_that_it_wants_besides_the_outputs(tmp_path):
    (tmp_path / "largest.py").write_text(KEEPING)
    sdcaffe.discover([str(tmp_path / "largest.py")])
    param = proto.SolverParameter()
    text = "base_lr: 0.1 lr_policy: 'fixed' test_iter: 2 test_interval: 1 max_iter: 1 eval_type: 'largest'"
    proto.text.parse(text, param, "s")
    proto.text.parse(KEPT, param.net_param, "net")
    with setup(tmp_path / "log"):
        solver = sdcaffe.Solver(param)
        solver.test_all()
    assert solver.test_scores[0] == [("x", 7), ("y", 21)]
