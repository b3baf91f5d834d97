from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sdcaffe
from sdcaffe import commands
from sdcaffe.cli import main
from sdcaffe.log import parse_log

NET = """
name: "tiny"
layer {
  name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 8 dim: 3 } shape { dim: 8 }
    data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 }
  }
}
layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } }
}
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" test_iter: 2 test_interval: 10 base_lr: 0.5 lr_policy: "fixed" display: 5 max_iter: 20
snapshot: 10 snapshot_prefix: "runs/tiny" solver_mode: CPU random_seed: 3
"""
INTERRUPTER = """
import os, signal
from sdcaffe import Layer, register

@register("Interrupter")
class Interrupter(Layer):
    calls = 0

    def setup(self, bottom_shapes):
        return bottom_shapes

    def forward(self, bottom):
        self.calls += 1
        if self.phase == 0 and self.calls == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return bottom * 1
"""


FILES = Path(__file__).parent / "goldens" / "files"

# Lines whose place hangs on how Caffe is built: when a database is opened, when its reader comes round again, and
# the softmax layer inside its loss layer.
ELSEWHERE = ("db_lmdb.cpp:35]", "data_layer.cpp:73]", "layer_factory.hpp:77] Creating layer loss")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, with a net and a solver that take milliseconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the error, after what was logged; below it a line of a prototxt with a caret, or nothing."""
    lines = capsys.readouterr().err.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith("sdcaffe: "))
    below = lines[start + 1 :]
    assert not below or [below[0][:4], below[1].strip(), len(below)] == ["    ", "^", 2]
    return lines[start]


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["train", "--help"]])
def test_help_and_import_leave_heavy_libraries_alone(arguments: list[str]) -> None:
    run = f"import sys, sdcaffe.cli; sdcaffe.cli.main({arguments})"
    code = run + "; print(sorted({'torch', 'numpy', 'google.protobuf', 'rich', 'PIL'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("[]\n")


def test_a_net_needs_no_library_of_converters_and_charts() -> None:
    code = "import sys; from sdcaffe import Net, Solver; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"torchvision", "onnx", "onnxruntime", "onnxscript", "matplotlib", "scipy", "pandas"} & set(loaded)


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "sdcaffe", "trian"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'sdcaffe: error: unknown command "trian". Did you mean "train"?\n'


def test_what_the_package_offers() -> None:
    assert (sdcaffe.TRAIN, sdcaffe.TEST) == (0, 1)
    for name in sdcaffe.__all__:
        assert getattr(sdcaffe, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sdcaffe.no_such_name


def test_help_names_every_command_and_each_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in commands.names():
        assert f"\n  {name} " in overview
        assert main([name, "--help"]) == 0
        help_text = capsys.readouterr().out
        module = commands.load(name)
        if not commands.is_group(module):
            assert f"example:\n  sdcaffe {name}" in help_text
            continue
        assert help_text.startswith(f"usage: sdcaffe {name} COMMAND [FLAGS]\n\n{commands.first_line(module)}\n")
        for inner in commands.names(module.__name__):
            assert f"\n  {inner} " in help_text
            assert main([name, inner, "--help"]) == 0
            assert f"example:\n  sdcaffe {name} {inner}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sdcaffe {sdcaffe.__version__}\n"


# ---------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "name one solver file"),
        (["train", "a.prototxt", "--solver", "b.prototxt"], "name one solver file"),
        (["train", "a.prototxt", "--wieghts=b"], "unknown flag --wieghts. Did you mean --weights?"),
        (["train", "a.prototxt", "--gpu"], "argument --gpu: expected one argument"),
        (["train", "a.prototxt", "--gpu", "first"], '--gpu "first" is no number of a GPU'),
        (["train", "a.prototxt", "--gpu", "9" * 5000], "is no number of a GPU"),
        (["train", "a.prototxt", "--gpu", "0,"], '--gpu "0," is no number of a GPU'),
        (["train", "a.prototxt", "--gpu", "1,1"], '--gpu "1,1" names a GPU twice'),
        (["train", "a.prototxt", "--device", "tpu"], '--device "tpu" is none of cpu, cuda, cuda:N'),
        (["train", "a.prototxt", "--device", "cpu", "--gpu", "0"], "--device and --gpu name the same thing"),
        (["train", "a.prototxt", "--snapshot", "b", "--weights", "c"], "give one of them"),
        (["train", "a.prototxt", "-sigint_effect", "explode"], "invalid choice: 'explode'"),
        (["train", "a.prototxt", "--level", "high"], "argument --level: 'high' is no whole number of 32 bits"),
        (["train", "a.prototxt", "--level", "2147483648"], "--level: '2147483648' is no whole number of 32 bits"),
        (["classify", "a.prototxt", "b", "c.png", "--level=99999999999999999999"], "is no whole number of 32 bits"),
        (["time", "a.prototxt", "--stage", "\udcff"], "is not UTF-8, as the stages of a net are"),
        (["tets"], 'unknown command "tets"'),
        (["convert", "wieghts"], 'unknown command "convert wieghts". Did you mean "weights"?'),
        (["convert", "weights", "a"], "See sdcaffe convert weights --help"),
    ],
)
def test_a_command_that_makes_no_sense(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    line = last_line(capsys)
    assert line.startswith("sdcaffe: error: ")
    assert message in line


def test_no_command_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: sdcaffe COMMAND")
    assert main(["convert"]) == 2
    assert capsys.readouterr().out.startswith("usage: sdcaffe convert COMMAND")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpu", "7"], "there is no GPU 7 on this machine: the last one is 1"),
        (["--device", "cuda:2"], "there is no GPU 2"),
        (["--gpu", "1,2"], "there is no GPU 2 on this machine: the last one is 1"),
    ],
)
def test_a_gpu_that_is_not_to_be_had(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sdcaffe.flags._gpu_count", lambda: 2)
    assert main(["train", "a.prototxt", *flags]) == 1
    assert message in last_line(capsys)


def test_all_gpus_where_there_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sdcaffe.flags._gpu_count", lambda: 0)
    assert main(["train", "a.prototxt", "--gpu", "all"]) == 1
    assert "there is no GPU 0 on this machine: torch finds none; --device cpu uses the processor" in last_line(capsys)


# ---------------------------------------------------------------- errors


def test_a_solver_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "none.prototxt"]) == 1
    assert "none.prototxt: No such file or directory" in last_line(capsys)


def test_a_mistake_in_a_prototxt_is_one_located_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "solver.prototxt").write_text('net: "net.prototxt"\nbase_rl: 0.1\n')
    assert main(["train", "solver.prototxt"]) == 1
    line = last_line(capsys)
    assert line.startswith("sdcaffe: error: solver.prototxt:2:1: ")
    assert "base_lr" in line


def test_an_error_after_the_log_was_opened_is_its_last_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.prototxt").write_text(NET.replace("InnerProduct", "InnerProdukt"))
    assert main(["train", "solver.prototxt"]) == 1
    assert 'Did you mean "InnerProduct"?' in last_line(capsys)
    assert 'Did you mean "InnerProduct"?' in (folder / "runs" / "tiny.log").read_text().splitlines()[-1]


def test_a_plugin_that_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.py").write_text("\n1 / 0\n")
    assert main(["train", "solver.prototxt", "--plugin", "bad.py"]) == 1
    assert "bad.py:2: ZeroDivisionError: division by zero" in last_line(capsys)


def test_an_output_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "runs").write_text("a file where a folder is wanted")
    assert main(["train", "solver.prototxt"]) == 1
    assert last_line(capsys) == "sdcaffe: error: runs: File exists"


@pytest.mark.parametrize("name", ["a.caffemodel,b.caffemodel", "none.caffemodel"])
def test_weights_that_are_not_there(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "solver.prototxt", "--weights", name]) == 1
    assert name.split(",")[0] in last_line(capsys)


@pytest.mark.parametrize("ask", [bytearray, torch.empty], ids=["python", "torch"])
def test_want_of_memory_is_one_line(
    ask: Callable[[int], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sdcaffe.commands.train.run", lambda args: ask(1 << 60))
    assert main(["train", "solver.prototxt"]) == 1
    assert last_line(capsys) == "sdcaffe: error: there is not enough memory"


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdcaffe.commands.train.run", lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", "solver.prototxt"])


# ---------------------------------------------------------------- training


def test_a_run_ends_in_a_test_error_a_snapshot_and_a_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "solver.prototxt"]) == 0
    out, err = capsys.readouterr()
    assert out == "test error: 0.00 %\nsnapshot: runs/tiny_iter_20.solverstate\nlog: runs/tiny.log\n"
    assert (folder / "runs" / "tiny_iter_20.caffemodel").is_file()
    assert (folder / "runs" / "tiny.log").read_text().split("\n", 2)[2] == err
    run = parse_log(folder / "runs" / "tiny.log")
    assert (run.net, run.end) == ("tiny", "finished")
    assert [row.iteration for row in run.train] == [0, 5, 10, 15, 20]
    assert [row.iteration for row in run.test] == [0, 10, 20]
    assert [snapshot.iteration for snapshot in run.snapshots] == [10, 20]
    assert run.solver().max_iter == 20
    assert run.test_error() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--solver=solver.prototxt", "--device=cpu"],
        ["-solver", "solver.prototxt", "-sighup_effect", "none"],
        ["-solver=solver.prototxt", "-sigint_effect=snapshot", "-level", "0", "-stage", "a,b"],
        ["--logtostderr", "solver.prototxt", "-v=1", "-log_dir", "logs", "--minloglevel=0", "-alsologtostderr=1"],
    ],
)
def test_flags_in_caffes_spelling(folder: Path, arguments: list[str]) -> None:
    assert main(["train", *arguments]) == 0
    assert (folder / "runs" / "tiny_iter_20.solverstate").is_file()


def test_level_and_stages_reach_the_net(folder: Path) -> None:
    (folder / "net.prototxt").write_text(
        NET.replace('type: "InnerProduct"', 'type: "InnerProduct" include { stage: "x" }')
    )
    assert main(["train", "solver.prototxt", "--stage", "x,y", "--level", "2"]) == 1  # the test net lacks it
    log = (folder / "runs" / "tiny.log").read_text()
    assert '  level: 2\n  stage: "x"\n  stage: "y"\n' in log
    assert "Creating Layer ip" in log.partition("Creating test net")[0]


def test_precision_reaches_the_solver(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "solver.prototxt", "--precision", "bf16"]) == 0
    assert 'precision: "bf16"' in (folder / "runs/tiny.log").read_text()
    assert main(["train", "solver.prototxt", "--precision", "half"]) == 1
    assert 'unknown precision "half"' in capsys.readouterr().err


def test_going_on_with_a_run_appends_to_its_log(folder: Path) -> None:
    assert main(["train", "solver.prototxt"]) == 0
    (folder / "runs" / "tiny_iter_20.solverstate").unlink()
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 20", "max_iter: 30"))
    assert main(["train", "solver.prototxt", "--snapshot", "auto"]) == 0
    run = parse_log(folder / "runs" / "tiny.log")
    assert run.resumes == [10]
    assert [row.iteration for row in run.train] == [0, 5, 10, 15, 20, 25, 30]
    assert main(["train", "solver.prototxt", "--snapshot", "runs/tiny_iter_20.solverstate"]) == 0
    assert parse_log(folder / "runs" / "tiny.log").resumes == [10, 20]


def test_auto_begins_anew_where_there_is_no_snapshot(folder: Path) -> None:
    assert main(["train", "solver.prototxt", "--snapshot", "auto"]) == 0
    assert parse_log(folder / "runs" / "tiny.log").resumes == []


def test_a_snapshot_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tiny.solverstate").write_text("")
    assert main(["train", "solver.prototxt", "--snapshot", "tiny.solverstate"]) == 1
    assert last_line(capsys).startswith("sdcaffe: error: tiny.solverstate: ")


def test_starting_from_weights(folder: Path) -> None:
    assert main(["train", "solver.prototxt"]) == 0
    assert main(["train", "solver.prototxt", "--weights", "runs/tiny_iter_10.caffemodel"]) == 0
    assert "runs/tiny_iter_10.caffemodel" in (folder / "runs" / "tiny.log").read_text()
    assert (folder / "runs" / "tiny.log.previous").is_file()


@pytest.mark.parametrize(("prefix", "expected"), [("", "solver"), ('snapshot_prefix: "runs"', "runs/solver")])
def test_a_prefix_that_is_missing_or_a_folder(folder: Path, prefix: str, expected: str) -> None:
    (folder / "runs").mkdir()
    (folder / "solver.prototxt").write_text(SOLVER.replace('snapshot_prefix: "runs/tiny"', prefix))
    assert main(["train", "solver.prototxt"]) == 0
    assert (folder / f"{expected}_iter_20.caffemodel").is_file()
    assert (folder / f"{expected}.log").is_file()


def test_ctrl_c_snapshots_and_stops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "interrupter.py").write_text(INTERRUPTER)
    between = 'layer { name: "interrupter" type: "Interrupter" bottom: "ip" top: "ip2" }\n'
    after = NET.replace('bottom: "ip" bottom: "label"', 'bottom: "ip2" bottom: "label"')
    (folder / "net.prototxt").write_text(
        after.replace('layer { name: "accuracy"', between + 'layer { name: "accuracy"')
    )
    (folder / "solver.prototxt").rename(folder / "my solver.prototxt")
    flags = ["--device", "cpu", "--stage", "a,b", "--plugin", "interrupter.py", "--ignore-unknown"]
    assert main(["train", "my solver.prototxt", *flags]) == 0
    out = capsys.readouterr().out
    assert "stopped at iteration 7 of 20; to go on:\n  sdcaffe train 'my solver.prototxt' " in out
    (command,) = (line for line in out.splitlines() if line.startswith("  sdcaffe train"))
    again = shlex.split(command)[2:]
    assert sorted(again[1:]) == sorted([*flags, "--snapshot", "runs/tiny_iter_7.solverstate"])
    assert (folder / "runs" / "tiny_iter_7.solverstate").is_file()
    assert parse_log(folder / "runs" / "tiny.log").end == "stopped"
    assert main(["train", *again]) == 0
    assert parse_log(folder / "runs" / "tiny.log").end == "stopped"  # by the layer, once more


def test_fields_of_a_fork(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.prototxt").write_text(NET.replace('type: "Accuracy"', 'type: "Accuracy" quantize: 8'))
    assert main(["train", "solver.prototxt"]) == 1
    assert 'has no field "quantize"' in last_line(capsys)
    assert main(["train", "solver.prototxt", "--ignore-unknown"]) == 0
    assert "quantize" in capsys.readouterr().err


def test_the_lines_of_a_run_are_caffes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Message by message, but for numbers that hang on the random generator or the clock."""
    shutil.copytree(FILES, folder / "files")
    monkeypatch.chdir(folder / "files")
    assert main(["train", "solver.prototxt"]) == 0

    def messages(file: str) -> list[str]:
        text = re.sub(r"(?m)^[IWEF](?:\d{4})?\d{4} [\d:.]+ +\d+ ", "", Path(file).read_text())
        text = re.sub(r"\([^()]* iter/s, [^()]*s/5 iters\)", "(SPEED)", text)
        text = re.sub(r"(accuracy|loss) = [-\d.e+]+( \(\* 1 = [-\d.e+]+ loss\))?", r"\1 = X", text)
        return [line for line in text.splitlines() if not line.startswith((*ELSEWHERE, "Log "))]

    assert messages("tiny.log") == messages("caffe_train.log")


def test_a_plugin_from_the_command_line(folder: Path) -> None:
    focal_loss = Path(__file__).parents[1] / "examples" / "focal_loss.py"
    text = NET.replace('type: "SoftmaxWithLoss"', 'type: "FocalLoss" focal_loss_param { gamma: 3 }')
    (folder / "net.prototxt").write_text(text)
    command = [sys.executable, "-m", "sdcaffe", "train", "solver.prototxt", "--plugin", str(focal_loss)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "focal_loss_param {\n    gamma: 3\n  }" in (folder / "runs" / "tiny.log").read_text()
