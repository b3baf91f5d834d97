from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from command_lines import copy_files, messages

from sdcaffe.cli import main
from sdcaffe.log import parse_log


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_files(tmp_path)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["-model", "net.prototxt", "-weights", "tiny_iter_30.caffemodel", "-iterations", "3"],
        ["net.prototxt", "--weights=tiny_iter_30.caffemodel", "--iterations=3", "--device=cpu"],
    ],
)
def test_the_lines_are_caffes_to_the_last_digit(
    arguments: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", *arguments]) == 0
    ours, caffes = messages(capsys.readouterr().err), messages(Path("caffe_test.log").read_text())
    assert ours == caffes


def test_precision_is_torchs_autocast(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "product.prototxt").write_text(
        """
        layer { name: "x" type: "DummyData" top: "x"
          dummy_data_param { shape { dim: 1 dim: 1 } data_filler { value: 3.1 } } }
        layer { name: "y" type: "InnerProduct" bottom: "x" top: "y"
          inner_product_param { num_output: 1 bias_term: false weight_filler { type: "constant" value: 1.7 } } }
        """
    )
    command = ["test", "product.prototxt", "--weights", "tiny_iter_15.caffemodel", "--iterations", "1"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.nn.functional.linear(torch.tensor([[3.1]]), torch.tensor([[1.7]])).item()
    for precision, value in (("fp32", 3.1 * 1.7), ("bf16", rounded)):
        assert main([*command, "--precision", precision]) == 0
        (found,) = re.findall(r"\] y = (\S+)", capsys.readouterr().err)
        assert float(found) == pytest.approx(value, rel=1e-5)
    assert abs(rounded - 3.1 * 1.7) > 1e-3


def test_the_log_is_read_again(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "-model=net.prototxt", "-weights=tiny_iter_30.caffemodel", "-iterations=3"]) == 0
    run = parse_log(capsys.readouterr().err)
    assert run.test[0].outputs == {"accuracy": 0.833333, "loss": 13.8521}


def test_phase_level_and_stages(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "constants.prototxt").write_text(
        """
        layer { name: "test" type: "DummyData" top: "test"
          dummy_data_param { shape { dim: 2 } data_filler { value: 3 } }
          include { phase: TEST stage: "a" stage: "b" min_level: 2 } }
        layer { name: "train" type: "DummyData" top: "train"
          dummy_data_param { shape { dim: 1 } data_filler { value: 5 } } include { phase: TRAIN } }
        layer { name: "half" type: "DummyData" top: "half"
          dummy_data_param { shape { dim: 1 } data_filler { value: 0.5 } } }
        layer { name: "always" type: "Power" bottom: "half" top: "always" loss_weight: 3 }
        """
    )
    base = ["test", "-model", "constants.prototxt", "-weights", "tiny_iter_15.caffemodel", "-iterations", "2"]

    def scores(*flags: str) -> list[str]:
        assert main([*base, *flags]) == 0
        return re.findall(r"caffe.cpp:3\d\d\] (.*)", capsys.readouterr().err)

    always = "always = 0.5 (* 3 = 1.5 loss)"
    assert scores("-stage", "a,b", "-level", "2") == [
        *("Batch 0, always = 0.5", "Batch 0, test = 3", "Batch 0, test = 3"),
        *("Batch 1, always = 0.5", "Batch 1, test = 3", "Batch 1, test = 3"),
        *("Loss: 1.5", always, "test = 3", "test = 3"),
    ]
    assert scores("-stage", "a", "-level", "2")[-2:] == ["Loss: 1.5", always]
    assert scores("-phase", "TRAIN")[-3:] == ["Loss: 1.5", always, "train = 5"]


def test_an_input_nobody_fills_holds_zeros(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "deploy.prototxt").write_text(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 } } }
        layer { name: "exp" type: "Exp" bottom: "data" top: "exp" }"""
    )
    assert main(["test", "deploy.prototxt", "-weights", "tiny_iter_15.caffemodel", "-iterations", "1"]) == 0
    assert re.findall(r"Batch 0, (.*)", capsys.readouterr().err) == ["exp = 1", "exp = 1"]


FILTERED = """
layer { name: "dice" type: "DummyData" top: "dice"
  dummy_data_param { shape { dim: 64 } data_filler { type: "uniform" } } }
layer { name: "half" type: "Threshold" bottom: "dice" top: "half" threshold_param { threshold: 0.5 } }
layer { name: "some" type: "Filter" bottom: "dice" bottom: "half" top: "some" }
"""


def test_outputs_that_change_their_shape_have_no_mean(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "filtered.prototxt").write_text(FILTERED)
    assert main(["test", "filtered.prototxt", "-weights", "tiny_iter_15.caffemodel"]) == 1
    assert "holds more or fewer numbers in batch" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-weights", "w"], 2, "name one net"),
        (["a.prototxt", "-model", "b.prototxt", "-weights", "w"], 2, "name one net"),
        (["net.prototxt"], 2, "name the weights to score"),
        (["net.prototxt", "-weights", "w", "-iterations", "0"], 2, "'0' is not 1 or more"),
        (["net.prototxt", "-weights", "w", "-iterations", "-3"], 2, "'-3' is not 1 or more"),
        (["net.prototxt", "-weights", "w", "-phase", "VALIDATE"], 2, "invalid choice: 'VALIDATE'"),
        (["net.prototxt", "-weights", "none.caffemodel"], 1, "none.caffemodel: No such file"),
        (["tiny_iter_30.caffemodel", "-weights", "w"], 1, "is a binary file, but a prototxt is wanted"),
        (["net.prototxt", "-weights", "net.prototxt"], 1, "is text, but a binary NetParameter is wanted"),
        (["net.prototxt", "-weights", "tiny_iter_30.solverstate"], 1, "is a .solverstate"),
        (
            ["wider.prototxt", "-weights", "tiny_iter_30.caffemodel"],
            1,
            "8 3 5 5 (600) in tiny_iter_30.caffemodel but 9",
        ),
        (["fewer.prototxt", "-weights", "fewer.caffemodel", "-iterations", "1"], 1, "label 2 is out of range"),
        (["moved.prototxt", "-weights", "tiny_iter_30.caffemodel"], 1, "elsewhere: there is no LMDB here"),
    ],
)
def test_mistakes(
    arguments: list[str], code: int, message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = (files / "net.prototxt").read_text()
    (files / "wider.prototxt").write_text(net.replace("num_output: 8", "num_output: 9"))
    (files / "fewer.prototxt").write_text(
        net.replace('name: "ip"', 'name: "ip2"').replace("num_output: 3", "num_output: 2")
    )
    (files / "fewer.caffemodel").write_bytes((files / "tiny_iter_30.caffemodel").read_bytes())
    (files / "moved.prototxt").write_text(net.replace("lmdb_raw", "elsewhere"))
    assert main(["test", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_the_first_of_several_gpus_is_used(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sdcaffe.flags._gpu_count", lambda: 1)
    for flag in ("1", "1,0"):
        assert main(["test", "net.prototxt", "-weights", "w", "-gpu", flag]) == 1
        assert "there is no GPU 1 on this machine: the last one is 0" in capsys.readouterr().err
