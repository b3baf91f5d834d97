"""The layer that docs/own-layer.md writes as PyTorch source: what it gives, and what its mistakes are told as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from pages import ROOT, blocks

from sdcaffe import Net, discover
from sdcaffe.cli import main

NET = """
name: "n"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "s" type: "Swell" bottom: "x" top: "y" }
"""
(SWELL,) = [block.code for block in blocks(ROOT / "docs" / "own-layer.md") if "Swell" in block.code]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("n.prototxt").write_text(NET)
    return tmp_path


def written(code: str) -> list[str]:
    """Make the plugin known, in a file of its own, with weights 1, 2 and 3 saved; the flags that name it."""
    plugin = f"swell_{len(code)}.py"
    Path(plugin).write_text(code.replace('"Swell")', f'"Swell{len(code)}")'))
    Path("n.prototxt").write_text(NET.replace('"Swell"', f'"Swell{len(code)}"'))
    discover([plugin])
    net = Net("n.prototxt")
    net.params["s"][0].data[:] = torch.tensor([1.0, 2.0, 3.0])
    net.save("w.caffemodel")
    return ["--plugin", plugin]


def test_it_leaves_as_onnx_and_as_a_module(folder: Path):
    flags = written(SWELL)
    assert main(["export", "n.prototxt", "w.caffemodel", "-o", "n.onnx", *flags]) == 0
    assert main(["convert", "module", "n.prototxt", "m.py", "--weights", "w.caffemodel", *flags]) == 0
    x = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
    y = x * np.float32([1, 2, 3]).reshape(3, 1, 1)
    (out,) = onnxruntime.InferenceSession("n.onnx").run(None, {"x": x})
    assert np.array_equal(out, y)
    assert list(torch.load("m.pt", weights_only=True)) == ["s.weight"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda code: code.replace("torch_names = ", "other = "), "torch_names"),
        (lambda code: code.replace("return Source(", "raise KeyError("), "KeyError"),
    ],
)
def test_a_mistake_in_to_source_is_an_error_without_a_traceback(folder, capsys, change, told):
    flags = written(change(SWELL))
    assert main(["convert", "module", "n.prototxt", "m.py", "--weights", "w.caffemodel", *flags]) == 1
    message = capsys.readouterr().err
    assert message.startswith("sdcaffe: error: ")
    assert told in message
    assert not Path("m.py").exists()
