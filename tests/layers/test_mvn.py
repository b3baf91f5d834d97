import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

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
