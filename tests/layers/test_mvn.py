import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

from sdcaffe import pycaffe
from sdcaffe.errors import LayerError


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("eps", [1e-9, 0.5])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4), (3, 4)])
def test_eps_is_beside_the_deviation_in_both_directions(across, eps, shape):
    body = f"mvn_param {{ across_channels: {str(across).lower()} eps: {eps} }}"
    layer = make("MVN", body, shape)
    bottom, weight = normal(*shape), normal(*shape, seed=1).detach().numpy()
    rows = bottom.detach().numpy().reshape(shape[0] if across else shape[0] * shape[1], -1)
    grad = weight.reshape(rows.shape)
    eps = float(np.float32(eps))
    scale = rows.std(1, keepdims=True) + eps
    y = (rows - rows.mean(1, keepdims=True)) / scale
    shared = y * (y * grad).mean(1, keepdims=True) + grad.mean(1, keepdims=True)
    top = layer(bottom)
    four = shape + (1,) * (4 - len(shape))
    assert layer.top_shapes == [four]
    np.testing.assert_allclose(top.detach(), y.reshape(four), atol=1e-12)
    expected = ((grad - shared) / scale).reshape(shape)
    np.testing.assert_allclose(backward(top, bottom, weight=weight.reshape(four))[0], expected, rtol=1e-9, atol=1e-9)


def test_mean_only():
    bottom = normal(2, 3, 4)
    top = make("MVN", "mvn_param { normalize_variance: false }", (2, 3, 4))(bottom)
    values = bottom.detach().numpy()
    np.testing.assert_allclose(top.detach()[..., 0], values - values.mean(2, keepdims=True), atol=1e-14)


def test_a_constant_channel_is_0():
    assert not make("MVN", "", (1, 1, 2, 2))(torch.full((1, 1, 2, 2), 7.0)).any()


def test_at_most_four_dimensions():
    with pytest.raises(LayerError, match="at most 4 dimensions, not 1 2 3 4 5"):
        make("MVN", "", (1, 2, 3, 4, 5))


NET = """force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "m" type: "MVN" bottom: "x" top: "TOP" mvn_param { BODY } }
layer { name: "p" type: "Power" bottom: "TOP" top: "p" power_param { power: 3 } loss_weight: 1 }"""


@pytest.mark.parametrize("body", ["", "across_channels: true", "normalize_variance: false"])
def test_in_place_it_is_built_and_gives_what_it_gives_elsewhere(tmp_path, body):
    """BVLC Caffe 1.0 builds it, with this forward; its gradient in place is of a bottom that is gone."""
    x = np.random.default_rng(3).standard_normal((2, 3, 4, 5)).astype(np.float32)
    rows = x.astype(np.float64).reshape((2, -1) if "across" in body else (6, -1))
    want = rows - rows.mean(1, keepdims=True)
    if "false" not in body:
        want /= rows.std(1, keepdims=True)
    diffs = []
    for top in ("x", "y"):
        (tmp_path / "net.prototxt").write_text(NET.replace("TOP", top).replace("BODY", body))
        net = pycaffe.Net(str(tmp_path / "net.prototxt"), pycaffe.TEST)
        net.blobs["x"].data[...] = x
        net.forward()
        np.testing.assert_allclose(net.blobs[top].data, want.reshape(x.shape), rtol=1e-4, atol=1e-5)
        net.backward()
        diffs.append(net.blobs["x"].diff.copy())
    np.testing.assert_allclose(diffs[0], diffs[1], rtol=1e-4, atol=1e-5)
    assert np.abs(diffs[0]).max() > 0.01


def test_in_place_the_blob_gets_four_axes(tmp_path):
    """As in BVLC Caffe 1.0, where the blob of a 4 x 6 bottom is 4 x 6 x 1 x 1 from then on."""
    text = NET.replace("dim: 2 dim: 3 dim: 4 dim: 5", "dim: 4 dim: 6").replace("TOP", "x").replace("BODY", "")
    (tmp_path / "net.prototxt").write_text(text)
    net = pycaffe.Net(str(tmp_path / "net.prototxt"), pycaffe.TEST)
    assert net.blobs["x"].data.shape == (4, 6, 1, 1)
    net.forward()
    assert net.blobs["x"].data.shape == (4, 6, 1, 1)
