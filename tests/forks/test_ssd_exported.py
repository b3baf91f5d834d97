"""SSD in ONNX files: the fork's own rows, from ONNX Runtime, layer by layer and of whole detectors."""

from __future__ import annotations

import runpy
from pathlib import Path

import golden
import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import layers, proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_runtime import open_session

RECORDINGS = Path(__file__).parent / "recordings" / "ssd"
LAYERS = RECORDINGS / "layers"
ADAPTS = "det_eta"
NAMES = [f"det_{name}" for name in (  # each option once: an export has a cost of its own
    "background_none", "center_noshare", "corner_size", "keep_top_k", "none", "ssd", "top_k", "variance_in_target"
)]  # fmt: skip
RUNS = sorted(path.parent for path in RECORDINGS.glob("training/*/deploy.npz"))


def written(names, folder):
    """A net of recorded layers, each with inputs of its own, and weights for it: none."""
    layers.discover()
    net, given, expected = proto.NetParameter(name="recorded"), {}, {}
    for name in names:
        recording = golden.read(name, LAYERS)
        one = proto.NetParameter()
        proto.text.parse(recording.text("prototxt"), one, name)
        (layer,) = [layer for layer in one.layer if layer.type != "Input"]
        bottoms = [values for _, values in sorted(recording.all("bottom").items())]
        for i, values in enumerate(bottoms):
            layer.bottom[i] = f"{name}_{i}"
            made = net.layer.add(name=layer.bottom[i], type="Input", top=[layer.bottom[i]])
            made.input_param.shape.add().dim.extend(values.shape)
            given[layer.bottom[i]] = values
        layer.name, layer.top[0] = name, name
        net.layer.add().CopyFrom(layer)
        (expected[name],) = recording.all("top").values()
    (folder / "net.prototxt").write_text(str(net))
    (folder / "net.caffemodel").write_bytes(net.SerializeToString())
    return str(folder / "net.prototxt"), str(folder / "net.caffemodel"), given, expected


@pytest.mark.parametrize("names", [NAMES[1:6:2], pytest.param(NAMES, marks=pytest.mark.slow)], ids=["some", "all"])
def test_recorded_detections_come_out_of_the_file(tmp_path, names):
    model, weights, given, expected = written(names, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    for name, found in zip(sorted(names), session.run(sorted(names), given), strict=True):
        golden.close(torch.from_numpy(found), expected[name])


def test_an_overlap_that_falls_is_refused_in_words(tmp_path):
    model, weights, _, _ = written([ADAPTS], tmp_path)
    with pytest.raises(ModelError, match=r"eta 0\.\d+ with nms_threshold 0\.\d+ cannot be exported: ONNX's"):
        export(model, weights, str(tmp_path / "net.onnx"))
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_rows_in_fewer_bits_are_refused_in_words(kind, tmp_path, capsys):
    run, target = RUNS[0], tmp_path / "net.onnx"
    assert (
        main(["export", str(run / "deploy.prototxt"), str(run / "final.caffemodel"), "-o", str(target), f"--{kind}"])
        == 1
    )
    assert f'--{kind} is for nets whose outputs keep their shape: end the net before layer "detection_out"' in (
        capsys.readouterr().err
    )
    assert not target.exists()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_whole_detector_gives_the_forks_rows_for_any_batch(run, tmp_path, capsys):
    target = str(tmp_path / "net.onnx")
    assert main(["export", str(run / "deploy.prototxt"), str(run / "final.caffemodel"), "-o", target]) == 0
    assert "inputs   data (batch x 3 x 24 x 24)" in capsys.readouterr().out
    session = open_session(target, "net.onnx")
    recorded = np.load(run / "deploy.npz")
    data, expected = recorded["data"], recorded["detection_out"]
    (found,) = session.run(["detection_out"], {"data": data})
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    (alone,) = session.run(["detection_out"], {"data": data[1:2]})
    assert np.allclose(alone[0, 0, :, 1:], expected[0, 0, expected[0, 0, :, 0] == 1, 1:], rtol=1e-4, atol=1e-5)


def test_boxes_that_end_before_they_begin_meet_no_other(tmp_path):
    """As the fork's overlap has it, whose corner code may give such boxes; ONNX's turns them round."""
    (tmp_path / "net.prototxt").write_text("""name: "corners"
        layer { name: "in" type: "Input" top: "loc" top: "conf" top: "prior" input_param {
          shape { dim: 1 dim: 12 } shape { dim: 1 dim: 6 } shape { dim: 1 dim: 2 dim: 12 } } }
        layer { name: "boxes" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "boxes"
          detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.5 } variance_encoded_in_target: true } }
    """)
    net = sdcaffe.Net(str(tmp_path / "net.prototxt"), sdcaffe.TEST)
    net.save(str(tmp_path / "net.caffemodel"))
    export(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"), str(tmp_path / "net.onnx"))
    boxes = [[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.1, 0.1], [0.1, 0.1, 0.5, 0.6]]
    given = {
        "loc": np.zeros((1, 12), np.float32),
        "conf": np.array([[0, 0.9, 0, 0.8, 0, 0.7]], np.float32),
        "prior": np.array([[np.ravel(boxes), np.ones(12)]], np.float32),
    }
    (found,) = open_session(str(tmp_path / "net.onnx"), "net.onnx").run(["boxes"], given)
    assert np.allclose(found[0, 0], [[0, 1, 0.9, *boxes[0]], [0, 1, 0.8, *boxes[1]]])


def test_a_module_whose_only_class_is_the_background_finds_nothing(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text("""
        layer { name: "in" type: "Input" top: "loc" top: "conf" top: "prior" input_param {
          shape { dim: 2 dim: 8 } shape { dim: 2 dim: 2 } shape { dim: 1 dim: 2 dim: 8 } } }
        layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
          detection_output_param { num_classes: 1 nms_param { nms_threshold: 0.5 } } }""")
    assert main(["convert", "module", str(net), str(tmp_path / "module.py")]) == 0
    scope = runpy.run_path(str(tmp_path / "module.py"))
    (module,) = [made for made in scope.values() if isinstance(made, type) and made.__module__ == "<run_path>"][-1:]
    found = module()(torch.zeros(2, 8), torch.ones(2, 2), torch.zeros(1, 2, 8))
    assert found.reshape(-1, 7).tolist() == [[0.0, *[-1.0] * 6], [1.0, *[-1.0] * 6]]  # as of det_none's recording
