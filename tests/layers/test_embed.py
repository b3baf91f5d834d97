import torch
from layer_building import make


def test_no_indices_are_no_rows():
    """As of a Filter that picks nothing."""
    layer = make("Embed", "embed_param { num_output: 2 input_dim: 3 }", (0,))
    assert layer(torch.zeros(0)).shape == (0, 2)
