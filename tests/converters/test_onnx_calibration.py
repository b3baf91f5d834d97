"""8 bits by pictures without labels; judged by what ONNX Runtime makes of the file and by the full file's scores."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_nets import write_net
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_runtime import open_session

CONV = """layer { name: "NAME" type: "Convolution" bottom: "FROM" top: "NAME"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } GROUP } }
layer { name: "NAME_relu" type: "ReLU" bottom: "NAME" top: "NAME" }
"""


def conv(name: str, bottom: str, group: str = "") -> str:
    return CONV.replace("NAME", name).replace("FROM", bottom).replace("GROUP", group)


NET = f"""
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 12 dim: 12 }} }} }}
{conv("first", "data")}{conv("depthwise", "first", "group: 8")}{conv("branch", "first")}
layer {{ name: "sum" type: "Eltwise" bottom: "depthwise" bottom: "branch" top: "sum" }}
layer {{ name: "join" type: "Concat" bottom: "sum" bottom: "first" top: "join" }}
{conv("last", "join")}
layer {{ name: "gap" type: "Pooling" bottom: "last" top: "gap" pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "gap" top: "fc"
  inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }} }}
"""
RNG = np.random.default_rng(5)


def write_pictures(folder: Path) -> None:
    (folder / "more").mkdir(parents=True)
    for i in range(12):
        blocks = np.kron(RNG.integers(0, 255, (4, 3, 3)), np.ones((5 + i, 7, 1))).astype(np.uint8)
        Image.fromarray(blocks).save(folder / ("more" if i % 3 == 0 else "") / f"{i}.{'jpg' if i % 2 else 'PNG'}")
    (folder / "notes.txt").write_text("no picture")


def write_database(folder: Path) -> None:
    with lmdb.open(str(folder)) as database, database.begin(write=True) as put:
        for i in range(12):
            pixels = RNG.integers(0, 255, (3, 12, 12)).astype(np.uint8)
            datum = proto.Datum(channels=3, height=12, width=12, data=pixels.tobytes())
            put.put(f"{i:08}".encode(), datum.SerializeToString())


def fused(path: Path, folder: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


@pytest.mark.parametrize(
    ("kind", "in_bytes"),
    [("folder", False), ("folder", True), ("list", False), ("labelled list", False), ("lmdb", False)],
)
def test_ranges_come_from_pictures(
    kind: str, in_bytes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, weights = write_net(NET, tmp_path)
    write_pictures(tmp_path / "pictures")
    source = tmp_path / "pictures"
    if "list" in kind:
        label = " 3" if kind == "labelled list" else ""
        source = tmp_path / "list.txt"
        source.write_text("".join(f"pictures/{name}{label}\n" for name in ("1.jpg", "2.PNG", "more/3.jpg", "4.PNG")))
    if kind == "lmdb":
        source = tmp_path / "pictures_lmdb"
        write_database(source)
    scaled = ["--scale", "0.0078", "--mean", "128", *["--preprocess"] * in_bytes]
    assert main(["export", model, weights, "-o", str(tmp_path / "full.onnx"), *scaled]) == 0
    command = ["export", model, weights, "-o", str(tmp_path / "small.onnx"), "--int8", "--calibration", str(source)]
    capsys.readouterr()
    assert main([*command, *scaled]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("int8")]
    assert "outputs move by at most" in line
    kinds = fused(tmp_path / "small.onnx", tmp_path)
    assert kinds.count("QLinearConv") == 4
    assert not {"Conv", "FusedConv", "Relu"}.intersection(kinds)
    pixels = RNG.integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    x = pixels if in_bytes else ((pixels.transpose(0, 3, 1, 2).astype(np.float32)) - 128) * np.float32(0.0078)
    small, full = (
        open_session(str(tmp_path / name), name).run(None, {"data": x})[0] for name in ("small.onnx", "full.onnx")
    )
    assert np.abs(small - full).max() <= 0.1 * np.abs(full).max()


@pytest.mark.parametrize("flags", [["--opset", "11"], ["--opset", "12"], ["--static", "--batch", "5"]])
def test_8_bits_of_an_older_opset_and_of_a_fixed_batch(flags: list[str], tmp_path: Path) -> None:
    model, weights = write_net(NET, tmp_path)
    write_pictures(tmp_path / "pictures")
    full, small = tmp_path / "full.onnx", tmp_path / "small.onnx"
    pixels = ["--scale", "0.0078", "--mean", "128"]
    assert main(["export", model, weights, "-o", str(full), *pixels]) == 0
    eight = ["--int8", "--calibration", str(tmp_path / "pictures"), *pixels, *flags]
    assert main(["export", model, weights, "-o", str(small), *eight]) == 0
    written = onnx.load(small)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import] == [int(flags[1]) if "--opset" in flags else 18]
    assert fused(small, tmp_path).count("QLinearConv") == 4
    x = ((RNG.integers(0, 256, (5, 3, 12, 12)) - 128) * 0.0078).astype(np.float32)
    got, expected = (open_session(str(path), "").run(None, {"data": x})[0] for path in (small, full))
    assert np.abs(got - expected).max() <= 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--int8"], "name pictures, --calibration FOLDER"),
        (["--int8", "--calibration", "empty", "--scale", "1"], "empty: holds no pictures"),
        (["--int8", "--calibration", "list.txt", "--scale", "1"], "list.txt:2: there is no picture gone.png 1"),
        (["--int8", "--calibration", "pictures/1.jpg", "--scale", "1"], "pictures/1.jpg: is no list of pictures, nor"),
        (["--int8", "--calibration", "net.caffemodel", "--scale", "1"], "net.caffemodel: is no list of pictures, nor"),
        (["--int8", "--calibration", "pictures"], "nothing says how a picture becomes the input"),
        (["--calibration", "pictures"], "--calibration goes with --int8"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_written(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, weights = write_net(NET, tmp_path)
    write_pictures(tmp_path / "pictures")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("pictures/1.jpg 0\ngone.png 1\n")
    assert main(["export", model, weights, "-o", "net.onnx", *flags]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()
