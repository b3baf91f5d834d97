"""A batch that an ONNX file leaves free stays free in Caffe, joined with other axes or not; judged by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sdcaffe import proto
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

WEIGHT = numpy_helper.from_array(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32), "w")
ROWS = helper.make_node("MatMul", ["rows", "w"], ["fc"], name="fc")


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=output, **attributes)


JOINED = {  # shape behind the batch, nodes, constants, sizes of the last Reshape
    "reshape": ([5, 3], [node("Reshape", "x s", "rows"), ROWS], [ints("s", -1, 3)], [[-1, 3]]),
    "flatten": ([5, 3], [node("Flatten", "x", "rows", axis=2), ROWS], [], [[-1, 3]]),
    "parted again": (
        [5, 3],
        [node("Reshape", "x s", "rows"), ROWS, node("Reshape", "fc t", "y")],
        [ints("s", -1, 3), ints("t", -1, 5, 4)],
        [[-1, 3], [-1, 5, 4]],
    ),
    "by its shape": (
        [5, 3],
        [
            node("Reshape", "x s", "rows"),
            ROWS,
            node("Shape", "x", "sizes"),
            node("Slice", "sizes zero two", "first"),
            node("Concat", "first four", "t", axis=0),
            node("Reshape", "fc t", "y"),
        ],
        [ints("s", -1, 3), ints("zero", 0), ints("two", 2), ints("four", 4)],
        [[-1, 3], [-1, 5, 4]],
    ),
    "one position": ([1, 3], [node("Reshape", "x s", "rows"), ROWS], [ints("s", -1, 3)], []),
    "behind": ([4, 5], [node("Reshape", "x s", "y")], [ints("s", 2, 2, -1)], [[2, 2, -1]]),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", JOINED)
def test_a_free_batch_stays_free(name: str, given: bool, tmp_path: Path) -> None:
    behind, nodes, constants, dims = JOINED[name]
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "batch",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *behind])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["a", "b", "c"][: 2 if last == "fc" else 3])],
        [tensor for tensor in [WEIGHT, *constants] if any(tensor.name in node.input for node in nodes)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    back = str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back, {"x": (2, *behind)} if given else None)
    shaped = [layer for layer in proto.read_net(back[0]).layer if layer.type in ("Reshape", "Flatten")]
    assert [list(layer.reshape_param.shape.dim) for layer in shaped] == dims
    net = Net(back[0], proto.TEST, back[1])
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    for batch in (1, 2, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *behind)).astype(np.float32)
        net.reshape({"x": x.shape})
        with torch.no_grad():
            got = net({"x": torch.from_numpy(x)})[last].numpy()
        np.testing.assert_allclose(got, session.run(None, {"x": x})[0], rtol=1e-5, atol=1e-6)
