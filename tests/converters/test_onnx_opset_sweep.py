"""Every recorded layer and every net of prototxt/ in the opsets that `export` writes.

Judged by onnx.checker with strict shape inference, and by ONNX Runtime's outputs beside the net's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_nets import NETS, OTHERS, RECORDED, all_recordings, arrays, net_name, write_recorded, write_weights

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_opset import OLDEST, TRACED, lower
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

TRACES = (TRACED, 21, 23)  # older ones are written in other words after a trace of TRACED
BATCH_FREE = RECORDED / "reshape_axes"
MASKED = OTHERS / "upsample_mask_hw"  # of several values with one place the last counts: needs opset 18


def check(
    model: str,
    weights: str,
    given: Mapping[str, np.ndarray],
    opset: int,
    folder: Path,
    oldest: int = OLDEST,
    tolerance: float = 1e-5,
) -> None:
    export(model, weights, str(folder / "net.onnx"), Options(opset=opset))
    made = onnx.load(folder / "net.onnx")
    net = Net(model, proto.TEST, weights)
    net.reshape({name: values.shape for name, values in given.items()})
    with torch.no_grad():
        expected = {name: blob.numpy() for name, blob in net(given).items()}
    for version in range(oldest, TRACED + 1) if opset == TRACED else (opset,):
        written = onnx.ModelProto.FromString(made.SerializeToString())
        if version < TRACED:
            lower(written, version)
        assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", version)]
        onnx.checker.check_model(written, full_check=True)
        onnx.shape_inference.infer_shapes(written, check_type=True, strict_mode=True, data_prop=True)
        session = open_session(written.SerializeToString(), f"opset {version}")
        names = [value.name for value in session.get_outputs()]
        inputs = {value.name: given[value.name] for value in session.get_inputs()}
        for name, got in zip(names, session.run(names, inputs), strict=True):
            want = expected[name if name in expected else name.removesuffix("_out")]
            if name.startswith("proposal"):  # boxes of equal scores stand in another order than Caffe's
                got, want = in_order(got), in_order(want)
            assert got.shape == want.shape, (version, name)
            assert np.abs(got - want).max(initial=0) <= tolerance * np.abs(want).max(initial=1e-6), (version, name)


def in_order(rows: np.ndarray) -> np.ndarray:
    columns = rows.reshape(len(rows), -1)
    return columns[np.lexsort(columns.round(3).T)]


def check_layer(path: Path, opset: int, folder: Path) -> None:
    model, weights = write_recorded([path.name], folder, path.parent)
    inputs = Net(model, proto.TEST).inputs
    given = dict(zip(inputs, arrays(path.name, "bottom", path.parent), strict=True))
    check(model, weights, given, opset, folder, TRACED if path.name.startswith("upsample_mask") else OLDEST)


@pytest.mark.parametrize("opset", [TRACED, 23])
def test_a_layer_in_the_opsets(opset: int, tmp_path: Path) -> None:
    check_layer(BATCH_FREE, opset, tmp_path)


FREE = [RECORDED / "flatten", RECORDED / "slice_batch", OTHERS / "squeeze_all"]


@pytest.mark.parametrize("path", FREE, ids=lambda path: path.name)
def test_free_sizes_in_older_opsets(path: Path, tmp_path: Path) -> None:
    check_layer(path, TRACED, tmp_path)


@pytest.mark.parametrize("opset", [11, 17])
def test_what_an_older_opset_lacks_is_said_of_the_layer(opset: int, tmp_path: Path) -> None:
    model, weights = write_recorded([MASKED.name], tmp_path, MASKED.parent)
    with pytest.raises(ModelError, match=f'layer "{MASKED.name}" is ScatterElements in ONNX, which opset {opset}'):
        export(model, weights, str(tmp_path / "net.onnx"), Options(opset=opset))
    assert not (tmp_path / "net.onnx").exists()


EXPORTED = [path for path in all_recordings() if path.name != "det_eta"]  # whose threshold falls: no operator has that


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.name)
@pytest.mark.parametrize("opset", TRACES)
def test_every_layer_in_every_opset(opset: int, path: Path, tmp_path: Path) -> None:
    check_layer(path, opset, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS, ids=net_name)
@pytest.mark.parametrize("opset", TRACES)
def test_every_net_in_every_opset(opset: int, model: Path, tmp_path: Path) -> None:
    weights = write_weights(model, tmp_path / "net.caffemodel")
    (name,) = (net := Net(model, proto.TEST)).inputs
    x = np.random.default_rng(1).standard_normal((2, *net.blob_shapes[name][1:])).astype(np.float32)
    last, logits = list(net.layers.values())[-1], 1.0
    if last.type == "Softmax":  # whose error is that of what it reads, which random weights make large
        net.load_weights(weights)
        with torch.no_grad():
            found = net({name: x}, keep=last.layer_param.bottom)
        logits = max(logits, float(found[last.layer_param.bottom[0]].abs().max()))
    check(str(model), weights, {name: x}, opset, tmp_path, tolerance=1e-5 * logits)
