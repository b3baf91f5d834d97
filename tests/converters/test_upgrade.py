from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import TINY, write_net

from sdcaffe import proto
from sdcaffe.cli import main

FILES = Path(__file__).parents[1] / "goldens" / "files"


@pytest.mark.parametrize(
    ("name", "message"), [("v0", "NetParameter"), ("v1", "NetParameter"), ("solver_old", "SolverParameter")]
)
def test_the_file_is_that_of_caffes_tool(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new.prototxt"
    assert main(["upgrade", str(FILES / f"{name}.prototxt"), str(target)]) == 0
    assert target.read_bytes() == (FILES / f"{name}_upgraded.prototxt").read_bytes()
    assert capsys.readouterr().out == f"Wrote upgraded {message} text proto to {target}\n"
    assert main(["upgrade", str(target), str(target)]) == 0  # onto itself, and nothing changes
    assert target.read_bytes() == (FILES / f"{name}_upgraded.prototxt").read_bytes()
    assert capsys.readouterr().out.startswith(f"{target} is in the latest form already\n")


def test_a_caffemodel_of_version_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = proto.NetParameter(name="old")
    layer = old.layers.add(name="fc", type=proto.V1LayerParameter.INNER_PRODUCT, bottom=["x"], top=["y"])
    layer.blobs_lr.extend([1, 2])
    layer.inner_product_param.num_output = 2
    layer.blobs.add(num=1, channels=1, height=2, width=3, data=[1, 2, 3, 4, 5, 6])
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[7, 8])
    source, target = tmp_path / "old.caffemodel", tmp_path / "new.caffemodel"
    source.write_bytes(old.SerializeToString())
    assert main(["upgrade", str(source), str(target)]) == 0
    assert capsys.readouterr().out == f"Wrote upgraded NetParameter binary proto to {target}\n"
    new = proto.read_binary(target, proto.NetParameter)
    assert not new.layers
    assert (new.layer[0].type, [p.lr_mult for p in new.layer[0].param]) == ("InnerProduct", [1, 2])
    (weights,) = proto.read_weights(target)
    np.testing.assert_array_equal(weights.blobs[0], np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3))
    np.testing.assert_array_equal(weights.blobs[1].ravel(), [7, 8])


def test_a_current_caffemodel_keeps_its_blobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new.caffemodel"
    assert main(["upgrade", str(FILES / "tiny_iter_30.caffemodel"), str(target)]) == 0
    assert "is in the latest form already" in capsys.readouterr().out
    before, after = (proto.read_weights(path) for path in (FILES / "tiny_iter_30.caffemodel", target))
    assert [layer.name for layer in before] == [layer.name for layer in after]
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fields_of_a_fork_are_left_out_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "fork.prototxt", tmp_path / "new.prototxt"
    source.write_text('layers { name: "r" type: RELU quantize: 8 bottom: "x" top: "x" }')
    assert main(["upgrade", str(source), str(target)]) == 1
    assert not target.exists()
    assert main(["upgrade", "--ignore-unknown", str(source), str(target)]) == 0
    assert target.read_text() == 'layer {\n  name: "r"\n  type: "ReLU"\n  bottom: "x"\n  top: "x"\n}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('name: "x"\nlayer { nmae: "y" }', 'x.prototxt:2:9: message "LayerParameter" has no field "nmae"'),
        ('net: "x"\nbase_rl: 1', 'x.prototxt:2:1: message "SolverParameter" has no field "base_rl"'),
        ('type: "Adam" solver_type: ADAM', 'has both "solver_type" and "type"'),
        ("layers { type: RELU } layer { }", 'the net has both "layer" and "layers"'),
    ],
)
def test_a_text_that_is_neither_net_nor_solver(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.prototxt").write_text(content)
    assert main(["upgrade", str(tmp_path / "x.prototxt"), str(tmp_path / "y")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_iter_30.solverstate", "is a .solverstate"),
        ("mean.binaryproto", "is a single blob"),
        ("tiny_h5_iter_15.caffemodel.h5", "is HDF5, whose form never changed"),
        ("images/im01.png", "is not a whole binary NetParameter"),
        ("nothing", "No such file or directory"),
    ],
)
def test_a_file_of_another_kind(name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade", str(FILES / name), str(tmp_path / "y")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "y").exists()


def test_to_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["upgrade", str(FILES / "v0.prototxt"), "-"]) == 0
    out, words = capfdbinary.readouterr()
    assert out == (FILES / "v0_upgraded.prototxt").read_bytes()
    assert words == b"Wrote upgraded NetParameter text proto to -\n"
    weights = FILES / "tiny_iter_30.caffemodel"
    assert main(["upgrade", str(weights), str(tmp_path / "new.caffemodel")]) == 0
    capfdbinary.readouterr()
    assert main(["upgrade", str(weights), "-"]) == 0
    assert capfdbinary.readouterr().out == (tmp_path / "new.caffemodel").read_bytes()
    assert main(["upgrade", str(tmp_path / "gone"), "-"]) == 1
    assert capfdbinary.readouterr().out == b""


def test_what_convert_writes_to_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    model, weights = write_net(TINY, tmp_path)
    assert main(["export", model, weights, "-o", str(tmp_path / "net.onnx")]) == 0
    mean = str(tmp_path / "mean.npy")
    np.save(mean, np.ones((3, 4, 5), np.float32))
    commands = {
        "net.py": ["module", model],
        "two.caffemodel": ["weights", weights],
        "mean.binaryproto": ["mean", mean],
        "back.prototxt": ["onnx-to-caffe", str(tmp_path / "net.onnx")],
    }
    for name, command in commands.items():
        more = [str(tmp_path / "back.caffemodel")] if name == "back.prototxt" else []
        assert main(["convert", *command, str(tmp_path / name), *more]) == 0
        capfdbinary.readouterr()
        assert main(["convert", *command, "-", *more]) == 0
        out, words = capfdbinary.readouterr()
        assert out == (tmp_path / name).read_bytes()
        assert words.decode().splitlines()[-1].startswith("Wrote -")
    for wrong in (
        ["module", model, "-", "--weights", weights],
        ["onnx-to-caffe", str(tmp_path / "net.onnx"), "-", "-"],
        ["mean", mean, "-", "-"],
        ["image-folder", str(tmp_path), "-"],
    ):
        assert main(["convert", *wrong]) == 2
        assert capfdbinary.readouterr().out == b""
