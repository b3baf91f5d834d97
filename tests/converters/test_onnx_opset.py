"""Files of older opsets and of fixed sizes; judged by onnx.checker and, within the export, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_nets import write_net

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_opset import lower
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

COMMON = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 12 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "average" type: "Pooling" bottom: "pool" top: "average"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "lrn" type: "LRN" bottom: "pool" top: "lrn" lrn_param { local_size: 3 alpha: 0.01 } }
layer { name: "uneven" type: "Slice" bottom: "lrn" top: "a" top: "b" top: "c"
  slice_param { axis: 1 slice_point: 1 slice_point: 2 } }
layer { name: "best" type: "Eltwise" bottom: "a" bottom: "b" top: "best" eltwise_param { operation: MAX } }
layer { name: "join" type: "Concat" bottom: "best" bottom: "c" top: "join" }
layer { name: "soft" type: "Softmax" bottom: "join" top: "soft" }
layer { name: "rows" type: "Reshape" bottom: "lrn" top: "rows" reshape_param { shape { dim: 0 dim: 2 dim: -1 } } }
layer { name: "sum" type: "Reduction" bottom: "rows" top: "sum" reduction_param { operation: SUM axis: 2 } }
layer { name: "norm" type: "MVN" bottom: "lrn" top: "norm" }
layer { name: "over" type: "Threshold" bottom: "norm" top: "over" threshold_param { threshold: 0.1 } }
layer { name: "turn" type: "Permute" bottom: "norm" top: "turn"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "arg" type: "ArgMax" bottom: "norm" top: "arg" argmax_param { axis: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "lrn" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17])
def test_older_opsets(opset: int, tmp_path: Path) -> None:
    model, weights = write_net(COMMON, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(opset=opset))
    made = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", opset)]
    x = np.random.default_rng(0).standard_normal((3, 4, 12, 10)).astype(np.float32)
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    names = [value.name for value in session.get_outputs()]
    net = Net(model, proto.TEST, weights)
    net.reshape({"data": x.shape})
    with torch.no_grad():
        expected = net({"data": torch.from_numpy(x)})
    assert set(names) == set(expected)
    for name, got in zip(names, session.run(names, {"data": x}), strict=True):
        if name not in ("over", "arg"):  # a choice that rounding may turn
            np.testing.assert_allclose(got, expected[name].numpy(), rtol=1e-4, atol=1e-5)


def test_what_an_opset_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    text = COMMON.splitlines()[1] + '\nlayer { name: "swish" type: "Einsum" bottom: "data" top: "y" }'
    from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, register

    @register("Einsum")
    class Einsum(Layer):
        def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return bottom_shapes

        def forward(self, bottom: torch.Tensor) -> torch.Tensor:
            return bottom

        def to_onnx(self, builder: OnnxBuilder, *bottoms: torch.Tensor) -> torch.Tensor:
            return builder.operator("Einsum", list(bottoms), bottoms[0].shape, equation="nchw->nchw")

    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(opset=12))
    with pytest.raises(ModelError, match='layer "swish" is Einsum in ONNX, which opset 11 cannot hold'):
        export(model, weights, str(tmp_path / "older.onnx"), Options(opset=11))
    assert not (tmp_path / "older.onnx").exists()


@pytest.mark.parametrize("opset", [11, 13, 14])
@pytest.mark.parametrize("fold", [True, False])
def test_activations_that_older_opsets_lack(fold: bool, opset: int, tmp_path: Path) -> None:
    text = f"""{COMMON.splitlines()[1]}
        layer {{ name: "soft" type: "BNLL" bottom: "data" top: "soft" }}
        layer {{ name: "hard" type: "HardSwish" bottom: "data" top: "hard" }}"""
    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"), Options(opset=opset, fold=fold))
    written = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import] == [opset]
    session = open_session(str(tmp_path / "net.onnx"), "")
    sizes = [size if isinstance(size, int) else 8 for size in session.get_inputs()[0].shape]
    x = 4 * np.random.default_rng(0).standard_normal(sizes)
    soft, hard = session.run(["soft", "hard"], {"data": x.astype(np.float32)})
    np.testing.assert_allclose(soft, np.log1p(np.exp(x)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hard, x * np.minimum(np.maximum(x + 3, 0), 6) / 6, rtol=1e-5, atol=1e-6)


def test_integers_are_compared_in_opset_11(tmp_path: Path) -> None:
    """Min, Max and Clip take no integers before opset 12."""
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [5])
    made = {
        "least": (("Min", ["x", "two", "three"]), lambda x: np.minimum(x, 2)),
        "most": (("Max", ["x", "two"]), lambda x: np.maximum(x, 2)),
        "both": (("Clip", ["x", "two", "three"]), lambda x: np.clip(x, 2, 3)),
        "above": (("Clip", ["x", "", "three"]), lambda x: np.minimum(x, 3)),
    }
    nodes = [onnx.helper.make_node(op, inputs, [top], name=top) for top, ((op, inputs), _) in made.items()]
    tops = [onnx.helper.make_tensor_value_info(top, onnx.TensorProto.INT64, [5]) for top in made]
    limits = [onnx.numpy_helper.from_array(np.array(v), name) for name, v in (("two", 2), ("three", 3))]
    graph = onnx.helper.make_graph(nodes, "integers", [x], tops, limits)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    lower(model, 11)
    onnx.checker.check_model(model, full_check=True)
    given = np.array([-7, 1, 2, 3, 9])
    got = open_session(model.SerializeToString(), "integers").run(list(made), {"x": given})
    for values, (_, expected) in zip(got, made.values(), strict=True):
        np.testing.assert_array_equal(values, expected(given))


@pytest.mark.parametrize("flags", [[], ["--batch", "3"], ["--shape", "data=3,4,12,10", "--opset", "11"]])
def test_static_files_hold_numbers_alone(flags: list[str], tmp_path: Path) -> None:
    model, weights = write_net(COMMON, tmp_path)
    assert main(["export", model, weights, "-o", str(tmp_path / "net.onnx"), "--static", *flags]) == 0
    made = onnx.load(tmp_path / "net.onnx")
    for value in [*made.graph.input, *made.graph.output]:
        assert all(size.HasField("dim_value") for size in value.type.tensor_type.shape.dim)
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_value == (3 if flags else 2)
    assert not {"Shape", "Gather", "ConstantOfShape"}.intersection(node.op_type for node in made.graph.node)


RECURRENT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 4 } } }
layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 3 dim: 2 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
  recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.3 max: 0.3 } } }
"""


def test_the_first_state_of_a_static_recurrent_layer_is_a_number(tmp_path: Path) -> None:
    model, weights = write_net(RECURRENT, tmp_path)
    assert main(["export", model, weights, "-o", str(tmp_path / "net.onnx"), "--static"]) == 0
    operators = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert not {"Shape", "Gather", "ConstantOfShape"} & operators


FOLDED = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 3 } } }
layer { name: "rows" type: "Reshape" bottom: "x" top: "rows" reshape_param { shape { dim: DIM dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "rows" top: "fc" inner_product_param { num_output: 5 } }
"""


def test_a_batch_of_a_static_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, weights = write_net(FOLDED.replace("DIM", "-1"), tmp_path)
    command = ["export", model, weights, "-o", str(tmp_path / "net.onnx"), "--batch", "7"]
    assert main([*command, "--static"]) == 0
    made = onnx.load(tmp_path / "net.onnx")
    sizes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in made.graph.input]
    assert sizes == [[7, 4, 3]]
    assert [size.dim_value for size in made.graph.output[0].type.tensor_type.shape.dim] == [28, 5]
    assert main(command) == 2
    assert "--batch goes with --static" in capsys.readouterr().err
    model, weights = write_net(FOLDED.replace("DIM", "8"), tmp_path)
    (tmp_path / "net.onnx").unlink()
    assert main([*command, "--static"]) == 1
    assert "takes no batch of 7" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()
