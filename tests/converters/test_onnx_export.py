from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_nets import GOLDENS, ROOT, TINY, write_net, write_weights

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters import onnx_export
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_pixels import Pixels
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.errors import GraphError, SnapshotError, WeightsError
from sdcaffe.layers.deconvolution import Deconvolution
from sdcaffe.net import Net, stages

QUICKSTART = ROOT / "prototxt" / "quickstart"


def run(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(str(path), str(path))
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def tiny_in_float64(model: str, weights: str, x: np.ndarray) -> np.ndarray:
    """The net TINY, layer by layer as Caffe defines them, from the numbers in the weight file."""
    blobs = {entry.name: [np.asarray(b, np.float64) for b in entry.blobs] for entry in proto.read_weights(weights)}

    def normalised(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance, weight = blobs[name]
        return (x - (mean / weight)[:, None, None]) / np.sqrt((variance / weight)[:, None, None] + 1e-5)

    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    weight, bias = blobs["conv"]
    n, _, h, w = x.shape
    conv = np.zeros((n, 6, h, w))
    for o in range(6):  # three groups: outputs 2 g and 2 g + 1 see channel g
        for i in range(3):
            for j in range(3):
                conv[:, o] += weight[o, 0, i, j] * padded[:, o // 2, i : i + h, j : j + w]
    conv = normalised(conv + bias[:, None, None], "bn")
    conv = np.maximum(conv * blobs["scale"][0][:, None, None] + blobs["scale"][1][:, None, None], 0)
    weight, bias = blobs["up"]
    up = np.zeros((n, 4, 2 * h, 2 * w))
    for c in range(6):  # two groups: inputs 0 to 2 make outputs 0 and 1
        for o in range(2):
            for i in range(2):
                for j in range(2):
                    up[:, c // 3 * 2 + o, i::2, j::2] += weight[c, o, i, j] * conv[:, c]
    pooled = normalised(up + bias[:, None, None], "up_bn").mean((2, 3))
    fc = pooled @ blobs["fc"][0].T + blobs["fc"][1]
    fc = np.exp(fc * blobs["fc_scale"][0] + blobs["fc_scale"][1])
    return fc / fc.sum(1, keepdims=True)


def test_a_comma_in_the_name_of_the_weights(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    comma = Path(weights).rename(tmp_path / "a,b.caffemodel")
    assert export(model, str(comma), str(tmp_path / "net.onnx")).agreement.difference < 1e-4


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "kept"])
def test_batch_norm_and_scale_fold_into_weights_and_numbers_stay(fold: bool, tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    done = export(model, weights, str(tmp_path / "net.onnx"), Options(fold=fold))
    assert done.folded == (["bn", "scale", "up_bn", "fc_scale"] if fold else [])
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds.count("BatchNormalization") == (0 if fold else 2)
    for shape in ((1, 3, 8, 8), (4, 3, 10, 14)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        close(run(tmp_path / "net.onnx", data=x)["prob"], tiny_in_float64(model, weights, x))


def test_a_scale_behind_a_batch_norm_becomes_its_own(tmp_path: Path) -> None:
    text = """name: "first"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
        layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }"""
    model, weights = write_net(text, tmp_path)
    assert export(model, weights, str(tmp_path / "net.onnx")).folded == ["scale"]
    assert [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node] == ["BatchNormalization"]
    blobs = {entry.name: [np.asarray(b, np.float64) for b in entry.blobs] for entry in proto.read_weights(weights)}
    mean, variance = (blobs["bn"][i][:, None, None] / blobs["bn"][2] for i in (0, 1))
    scale, bias = (blob[:, None, None] for blob in blobs["scale"])
    x = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype(np.float32)
    close(run(tmp_path / "net.onnx", data=x)["bn"], (x - mean) / np.sqrt(variance + 1e-5) * scale + bias)


def test_names_are_caffes_and_nothing_of_the_machine_is_told(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    done = export(model, weights, str(tmp_path / "net.onnx"))
    assert done.inputs == ["data (batch x 3 x height x width)"]
    assert done.outputs == ["prob (batch x 5)"]
    graph = onnx.load(tmp_path / "net.onnx").graph
    names = [node.name for node in graph.node]
    assert names[:3] == ["conv", "relu", "up"]
    assert names[-1] == "prob"
    assert len(set(names)) == len(names)
    assert {"conv", "up_bn", "pool", "prob"} <= {name for node in graph.node for name in node.output}
    data = (tmp_path / "net.onnx").read_bytes()
    assert b".py" not in data
    assert str(tmp_path).encode() not in data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.onnx", "net.prototxt"]


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_the_opset_can_be_chosen(opset: int, tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(opset=opset))
    assert [entry.version for entry in onnx.load(tmp_path / "net.onnx").opset_import] == [opset]
    with pytest.raises(ModelError, match="there are 11 to 23"):
        export(model, weights, str(tmp_path / "net.onnx"), Options(opset=7))


def test_a_train_val_loses_data_losses_and_labels(tmp_path: Path) -> None:
    model = QUICKSTART / "train_val_self_distilled.prototxt"
    weights = write_weights(QUICKSTART / "deploy.prototxt", tmp_path / "net.caffemodel")
    done = export(str(model), weights, str(tmp_path / "net.onnx"))
    assert done.dropped == ["loss", "accuracy"]
    assert done.inputs == ["image (batch x 3 x height x width)"]
    assert done.outputs == ["fc (batch x 10)"]
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.float32)
    net = Net(QUICKSTART / "deploy.prototxt", proto.TEST, weights)
    with torch.no_grad():
        expected = net({"data": (x - 127.5) / 63.75}, keep=["fc"])["fc"].numpy()
    close(run(tmp_path / "net.onnx", image=x)["fc"], expected)


BRANCHES = """
name: "branches"
layer { name: "data" type: "HDF5Data" top: "image" top: "label" top: "weight"
  hdf5_data_param { source: "nowhere" batch_size: 4 } }
layer { name: "distort" type: "Distort" bottom: "image" top: "a" top: "b" distort_param { mean_value: 5 std_value: 2 } }
layer { name: "fc_a" type: "InnerProduct" bottom: "a" top: "fc_a" param { name: "w" } param { name: "v" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "fc_b" type: "InnerProduct" bottom: "b" top: "fc_b" param { name: "w" } param { name: "v" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "half" type: "Power" bottom: "label" top: "half" power_param { scale: 0.5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc_a" bottom: "label" top: "loss" top: "prob" }
layer { name: "more" type: "Power" bottom: "loss" top: "more" power_param { scale: 2 } }
layer { name: "apart" type: "EuclideanLoss" bottom: "fc_a" bottom: "fc_b" top: "apart" }
layer { name: "quiet" type: "Silence" bottom: "weight" }
"""


def test_second_branch_label_branches_and_what_hangs_on_losses_go(tmp_path: Path) -> None:
    deploy = """name: "one"
        layer { name: "in" type: "Input" top: "image" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "fc_a" type: "InnerProduct" bottom: "image" top: "fc_a"
          inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""
    _, weights = write_net(deploy, tmp_path)
    (tmp_path / "train_val.prototxt").write_text(BRANCHES)
    options = Options(shapes={"image": (1, 3, 4, 4)})
    done = export(str(tmp_path / "train_val.prototxt"), weights, str(tmp_path / "net.onnx"), options)
    assert set(done.dropped) == {"fc_b", "half", "more", "apart", "quiet"}
    assert done.outputs == ["prob (batch x 3)"]
    x = np.random.default_rng(0).uniform(0, 9, (2, 3, 4, 4)).astype(np.float32)
    weight, bias = next(entry.blobs for entry in proto.read_weights(weights) if entry.name == "fc_a")
    scores = np.exp(((x.astype(np.float64) - 5) / 2).reshape(2, -1) @ weight.T + bias)
    close(run(tmp_path / "net.onnx", image=x)["prob"], scores / scores.sum(1, keepdims=True))
    with pytest.raises(GraphError, match='no input "data" to give a shape; it has image, label, weight'):
        export(str(tmp_path / "train_val.prototxt"), weights, "net.onnx", Options(shapes={"image": (1,), "data": (1,)}))


def test_a_solverstate_leads_to_its_weights(tmp_path: Path) -> None:
    model, _ = write_net(TINY, tmp_path)
    proto.write_state(tmp_path / "run_iter_5.solverstate", proto.State(iter=5, learned_net="gone/net.caffemodel"))
    done = export(model, str(tmp_path / "run_iter_5.solverstate"), str(tmp_path / "net.onnx"))
    assert done.agreement.difference < 1e-4
    proto.write_state(tmp_path / "run_iter_6.solverstate", proto.State(iter=6, learned_net="gone/other.caffemodel"))
    with pytest.raises(SnapshotError, match=r"gone/other\.caffemodel are missing, here and beside it"):
        export(model, str(tmp_path / "run_iter_6.solverstate"), str(tmp_path / "other.onnx"))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_preprocessing_goes_into_the_graph(order: str, tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    pixels = Pixels(mean=[104, 117, 123], std=[50, 60, 70], scale=0.5, order=order)
    (tmp_path / "names.txt").write_text("cat\ndog\nfish\nbird\ncow\n")
    options = Options(preprocess=True, pixels=pixels, classes=str(tmp_path / "names.txt"))
    done = export(model, weights, str(tmp_path / "net.onnx"), options)
    assert done.inputs == ["data (batch x height x width x 3, uint8)"]
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2)[:, :: 1 if order == "rgb" else -1].astype(np.float64)
    column = np.array([[104, 117, 123], [50, 60, 70]], np.float64)[:, :, None, None]
    expected = tiny_in_float64(model, weights, (planes - column[0]) * 0.5 / column[1])
    close(run(tmp_path / "net.onnx", data=images)["prob"], expected)
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert properties["net"] == "tiny"
    assert json.loads(properties["classes"]) == ["cat", "dog", "fish", "bird", "cow"]
    assert set(json.loads(properties["sources"])) == {"net.prototxt", "net.caffemodel"}
    assert json.loads(properties["normalisation"])["order"] == order


def test_a_deploy_net_is_normalised_as_the_net_it_was_trained_in(tmp_path: Path) -> None:
    weights = write_weights(QUICKSTART / "deploy.prototxt", tmp_path / "net.caffemodel")
    options = Options(preprocess=True, data=str(QUICKSTART / "train_val_self_distilled.prototxt"))
    done = export(str(QUICKSTART / "deploy.prototxt"), weights, str(tmp_path / "net.onnx"), options)
    assert done.inputs == ["data (batch x height x width x 3, uint8)"]
    assert done.normalisation is not None
    assert (done.normalisation.mean, done.normalisation.scale) == ([127.5], [pytest.approx(1 / 63.75)])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    net = Net(QUICKSTART / "deploy.prototxt", proto.TEST, weights)
    with torch.no_grad():
        expected = net({"data": (images.transpose(0, 3, 1, 2) - 127.5) / 63.75})["prob"].numpy()
    close(run(tmp_path / "net.onnx", data=images)["prob"], expected)


TWICE = """name: "twice"
    layer { name: "images" type: "ImageData" top: "image" top: "label" include { phase: TEST }
      transform_param { mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 } image_data_param { source: "none" } }
    layer { name: "distort" type: "Distort" bottom: "image" top: "data"
      distort_param { mean_value: 1 mean_value: 2 mean_value: 3 std_value: 4 } }"""


def test_normalisations_of_a_data_layer_and_of_distort_add_up(tmp_path: Path) -> None:
    text = """name: "same"
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "same" type: "Power" bottom: "data" top: "same" }"""
    model, weights = write_net(text, tmp_path)
    (tmp_path / "train_val.prototxt").write_text(TWICE)
    options = Options(preprocess=True, data=str(tmp_path / "train_val.prototxt"))
    export(model, weights, str(tmp_path / "net.onnx"), options)
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    blue_first = image[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64)
    column = np.array([1, 2, 3])[:, None, None]
    close(run(tmp_path / "net.onnx", data=image)["same"], ((blue_first - 10 * column) * 0.5 - column) / 4)


def test_pixels_of_which_nobody_says_anything_are_not_guessed(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    with pytest.raises(ModelError, match=r'nothing says how a picture becomes the input "data": .* --data TRAIN_VAL'):
        export(model, weights, str(tmp_path / "net.onnx"), Options(preprocess=True))
    with pytest.raises(ModelError, match='has no data layer that makes the images "data" in its TEST phase'):
        export(model, weights, str(tmp_path / "net.onnx"), Options(data=model))
    assert not (tmp_path / "net.onnx").exists()
    assert export(model, weights, str(tmp_path / "net.onnx")).normalisation is None
    properties = {entry.key for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert "normalisation" not in properties


def test_the_mean_image_of_a_data_layer_is_cropped_as_caffe_does(tmp_path: Path) -> None:
    files = GOLDENS / "files"
    mean = np.load(files / "mean.npy")
    text = f"""name: "mean"
        layer {{ name: "data" type: "Data" top: "data" top: "label"
          transform_param {{ mean_file: "{files}/mean.binaryproto" crop_size: 6 scale: 0.25 }}
          data_param {{ source: "{files}/lmdb_raw" backend: LMDB batch_size: 2 }} }}
        layer {{ name: "same" type: "Power" bottom: "data" top: "same" }}"""
    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(preprocess=True))
    c, h, w = mean.reshape(-1, *mean.shape[-2:]).shape
    top, left = (h - 6) // 2, (w - 6) // 2
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 6, c), dtype=np.uint8)
    cut = mean.reshape(c, h, w)[:, top : top + 6, left : left + 6]
    close(run(tmp_path / "net.onnx", data=image)["same"], (image.transpose(0, 3, 1, 2) - cut.astype(np.float64)) / 4)


PYTHON = """
name: "odd"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "mine" type: "Python" bottom: "data" top: "mine" python_param { module: "m" layer: "L" } }
layer { name: "yours" type: "Python" bottom: "mine" top: "yours" python_param { module: "m" layer: "L" } }
"""


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    _, weights = write_net(TINY, tmp_path)
    (tmp_path / "odd.prototxt").write_text(PYTHON)
    with pytest.raises(ModelError, match=r'layers "mine" \(Python: it is Python code\), "yours" \(Python'):
        export(str(tmp_path / "odd.prototxt"), weights, str(tmp_path / "net.onnx"))


@pytest.mark.parametrize("opset", [11, 18])
def test_a_blob_whose_name_is_empty_is_refused(opset: int, tmp_path: Path) -> None:
    model, weights = write_net(TINY.replace('"up_bn"', '""', 2).replace('bottom: "up_bn"', 'bottom: ""'), tmp_path)
    with pytest.raises(ModelError, match='layer "" gives a blob whose name is empty'):
        export(model, weights, str(tmp_path / "net.onnx"), Options(opset=opset))


FOUR_AXES = """name: "deep"
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 dim: 3 dim: 3 } } }
    layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
    layer { name: "up4" type: "Deconvolution" bottom: "relu" top: "up4"
      convolution_param {
        num_output: 1 kernel_size: 1 kernel_size: 1 kernel_size: 1 kernel_size: 2 weight_filler { type: "xavier" }
      } }"""


def test_a_deconvolution_over_four_axes(tmp_path: Path) -> None:
    model, weights = write_net(FOUR_AXES, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    data = np.random.default_rng(0).standard_normal((1, 2, 3, 3, 3, 3)).astype(np.float32)
    kernel, bias = (blob.detach().numpy() for blob in Net(model, proto.TEST, weights).params["up4"])
    want = np.full((1, 1, 3, 3, 3, 4), float(bias[0]))
    for at in np.ndindex(3, 3, 3, 3):
        where = tuple(slice(i, i + size) for i, size in zip(at, (1, 1, 1, 2), strict=True))
        want[(0, 0, *where)] += np.einsum("c,cijkl->ijkl", np.maximum(data[(0, slice(None), *at)], 0), kernel[:, 0])
    close(run(tmp_path / "net.onnx", data=data)["up4"], want)


def test_a_layer_that_torch_cannot_trace_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = write_net(FOUR_AXES, tmp_path)

    def untraceable(*_: object) -> None:
        raise RuntimeError("an operator that nobody wrote down")

    monkeypatch.setattr(Deconvolution, "to_onnx", untraceable)
    with pytest.raises(ModelError, match=r'layer "up4" \(Deconvolution: torch\'s exporter cannot take what it'):
        export(model, weights, str(tmp_path / "net.onnx"))
    assert not (tmp_path / "net.onnx").exists()


def test_a_model_that_differs_is_not_written_and_an_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, weights = write_net(TINY, tmp_path)
    (tmp_path / "net.onnx").write_text("old")
    right = stages._affine
    monkeypatch.setattr(
        stages, "_affine", lambda layer: (found := right(layer)) and found._replace(factor=found.factor * 1.001)
    )
    with pytest.raises(ModelError, match=r"differs from the net by .* so nothing was written"):
        export(model, weights, str(tmp_path / "net.onnx"))
    assert (tmp_path / "net.onnx").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_net_that_gives_no_finite_number_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, weights = write_net(TINY, tmp_path)
    net = Net(model, weights=weights)
    with torch.no_grad():
        net.params["fc"][1].fill_(float("nan"))
    net.save(tmp_path / "nan.caffemodel")
    target = tmp_path / "net.onnx"
    assert main(["export", str(model), str(tmp_path / "nan.caffemodel"), "-o", str(target)]) == 1
    assert 'the net itself gives no finite number in "prob"' in capsys.readouterr().err
    assert not target.exists()


def test_numbers_that_are_not_finite_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
          inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
        layer { name: "log" type: "Log" bottom: "fc" top: "log" }"""
    model, weights = write_net(text, tmp_path)
    net = Net(model, weights=weights)
    with torch.no_grad():
        net.params["fc"][1].copy_(torch.tensor([9.0, 9.0, 9.0, 9.0, -99.0]))
    net.save(weights)
    assert main(["export", str(model), str(weights), "-o", str(tmp_path / "net.onnx")]) == 0
    assert 'the net itself gives some numbers in "log" that are not finite' in capsys.readouterr().out
    got = run(tmp_path / "net.onnx", data=np.ones((2, 6), np.float32))["log"]
    assert np.isnan(got[:, 4]).all()
    assert np.isfinite(got[:, :4]).all()


def test_a_target_that_cannot_be_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = write_net(TINY, tmp_path)
    monkeypatch.setattr(onnx_export, "open_deployed", lambda *_: pytest.fail("the net was opened"))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "weights.onnx").symlink_to(weights)
    for target, reason in (
        (str(tmp_path / "folder.onnx"), "is a directory"),
        (str(tmp_path / "none" / "net.onnx"), "its folder is not there"),
        (str(tmp_path / "weights.onnx"), "is what is exported"),
    ):
        with pytest.raises(ModelError, match=reason):
            export(model, weights, target)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    (tmp_path / "renamed.prototxt").write_text(TINY.replace('"fc"', '"fc9"'))
    with pytest.raises(WeightsError, match="has no weights for fc9"):
        export(str(tmp_path / "renamed.prototxt"), weights, str(tmp_path / "net.onnx"))
    (tmp_path / "cut.caffemodel").write_bytes(Path(weights).read_bytes()[:-9])
    with pytest.raises(WeightsError):
        export(model, str(tmp_path / "cut.caffemodel"), str(tmp_path / "net.onnx"))
    with pytest.raises(WeightsError, match="is a device"):
        export(model, "/dev/zero", str(tmp_path / "net.onnx"))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(ModelError, match=r'2 class names, but output "prob" has shape \(1, 5\)'):
        export(model, weights, str(tmp_path / "net.onnx"), Options(classes=str(tmp_path / "names.txt")))
    assert not (tmp_path / "net.onnx").exists()


def test_a_batch_norm_on_its_own_statistics_exports(tmp_path: Path) -> None:
    text = """name: "own"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { use_global_stats: false } }"""
    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    x = np.random.default_rng(0).standard_normal((3, 3, 5, 4))
    expected = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    close(run(tmp_path / "net.onnx", data=x.astype(np.float32))["bn"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(ROOT.glob("prototxt/**/deploy*.prototxt")), ids=lambda path: path.parent.name)
def test_every_deploy_net_exports(model: Path, tmp_path: Path) -> None:
    weights = write_weights(model, tmp_path / "net.caffemodel")
    done = export(str(model), weights, str(tmp_path / "net.onnx"))
    assert done.agreement.difference < onnx_export.TOLERANCE
    assert all("batch" in text for text in done.inputs)


@pytest.mark.parametrize("batch", [2**24, 99_999_999, 2**31 - 1])
def test_a_batch_that_no_memory_holds(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdcaffe.reading.free_memory", lambda: 1 << 30)
    model, weights = write_net(TINY, tmp_path)
    with pytest.raises(
        ModelError, match=f"--batch {batch}: .*would take at least [0-9]+ bytes, more than the 1073741824"
    ):
        export(model, weights, str(tmp_path / "o.onnx"), Options(static=True, batch=batch))
    assert not (tmp_path / "o.onnx").exists()
