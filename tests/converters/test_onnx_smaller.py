from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from onnx_nets import ROOT, TINY, write_net, write_weights
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters import onnx_export, onnx_smaller
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

QUICKSTART = ROOT / "prototxt" / "quickstart"

COLOURS = """
name: "colours"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "list.txt" batch_size: 30 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "constant" value: 0.01 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "mean" type: "Reduction" bottom: "conv" top: "mean" reduction_param { axis: 1 operation: MEAN } }
layer { name: "quiet" type: "Silence" bottom: "mean" }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }
"""


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_colours_that_differ_are_told_apart_as_before(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).uniform(0, 1, (90, 3, 6, 6)).astype(np.float32)
    images[np.arange(90), labels] += 1
    with h5py.File("images.h5", "w") as file:
        file["data"], file["label"] = images, labels.astype(np.float32)
    Path("list.txt").write_text("images.h5\n")
    model, weights = write_net(COLOURS, tmp_path)
    net = Net(model, proto.TEST)
    with torch.no_grad():
        net.params["fc"][0].copy_(torch.eye(3))
    net.save(weights)
    net.close()
    done = export(model, weights, "net.onnx", Options(smaller=kind, batches=3))
    assert done.smaller is not None
    assert done.smaller.images == 90
    assert done.smaller.before.accuracy == done.smaller.after.accuracy == 1
    assert done.smaller.after.latency > 0
    session = open_session("net.onnx", "net.onnx")
    (scores,) = session.run(["fc"], {"data": images})
    means = images.mean((2, 3))
    assert np.abs(scores - means).max() < (0.002 if kind == "fp16" else 0.02) * means.max()


PHASES = """
name: "phases"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 8 } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
  hdf5_data_param { source: "test.txt" batch_size: 30 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


def write_phases() -> tuple[str, str, np.ndarray]:
    """The net PHASES, its weights and its test images, in the current directory."""
    images = {"train": np.random.default_rng(0).uniform(0, 1, (40, 3)), "test": 20 + 20 * np.eye(3)[np.arange(70) % 3]}
    for phase, values in images.items():
        labels = np.arange(len(values)) % 3
        labels[:20] = (labels[:20] + 1) % 3  # the first 20 are wrong; a second pass over them would count them twice
        with h5py.File(f"{phase}.h5", "w") as file:
            file["data"], file["label"] = values.astype(np.float32), labels.astype(np.float32)
        Path(f"{phase}.txt").write_text(f"{phase}.h5\n")
    model, weights = write_net(PHASES, Path.cwd())
    net = Net(model, proto.TEST)
    with torch.no_grad():
        net.params["fc"][0].copy_(torch.eye(3))
    net.save(weights)
    net.close()
    return model, weights, images["test"].astype(np.float32)


def test_ranges_come_from_training_and_accuracy_from_the_test_set_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, weights, images = write_phases()
    done = export(model, weights, "net.onnx", Options(smaller="int8"))
    assert done.smaller is not None
    assert done.smaller.images == 70
    assert done.smaller.before.accuracy == pytest.approx(50 / 70)
    (scores,) = open_session("net.onnx", "net.onnx").run(["fc"], {"data": images})
    assert scores.max() < 1.1  # of what is beyond the range of training nothing is left


@pytest.mark.parametrize("batch", [None, 4, 100])
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_static_batch_is_measured_on_every_image_once(
    kind: str, batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, weights, _ = write_phases()
    done = export(model, weights, "net.onnx", Options(smaller=kind, static=True, batch=batch))
    assert done.smaller is not None
    assert done.smaller.images == 70
    assert done.smaller.before.accuracy == pytest.approx(50 / 70)
    session = open_session("net.onnx", "net.onnx")
    assert session.get_inputs()[0].shape == [batch or 30, 3]


def test_images_of_another_size_than_the_models_are_refused_and_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(QUICKSTART / "train_val_baseline.prototxt")
    weights = write_weights(QUICKSTART / "deploy.prototxt", tmp_path / "net.caffemodel")
    options = Options(smaller="int8", static=True, shapes={"image": (1, 3, 48, 48)})
    with pytest.raises(ModelError, match=r"images \(3, 32, 32\); the model takes \(3, 48, 48\)"):
        export(data, weights, "net.onnx", options)
    options.smaller = "fp16"
    done = export(data, weights, "net.onnx", options)
    assert done.smaller is not None
    assert done.smaller.before.accuracy is None
    assert open_session("net.onnx", "net.onnx").get_inputs()[0].shape == [1, 3, 48, 48]


@pytest.mark.parametrize(
    ("kind", "share", "in_bytes"), [("fp16", 0.55, False), ("int8", 0.4, False), ("int8", 0.4, True)]
)
def test_the_command_tells_size_accuracy_and_time(
    kind: str, share: float, in_bytes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_weights(QUICKSTART / "deploy.prototxt", tmp_path / "net.caffemodel")
    target = tmp_path / "net.onnx"
    data = ["--data", str(QUICKSTART / "train_val_baseline.prototxt"), "--iterations", "1"]
    command = ["export", str(QUICKSTART / "deploy.prototxt"), weights, "-o", str(target), f"--{kind}", *data]
    assert main([*command, *["--preprocess"] * in_bytes]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(kind)]
    net = Net(QUICKSTART / "train_val_baseline.prototxt", proto.TEST, weights)
    expected = float(net()["accuracy"])
    net.close()
    assert f"accuracy {expected:.4f} ->" in line
    assert "on 100 images" in line
    before, after = (int(word) for word in line.split(", ")[2].split(" bytes")[0].split(" -> "))
    assert after == target.stat().st_size < share * before


@pytest.mark.parametrize("moment", ["calibration", "writing"])
def test_ctrl_c_leaves_the_old_file_and_no_litter(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, weights, _ = write_phases()
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    for folder in (out, scratch):
        folder.mkdir()
    (out / "net.onnx").write_text("old")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen: list[bool] = []

    class Feeds(list[dict[str, np.ndarray]]):
        def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
            yield self[0]
            seen.append(any(scratch.iterdir()))
            raise KeyboardInterrupt

    def interrupt(*_: object) -> None:
        seen.append(len(list(out.iterdir())) == 2)
        raise KeyboardInterrupt

    if moment == "calibration":
        monkeypatch.setattr(onnx_export, "feeds_of", lambda *_: Feeds([{"data": np.zeros((1, 3), np.float32)}]))
    else:
        monkeypatch.setattr(os, "fsync", interrupt)
    kind = "--int8" if moment == "calibration" else "--fp16"
    assert main(["export", model, weights, "-o", str(out / "net.onnx"), kind]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: interrupted\n"
    assert seen == [True]  # there was something to take away
    assert [path.name for path in out.iterdir()] == ["net.onnx"]
    assert (out / "net.onnx").read_text() == "old"
    assert not list(scratch.iterdir())


def test_no_room_for_what_lies_in_between_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        ModelError, match=rf"{tmp_path}/\w+: cannot hold the models in between: No space left on device"
    ):
        onnx_smaller._quantised(b"model", [], None)
    assert not list(tmp_path.iterdir())


TWO = """
layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "b" type: "Input" top: "b" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc_a" type: "InnerProduct" bottom: "a" top: "fc_a"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "fc_a" bottom: "b" top: "sum" }
"""


def test_8_bits_of_two_inputs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, weights = write_net(TWO, tmp_path)
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "black.png")
    command = ["export", model, weights, "-o", str(tmp_path / "net.onnx")]
    assert main([*command, "--int8", "--calibration", str(tmp_path), "--scale", "1"]) == 1
    assert "--int8 is for nets of one input, of images; this one takes a, b" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()
    assert main([*command, "--fp16", "--static", "--batch", "3"]) == 0
    assert [value.shape for value in open_session(command[-1], "").get_inputs()] == [[3, 3, 6, 6], [3, 4]]


def test_without_test_images_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = write_net(TINY, tmp_path)
    monkeypatch.setattr(onnx_export, "_agreeing", lambda *_: pytest.fail("the work was begun"))
    with pytest.raises(ModelError, match="has no data layer whose images give the ranges"):
        export(model, weights, str(tmp_path / "net.onnx"), Options(smaller="int8"))
    assert not (tmp_path / "net.onnx").exists()
