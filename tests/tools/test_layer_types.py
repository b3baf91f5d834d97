from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.layers.base import registered

ROOT = Path(__file__).parents[2]
FOCAL_LOSS = ROOT / "examples" / "focal_loss.py"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["layers", *arguments]) == 0
    return capsys.readouterr().out


def row(table: str, first: str) -> list[str]:
    """The cells of the line that starts with `first`."""
    (line,) = re.findall(rf"(?m)^ *({first}  .*)$", table)
    return re.split(r"  +", line.strip())


def test_every_type_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys).splitlines()
    names = [line.split()[0] for line in lines[2 : lines.index("")]]
    assert set(names) == set(registered())
    assert names == sorted(names)
    assert row("\n".join(lines), "LSTM") == ["LSTM", "2 to 5", "1 to 3", "yes", "yes", "recurrent_param", "BVLC Caffe"]
    assert row("\n".join(lines), "Convolution")[1:3] == ["1 or more", "as bottoms"]
    assert row("\n".join(lines), "BNLL") == ["BNLL", "1", "1", "-", "yes", "-", "BVLC Caffe"]
    assert [row("\n".join(lines), name)[4] for name in ("Python", "Proposal", "Data")] == ["no", "yes", "yes"]
    assert [row("\n".join(lines), name)[4] for name in ("Accuracy", "EuclideanLoss")] == ["left out"] * 2
    assert row("\n".join(lines), "Distort")[-1] == "the paper"


def test_types_with_blobs_are_those_of_caffe(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys).splitlines()
    rows = [re.split(r"  +", line.strip()) for line in lines[2 : lines.index("")]]
    caffes = {cells[0] for cells in rows if cells[-1].startswith("BVLC Caffe") and cells[3] == "yes"}
    assert caffes - {"Python"} == {
        *("BatchNorm", "Bias", "Convolution", "Deconvolution", "Embed", "InnerProduct", "LSTM", "Parameter"),
        *("PReLU", "RNN", "Scale"),
    }


def test_fields_have_caffes_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "Convolution")
    assert "convolution_param (LayerParameter field 106):" in text
    assert row(text, "kernel_size") == ["kernel_size", "uint32[]", "-"]
    assert row(text, "bias_term") == ["bias_term", "bool", "true"]
    assert row(text, "engine")[1].startswith("DEFAULT | CAFFE | CUDNN")
    assert row(text, "weight_filler") == ["weight_filler", "FillerParameter", "-"]
    assert row(text, "variance_norm") == ["variance_norm", "FAN_IN | FAN_OUT | AVERAGE", "FAN_IN"]
    assert row(text, "type") == ["type", "string", '"constant"']
    assert row(shown(capsys, "BatchNorm"), "moving_average_fraction")[1:] == ["float", "0.999"]
    assert row(shown(capsys, "LRN"), "alpha")[1:] == ["float", "1"]


def test_blobs_gradients_places_and_losses(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "InnerProduct")
    assert "blobs:          Blob 0 is the weight (N, K), or (K, N) with `transpose`; blob 1 the bias (N,).\n" in text
    assert "in place:       no\n" in text
    text = shown(capsys, "SoftmaxWithLoss")
    assert "blobs:          none\n" in text
    assert "no gradient to: bottom 1\n" in text
    assert "loss weight:    1 for the first top" in text
    assert "\nloss_param (" in text
    assert "\nsoftmax_param (" in text
    assert "in place:       yes\n" in shown(capsys, "ReLU")


def test_what_bvlc_caffe_does_not_have_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "Data")
    assert row(text, "shuffle")[-1] == "not in BVLC Caffe"
    assert row(text, "threads")[-1] == "not in BVLC Caffe, not looked at"
    pooling = shown(capsys, "Pooling")
    assert row(pooling, "ceil_mode") == ["ceil_mode", "bool", "true", "not in BVLC Caffe"]
    assert row(pooling, "round_mode") == ["round_mode", "CEIL | FLOOR", "CEIL"]
    assert "dialects:       CAFFE-DACH, Synopsys Caffe\n" in pooling
    assert row(text, "batch_size") == ["batch_size", "uint32", "-"]
    assert "\ntransform_param (" in text


def test_of_a_fork_s_own_message_no_field_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "BN")
    assert row(text, "var_eps") == ["var_eps", "float", "1e-10"]
    assert row(text, "icnet") == ["icnet", "bool", "false"]


def test_the_code_of_a_type_and_of_its_dialects_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("BN", "Pooling", "Reorg"):
        found = re.search(r"^code: +(.+)$", shown(capsys, name), re.MULTILINE)
        assert found
        files = [ROOT / f"{module.replace('.', '/')}.py" for module in found[1].split(", ")]
        assert all(f'@register("{name}"' in file.read_text() for file in files)
        assert len(files) == (3 if name == "Pooling" else 1)
    text = shown(capsys, "focalloss", "--plugin", str(FOCAL_LOSS))
    assert f"\ncode:           {FOCAL_LOSS}\n" in text


def test_a_docstring_that_refers_to_another_brings_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "RNN")
    assert "see Recurrent for bottoms and tops" in text
    assert "\nRecurrent: " in text


def test_a_plugin_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "focalloss", "--plugin", str(FOCAL_LOSS))
    assert text.startswith(f"FocalLoss, from plugin {FOCAL_LOSS}\n")
    assert "focal_loss_param (LayerParameter field 2000):" in text
    assert row(text, "gamma") == ["gamma", "float", "2"]
    assert row(shown(capsys), "FocalLoss")[-1] == f"plugin {FOCAL_LOSS}"


@pytest.mark.parametrize(
    ("name", "message"),
    [("Convolutoin", 'Did you mean "Convolution"?'), ("Qqqqq", "`sdcaffe layers` lists all")],
)
def test_an_unknown_type(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", name]) == 1
    assert capsys.readouterr().err == f'sdcaffe: error: unknown layer type "{name}". {message}' + (
        "\n" if "Did" in message else "; --plugin brings others.\n"
    )


def test_who_brought_a_type(capsys: pytest.CaptureFixture[str]) -> None:
    table = shown(capsys)
    assert row(table, "Axpy")[-1] == "SENet"
    assert row(table, "BN")[-1] == "SegNet, PSPNet, TSN, Synopsys Caffe"
    assert row(table, "BatchNorm")[-1].startswith("BVLC Caffe, NVIDIA Caffe")
    assert row(table, "Permute")[-1] == "SSD (weiliu89/caffe)"
    assert shown(capsys, "Distort").startswith("Distort, from the paper\n")
    assert "dialects:       PSPNet, TSN, Synopsys Caffe\n" in shown(capsys, "BN")


def test_field_numbers_that_are_free(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = re.findall(r"(?m)^Free field numbers for a layer of your own: (.*)$", shown(capsys))
    *ranges, last = [[int(number) for number in re.findall(r"\d+", part)] for part in text.split(", ")]
    free = {number for ends in ranges if ends[-1] < 5000 for number in range(ends[0], ends[-1] + 1)}
    taken = {field.number for field in proto.LayerParameter.DESCRIPTOR.fields if 1000 <= field.number < 5000}
    assert free & taken == set()
    assert {1000, 1002, 1005} <= free
    assert {1001, 1003, 1004} <= taken
    assert last[0] > max(field.number for field in proto.LayerParameter.DESCRIPTOR.fields)


def test_where_a_type_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "Convolution")
    assert "ONNX:           yes\nPyTorch source: yes\n" in text
    text = shown(capsys, "Python")
    assert "ONNX:           no, it is Python code\nPyTorch source: no, it is Python code\n" in text
    for name in ("EuclideanLoss", "Accuracy", "Silence", "KLLoss", "HDF5Output"):  # which `sdcaffe export` drops
        assert re.search(
            "(?m)^ONNX: +nothing: it is left out\nPyTorch source: nothing: it is left out$", shown(capsys, name)
        )
    assert "ONNX:           nothing: it is left out; its second top is a Softmax's\n" in shown(
        capsys, "SoftmaxWithLoss"
    )
    for name in ("Data", "Input", "DummyData"):
        assert "ONNX:           an input\nPyTorch source: an input\n" in shown(capsys, name)
