"""Half precision: what it cannot hold stays in float32; judged by ONNX Runtime and onnx.checker."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import onnx
import pytest
import torch
from onnx_nets import write_net

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters import onnx_export
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_pixels import Pixels
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }'
CONV = """layer { name: "conv" type: "Convolution" bottom: "BOTTOM" top: "TOP"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "gaussian" std: STD } } }"""


def power(bottom: str, top: str, scale: float) -> str:
    return f'layer {{ name: "{top}" type: "Power" bottom: "{bottom}" top: "{top}" power_param {{ scale: {scale} }} }}\n'


def conv(bottom: str, top: str, std: float = 0.2) -> str:
    return CONV.replace("BOTTOM", bottom).replace("TOP", top).replace("STD", str(std)) + "\n"


NETS = {
    "too large": power("x", "up", 250000) + conv("up", "conv") + power("conv", "y", 4e-6),
    "too small": power("x", "up", 2e-8) + conv("up", "conv") + power("conv", "y", 5e7),
    "small weights": conv("x", "conv", 1e-7) + power("conv", "y", 1e7),
    "a norm of small numbers": power("x", "p", 1e-4)
    + 'layer { name: "n" type: "BatchNorm" bottom: "p" top: "y" batch_norm_param { eps: 1e-12 } }',
    "a mean of small numbers": power("x", "p", 1e-4) + 'layer { name: "m" type: "MVN" bottom: "p" top: "y" }',
    "squares": power("x", "p", 400)
    + 'layer { name: "n" type: "LRN" bottom: "p" top: "y" lrn_param { local_size: 3 alpha: 1e-4 } }',
    "sums of squares": power("x", "p", 1000)
    + 'layer { name: "s" type: "Reduction" bottom: "p" top: "s" reduction_param { operation: SUMSQ axis: 1 } }\n'
    + power("s", "y", 1e-6),
    "e^x": 'layer { name: "e" type: "Exp" bottom: "x" top: "e" exp_param { scale: 5 } }\n'
    'layer { name: "g" type: "Log" bottom: "e" top: "y" }',
    "one small channel": 'layer { name: "s" type: "Scale" bottom: "x" top: "s" }\n'
    'layer { name: "t" type: "AbsVal" bottom: "s" top: "t" }\nlayer { name: "u" type: "Scale" bottom: "t" top: "y" }',
}


def write(text: str, folder: Path) -> tuple[str, str]:
    model, weights = write_net(f"{INPUT}\n{text}", folder)
    net = Net(model, proto.TEST, weights)
    with torch.no_grad():
        for name, layer in net.layers.items():
            if layer.type == "BatchNorm":  # the statistics of what comes in
                layer.blobs[0].zero_()
                layer.blobs[1].fill_(1e-8 * 3.7)
            if layer.type == "Scale":
                layer.blobs[0].copy_(torch.tensor([1e-6, 1, 2] if name == "s" else [1e6, 1, 0.5]))
    net.save(weights)
    return model, weights


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_what_half_precision_cannot_hold_stays_in_float32(name: str, fold: bool, tmp_path: Path) -> None:
    model, weights = write(NETS[name], tmp_path)
    done = export(model, weights, str(tmp_path / "half.onnx"), Options(smaller="fp16", fold=fold))
    assert done.smaller is not None
    assert done.smaller.kept
    assert set(done.smaller.kept) <= {layer.name for layer in proto.read_net(model).layer}
    onnx.checker.check_model(onnx.load(tmp_path / "half.onnx"), full_check=True)
    x = np.random.default_rng(3).standard_normal((4, 3, 9, 9)).astype(np.float32)
    (got,) = open_session(str(tmp_path / "half.onnx"), "half").run(None, {"x": x})
    net = Net(model, proto.TEST, weights)
    with torch.no_grad():
        expected = net({"x": torch.from_numpy(x)})["y"].numpy()
    for channel in range(got.shape[1] if name == "one small channel" else 1):
        where = np.s_[:, channel] if name == "one small channel" else np.s_[:]
        assert np.abs(got[where] - expected[where]).max() <= 0.02 * np.abs(expected[where]).max()


STEEP = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "pw" type: "Power" bottom: "data" top: "pw" power_param { scale: 1e5 shift: -3e4 } }
layer { name: "c.l_1" type: "Clip" bottom: "pw" top: "cl" clip_param { min: -1e5 max: 8e4 } }
layer { name: "back" type: "Power" bottom: "cl" top: "back" power_param { scale: 1e-5 } }
layer { name: "sm" type: "Softmax" bottom: "pw" top: "sm" }
"""


@pytest.mark.parametrize("opset", [11, 18])
def test_what_stays_is_told_by_the_names_of_layers(opset: int, tmp_path: Path) -> None:
    """An older opset has further nodes for a layer, as its Softmax is of the last axis."""
    model, weights = write_net(STEEP, tmp_path)
    done = export(model, weights, str(tmp_path / "half.onnx"), Options(smaller="fp16", opset=opset))
    assert done.smaller is not None
    assert done.smaller.kept == ["pw", "c.l_1", "back", "sm"]


def test_a_net_without_data_is_written_with_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, weights = write_net(f"{INPUT}\n{conv('x', 'y')}", tmp_path)
    assert main(["export", model, weights, "-o", str(tmp_path / "half.onnx"), "--fp16"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("fp16")]
    assert "outputs move by at most" in line
    assert f"-> {(tmp_path / 'half.onnx').stat().st_size} bytes" in line
    assert "ms a pass" in line
    assert "accuracy" not in line
    assert "float32 " not in printed
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}


PLACES = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 96 dim: 96 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "score" type: "Convolution" bottom: "conv" top: "score"
  convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "score_relu" type: "ReLU" bottom: "score" top: "score" }
layer { name: "label" type: "ArgMax" bottom: "score" top: "label" argmax_param { axis: 1 } }
"""


@pytest.mark.parametrize(("smaller", "allowed"), [("fp16", 0.005), ("int8", 0.05)])
def test_labels_of_pixels_are_held_by_the_scores_they_are_chosen_by(
    smaller: str, allowed: float, tmp_path: Path
) -> None:
    """Of some ten thousand pixels some have two scores that a rounding exchanges."""
    model, weights = write_net(PLACES, tmp_path)
    with lmdb.open(str(tmp_path / "noise")) as database, database.begin(write=True) as put:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96)).astype(np.uint8)
        put.put(b"0", proto.Datum(channels=3, height=96, width=96, data=pixels.tobytes()).SerializeToString())
    calibration = str(tmp_path / "noise") if smaller == "int8" else None
    options = Options(smaller=smaller, calibration=calibration, pixels=Pixels(mean=[128.0], scale=0.01))
    done = export(model, weights, str(tmp_path / "small.onnx"), options)
    export(model, weights, str(tmp_path / "full.onnx"), Options(ends=("score",)))
    assert done.smaller is not None
    assert 0 < done.smaller.moved <= allowed
    x = ((pixels[None] - 128.0) * 0.01).astype(np.float32)
    (labels,) = open_session(str(tmp_path / "small.onnx"), "").run(["label"], {"x": x})
    (scores,) = open_session(str(tmp_path / "full.onnx"), "").run(["score"], {"x": x})
    chosen = np.take_along_axis(scores, labels.astype(int), axis=1)[:, 0]
    best = scores.max(1)
    assert (best - chosen).max() <= 2 * allowed * best.max()
    if smaller == "fp16":
        assert (chosen < best).any()  # or nothing was tried


@pytest.mark.parametrize("smaller", [None, "fp16"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 1), (3, 3, 2)])
def test_places_are_exact_as_an_output(tmp_path: Path, smaller: str | None, kernel: int, stride: int, pad: int) -> None:
    """A mask of places, beyond half precision's whole numbers too; the larger padding makes windows of one pixel."""
    fields = f"pool: MAX kernel_size: {kernel} stride: {stride} pad: {pad}"
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 60 dim: 50 } } }\n'
        f'layer {{ name: "p" type: "Pooling" bottom: "x" top: "y" top: "places" pooling_param {{ {fields} }} }}\n'
    )
    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(smaller=smaller))
    random = np.random.default_rng(5)
    x = random.integers(-1024, 1024, (2, 3, 60, 50)).astype(np.float32)
    session = open_session(str(tmp_path / "net.onnx"), "net")
    got = dict(zip([value.name for value in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    rows, columns = got["places"].shape[2:]
    for n, c, i, j in np.ndindex(2, 3, rows, columns):
        top, left = max(0, i * stride - pad), max(0, j * stride - pad)
        window = x[n, c, top : i * stride - pad + kernel, left : j * stride - pad + kernel]
        at = int(got["places"][n, c, i, j])
        assert x[n, c].flat[at] == window.max() == got["y"][n, c, i, j]
        assert top <= at // 50 < top + window.shape[0]
        assert left <= at % 50 < left + window.shape[1]


def test_a_file_that_moves_scores_too_far_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = write_net(f"{INPUT}\n{conv('x', 'y')}", tmp_path)
    monkeypatch.setattr(onnx_export, "HALF_TOLERANCE", 1e-9)
    with pytest.raises(ModelError, match=r"in half precision an output differs from the net by .*nothing was written"):
        export(model, weights, str(tmp_path / "half.onnx"), Options(smaller="fp16"))
    assert not (tmp_path / "half.onnx").exists()
