"""C3D's Convolution3D and Pooling3D, its nets and its weights, against numpy that goes through windows."""

from __future__ import annotations

import itertools

import c3d_file
import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values
from fork_written import agree_everywhere

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError


def convolved(x, weight, bias, stride, pad):
    """One number of the top at a time; the image is 0 outside."""
    kernel = weight.shape[2:]
    tops = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)]
    top = np.empty((len(x), len(weight), *tops))
    for n, m, *at in itertools.product(*map(range, top.shape)):
        total = bias[m]
        for offsets in itertools.product(*map(range, kernel)):
            places = [a * s - p + o for a, s, p, o in zip(at, stride, pad, offsets, strict=True)]
            if all(0 <= place < size for place, size in zip(places, x.shape[2:], strict=True)):
                total += x[(n, slice(None), *places)] @ weight[(m, slice(None), *offsets)]
        top[(n, m, *at)] = total
    return top


FIELDS = "num_output: 4 kernel_size: 3 kernel_depth: 2 stride: 2 pad: 1 temporal_pad: 1 filter_group: 2"


@pytest.mark.parametrize("field", ["convolution_param", "convolution3d_param"])
def test_convolution3d(field, tmp_path, monkeypatch):
    x, weight, bias = values(2, 3, 4, 5, 6), values(4, 3, 2, 3, 3, seed=1), values(4, seed=2)
    want = convolved(x, weight, bias, (1, 2, 2), (1, 1, 1))
    layer = fill(make("Convolution3D", f"{field} {{ {FIELDS} }}", [x.shape]), weight, bias)
    assert [tuple(blob.shape) for blob in layer.blobs] == [(4, 3, 2, 3, 3), (1, 1, 1, 1, 4)]
    assert np.allclose(run(layer, x), want)
    assert gradients_agree(layer, x[:1])
    agree_everywhere(tmp_path, monkeypatch, f'type: "Convolution3D" {field} {{ {FIELDS} }}', [x], want, [weight, bias])


def windows(size, kernel, stride, pad):
    """Each window of an axis: its places within the image, and how many of them within the padding too."""
    count = -(-(size + 2 * pad - kernel) // stride) + 1
    for start in range(-pad, -pad + count * stride, stride):
        end = min(start + kernel, size + pad)
        yield [place for place in range(start, end) if 0 <= place < size], end - start


def pooled(x, method, kernel, stride, pad):
    axes = [list(windows(*each)) for each in zip(x.shape[2:], kernel, stride, pad, strict=True)]
    top = np.empty((*x.shape[:2], *map(len, axes)))
    for n, c, *at in itertools.product(*map(range, top.shape)):
        chosen = [axis[i] for axis, i in zip(axes, at, strict=True)]
        own = x[n, c][np.ix_(*(places for places, _ in chosen))]
        top[(n, c, *at)] = own.max() if method == "MAX" else own.sum() / np.prod([size for _, size in chosen])
    return top


@pytest.mark.parametrize("field", ["pooling_param", "pooling3d_param"])
@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        ("MAX", ((2, 2, 2), (2, 2, 2), (0, 0, 0))),
        ("MAX", ((1, 3, 3), (1, 2, 2), (0, 0, 0))),
        ("AVE", ((3, 2, 2), (2, 2, 2), (0, 0, 0))),
        ("AVE", ((2, 3, 3), (1, 2, 2), (0, 1, 1))),
    ],
)
def test_pooling3d(method, sizes, field, tmp_path, monkeypatch):
    x = values(2, 2, 5, 6, 7)
    kernel, stride, pad = sizes
    body = (f"{field} {{ pool: {method} kernel_depth: {kernel[0]} kernel_size: {kernel[1]} stride: {stride[1]} "
            f"temporal_stride: {stride[0]} pad: {pad[1]} }}")  # fmt: skip
    layer = make("Pooling3D", body, [x.shape])
    want = pooled(x, method, *sizes)
    assert np.allclose(run(layer, x), want)
    assert gradients_agree(layer, x[:1])
    agree_everywhere(tmp_path, monkeypatch, f'type: "Pooling3D" {body}', [x], want)


def test_of_several_largest_values_each_gets_the_gradient():
    body = "pooling3d_param { kernel_depth: 1 kernel_size: 2 stride: 1 }"
    bottom = torch.tensor([[[[[3.0, 3, 1], [3, 0, 1]]]]], requires_grad=True)
    make("Pooling3D", body, [bottom.shape], double=False)(bottom).sum().backward()
    assert bottom.grad.flatten().tolist() == [1, 2, 0, 1, 0, 0]


NET = """
name: "c3d"
input: "data"
input_shape { dim: 2 dim: 3 dim: 4 dim: 6 dim: 6 }
layers { name: "conv" type: CONVOLUTION3D bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1 stride: 1 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "pool" type: POOLING3D bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
"""


def test_a_net_of_c3d_with_its_weights(tmp_path):
    weight, bias = values(2, 3, 3, 3, 3), values(1, 1, 1, 1, 2)
    inner, offset = values(1, 1, 1, 5, 36, seed=1), values(1, 1, 1, 1, 5)
    content = c3d_file.net(c3d_file.layer("conv", 30, weight, bias), c3d_file.layer("fc", 14, inner, offset))
    (tmp_path / "c3d.caffemodel").write_bytes(content)
    (tmp_path / "net.prototxt").write_text(NET)
    entries = proto.read_weights(tmp_path / "c3d.caffemodel")
    assert [(entry.name, entry.type) for entry in entries] == [("conv", "Convolution3D"), ("fc", "InnerProduct")]
    net = sdcaffe.Net(tmp_path / "net.prototxt", sdcaffe.TEST, weights=tmp_path / "c3d.caffemodel")
    x = values(2, 3, 4, 6, 6, seed=3).astype(np.float32)
    hidden = np.maximum(convolved(x.astype(float), weight, bias.ravel(), (1, 1, 1), (1, 1, 1)), 0)
    hidden = pooled(hidden, "MAX", (2, 2, 2), (2, 2, 2), (0, 0, 0)).reshape(2, -1)
    want = hidden @ inner.reshape(5, 36).T + offset.ravel()
    assert np.allclose(net({"data": torch.tensor(x)})["fc"].detach().numpy(), want, atol=1e-4)
    net.save(tmp_path / "now.caffemodel")  # in the form of today, with the five axes that C3D 1.1 has
    again = proto.read_weights(tmp_path / "now.caffemodel")
    assert [blob.shape for entry in again for blob in entry.blobs][:2] == [(2, 3, 3, 3, 3), (1, 1, 1, 1, 2)]
    assert main(["upgrade", str(tmp_path / "net.prototxt"), str(tmp_path / "new.prototxt")]) == 0
    assert 'type: "Convolution3D"' in (tmp_path / "new.prototxt").read_text()


def test_a_diff_of_bvlcs_is_not_taken_for_numbers():
    blob = proto.BlobProto(num=1, channels=1, height=1, width=2, diff=[1, 2])
    with pytest.raises(sdcaffe.SdcaffeError, match="holds 0"):
        proto.blob_to_array(blob)


def test_a_blob_of_c3ds_whose_sizes_do_not_fit(tmp_path):
    content = c3d_file.blob(values(1, 1, 2, 2, 2)).replace(c3d_file.number(3, 2), c3d_file.number(3, 3), 1)
    (tmp_path / "mean.binaryproto").write_bytes(content)
    with pytest.raises(sdcaffe.SdcaffeError, match="12 numbers, but holds 8"):
        proto.read_blob(tmp_path / "mean.binaryproto")


@pytest.mark.parametrize(
    ("kind", "body", "shape", "word"),
    [
        ("Convolution3D", FIELDS, (2, 3, 4, 4), "5 axes"),
        ("Convolution3D", FIELDS.replace("num_output: 4", "num_output: 3"), (2, 3, 4, 4, 4), "filter_group"),
        ("Convolution3D", FIELDS.replace("kernel_depth: 2", ""), (2, 3, 4, 4, 4), "kernel_depth"),
        ("Convolution3D", FIELDS, (2, 3, 4, 4, 0), "does not fit"),
        ("Pooling3D", "kernel_depth: 1 kernel_size: 2 pad: 1", (2, 3, 4, 4, 4), "AVE alone"),
        ("Pooling3D", "kernel_depth: 1 kernel_size: 1 stride: 3", (2, 3, 4, 5, 5), "outside"),
        ("Pooling3D", "kernel_depth: 1 kernel_size: 1 pool: STOCHASTIC", (2, 3, 4, 5, 5), "MAX or AVE"),
    ],
)
def test_what_is_wrong_is_named(kind, body, shape, word):
    with pytest.raises(LayerError, match=word):
        make(kind, f"{kind.lower()}_param {{ {body} }}", [shape])
