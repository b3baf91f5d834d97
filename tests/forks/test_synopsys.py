"""Synopsys' layers: against ONNX Runtime's and numpy's own operators, in files, and what they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values
from written import open_module

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError


def resized(x, size, **attributes):
    """ONNX Runtime's Resize of (n, c, h, w)."""
    node = onnx.helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    sizes = onnx.numpy_helper.from_array(np.array([*x.shape[:2], *size], np.int64), "sizes")
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "resize",
        [onnx.helper.make_tensor_value_info("x", kind, x.shape)],
        [onnx.helper.make_tensor_value_info("y", kind, [*x.shape[:2], *size])],
        [sizes],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.astype(np.float32)})[0]


NEAREST = [
    ("", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("align_corners: true", {"coordinate_transformation_mode": "align_corners", "nearest_mode": "round_prefer_ceil"}),
    ("half_pixel_onnx: true", {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor"}),
]
LINEAR = [
    ("", {"coordinate_transformation_mode": "asymmetric"}),
    ("align_corners: true", {"coordinate_transformation_mode": "align_corners"}),
    ("half_pixel_centers: true", {"coordinate_transformation_mode": "half_pixel"}),
    ("pytorch_half_pixel: true", {"coordinate_transformation_mode": "half_pixel"}),
]
SIZES = [(8, 6), (3, 9), (4, 3), (7, 2), (2, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("nhwc", [True, False])
@pytest.mark.parametrize(
    ("kind", "body", "attributes"),
    [("nearest_neighbor", *case) for case in NEAREST] + [("bilinear", *case) for case in LINEAR],
)
def test_resizing_is_what_onnx_calls_so(kind, body, attributes, nhwc, size):
    x = values(2, 3, 4, 3)
    own = x.transpose(0, 2, 3, 1).copy() if nhwc else x
    order = "" if nhwc else 'data_format: "NCHW"'
    text = f"resize_{kind}_param {{ output_height: {size[0]} output_width: {size[1]} {body} {order} }}"
    layer = make("ResizeNearestNeighbor" if kind.startswith("nearest") else "ResizeBilinear", text, [own.shape])
    top = run(layer, own)
    top = top.transpose(0, 3, 1, 2) if nhwc else top
    mode = "nearest" if kind.startswith("nearest") else "linear"
    assert np.allclose(top, resized(x, size, mode=mode, **attributes), atol=1e-5)
    assert gradients_agree(layer, own[:1])


def test_half_pixel_centers_of_nearest_take_the_pixel_that_holds_the_middle():
    body = 'scale_height: 1.5 scale_width: 2.5 half_pixel_centers: true data_format: "NCHW"'
    layer = make("ResizeNearestNeighbor", f"resize_nearest_neighbor_param {{ {body} }}", [(1, 1, 2, 2)])
    top = run(layer, np.arange(4.0).reshape(1, 1, 2, 2))
    # Of 3 rows the middles are 1/3, 1 and 5/3 of the 2 old ones; of 5 columns 0.2, 0.6, 1.0, 1.4 and 1.8.
    assert top[0, 0].tolist() == [[0, 0, 1, 1, 1], [2, 2, 3, 3, 3], [2, 2, 3, 3, 3]]


def test_pad_and_its_gradient():
    x = values(2, 3, 2, 2)
    layer = make(
        "Pad",
        f"pad_param {{ {' '.join(f'paddings: {n}' for n in (1, 0, 0, 2, 1, 1, 0, 3))} constant_values: 2 }}",
        [x.shape],
    )
    assert np.array_equal(run(layer, x), np.pad(x, [(1, 0), (0, 2), (1, 1), (0, 3)], constant_values=2))
    assert gradients_agree(layer, x)


@pytest.mark.parametrize(
    ("first", "second"), [((2, 3, 4), (4,)), ((2, 1, 4), (3, 1)), ((3,), (2, 4, 3)), ((), (2, 3)), ((2, 3), (2, 3))]
)
def test_mul(first, second):
    a, b = values(*first), values(*second, seed=1)
    layer = make("Mul", "", [first, second])
    assert np.array_equal(run(layer, a, b), a * b)
    assert gradients_agree(layer, a, b)


def test_mul_by_a_blob():
    x, factor = values(2, 3, 4), values(3, 1, seed=1)
    layer = make("Mul", "mul_param { mul_shape: 3 mul_shape: 1 }", [x.shape])
    fill(layer, factor)
    assert np.array_equal(run(layer, x), x * factor)
    assert gradients_agree(layer, x)


def test_hard_swish():
    x = 5 * values(3, 7)
    expected = [v * (0 if v < -3 else 1 if v > 3 else (v + 3) / 6) for v in x.flat]
    assert np.allclose(run(make("HardSwish", "", [x.shape]), x), np.reshape(expected, x.shape))


def test_upsample_darknet():
    x = values(2, 3, 2, 3)
    layer = make("UpsampleDarknet", "upsample_darknet_param { stride: 3 }", [x.shape])
    assert np.array_equal(run(layer, x), np.kron(x, np.ones((1, 1, 3, 3))))
    assert gradients_agree(layer, x)


REFUSED = [
    ("Squeeze", "squeeze_param { axis: 1 }", [(1, 2)], "size 2"),
    ("Squeeze", "squeeze_param { axis: 2 }", [(1, 2)], "axis 2"),
    ("Pad", "pad_param { paddings: 1 }", [(1, 2)], "4 numbers"),
    ("Mul", "", [(2, 3), (2, 2)], "equal or 1"),
    ("Mul", "mul_param { mul_shape: 2147483647 }", [(2, 3)], "equal or 1"),  # before its 8 GiB are taken
    ("ResizeNearestNeighbor", "resize_nearest_neighbor_param { output_height: 0 }", [(1, 2, 2, 3)], "output_height"),
    (
        "ResizeBilinear",
        "resize_bilinear_param { align_corners: true half_pixel_centers: true }",
        [(1, 2, 2, 3)],
        "exclude",
    ),
    ("ResizeBilinear", "resize_bilinear_param { output_scale: 2 }", [(1, 2, 2, 3)], "8-bit"),
]


@pytest.mark.parametrize(("kind", "text", "shapes", "word"), REFUSED)
def test_what_is_refused(kind, text, shapes, word):
    with pytest.raises(SdcaffeError, match=word):
        make(kind, text, shapes)


NET = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 4 dim: 4 } } }
layer { name: "pad" type: "Pad" bottom: "x" top: "padded" pad_param { paddings: 0 paddings: 0 paddings: 0 paddings: 0
  paddings: 1 paddings: 0 paddings: 0 paddings: 1 constant_values: 0.5 } }
layer { name: "resize" type: "ResizeNearestNeighbor" bottom: "padded" top: "near"
  resize_nearest_neighbor_param { output_height: 4 output_width: 6 half_pixel_centers: true data_format: "NCHW" } }
layer { name: "lerp" type: "ResizeBilinear" bottom: "near" top: "smooth"
  resize_bilinear_param { output_height: 3 output_width: 4 half_pixel_centers: true data_format: "NCHW" } }
layer { name: "swish" type: "HardSwish" bottom: "smooth" top: "smooth" }
layer { name: "blob" type: "Mul" bottom: "smooth" top: "scaled" mul_param { mul_shape: 4 mul_shape: 1 mul_shape: 1 } }
layer { name: "mul" type: "Mul" bottom: "scaled" bottom: "smooth" top: "product" }
layer { name: "up" type: "UpsampleDarknet" bottom: "product" top: "up" upsample_darknet_param { stride: 2 } }
layer { name: "reorg" type: "Reorg" bottom: "up" top: "squares" reorg_param { stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "squares" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "squeeze" type: "Squeeze" bottom: "mean" top: "out" squeeze_param { axis: 2 axis: 3 } }
"""


def test_a_net_of_them_is_exported_both_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    net = sdcaffe.Net("net.prototxt", sdcaffe.TEST)
    net.params["blob"][0].data.copy_(torch.tensor(values(4, 1, 1)))
    net.save("net.caffemodel")
    x = values(2, 4, 4, 4).astype(np.float32)
    expected = net.compute(net.feed({"x": x}), ["out"]).blobs["out"].detach().numpy()
    assert expected.shape == (2, 16)
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)
    assert main(["convert", "module", "net.prototxt", "written.py", "--weights", "net.caffemodel"]) == 0
    written = open_module(tmp_path / "written.py")
    with torch.no_grad():
        assert np.allclose(written(torch.from_numpy(x)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("order", "mode"), [("NCHW", "DCR"), ("DCR", "DCR"), ("CRD", "CRD"), ("NHWC", "DCR")])
def test_depth_to_space_is_what_onnx_calls_so(order, mode):
    x = values(2, 8, 2, 3)
    node = onnx.helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(n, kind, s) for n, s in (("x", x.shape), ("y", [2, 2, 4, 6]))]
    graph = onnx.helper.make_graph([node], "depth", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x.astype(np.float32)})
    own = x.transpose(0, 2, 3, 1).copy() if order == "NHWC" else x
    layer = make("DepthToSpace", f'depth_to_space_param {{ block_size: 2 data_format: "{order}" }}', [own.shape])
    top = run(layer, own)
    assert np.allclose(top.transpose(0, 3, 1, 2) if order == "NHWC" else top, expected)
    assert gradients_agree(layer, own)


def blocks(x, high, wide, above, below, left, right):
    """Item (i * wide + j) * n + b holds the places i, j of the blocks of item b."""
    x = np.pad(x, [(0, 0), (above, below), (left, right), (0, 0)])
    return np.concatenate([x[:, i::high, j::wide] for i in range(high) for j in range(wide)])


def test_space_to_batch_and_back():
    x = values(2, 5, 4, 3)
    rims = (1, 0, 0, 2)
    body = "block_shape: 2 block_shape: 3 " + " ".join(f"%s: {n}" for n in rims)
    there = make("SpaceToBatchND", f"space_to_batch_nd_param {{ {body % (('paddings',) * 4)} }}", [x.shape])
    parts = run(there, x)
    assert np.array_equal(parts, blocks(x, 2, 3, *rims))
    assert gradients_agree(there, x)
    back = make("BatchToSpaceND", f"batch_to_space_nd_param {{ {body % (('crops',) * 4)} }}", [parts.shape])
    assert np.array_equal(run(back, parts), x)
    assert gradients_agree(back, parts)
