import pytest
import recurrent_cases as cases
import torch
from layer_building import make, normal

from sdcaffe.errors import LayerError


def test_one_sequence_is_torchs_rnn_under_an_output_layer():
    layer = cases.recurrent("RNN", (5, 2, 4), (5, 2))
    assert [tuple(blob.shape) for blob in layer.blobs] == [(3, 4), (3,), (3, 3), (3, 3), (3,)]
    other = torch.nn.RNN(4, 3).double()
    with torch.no_grad():
        other.weight_ih_l0.copy_(layer.blobs[0])
        other.bias_ih_l0.copy_(layer.blobs[1])
        other.weight_hh_l0.copy_(layer.blobs[2])
        other.bias_hh_l0.zero_()
    x = normal(5, 2, 4)
    top = layer(x, cases.flags("01111", "01111"))
    expected = torch.tanh(other(x)[0] @ layer.blobs[3].t() + layer.blobs[4])
    assert torch.allclose(top, expected, rtol=1e-12)
    weight = normal(5, 2, 3, seed=1)
    ours, theirs = (torch.autograd.grad(h, x, weight)[0] for h in (top, expected))
    assert torch.allclose(ours, theirs, rtol=1e-10)


def test_a_new_sequence_forgets():
    cases.check_a_new_sequence_forgets("RNN")


def test_state_carries_over_to_the_next_pass():
    cases.check_state_carries_over("RNN")


def test_static_input():
    cases.check_static_input("RNN", 1)


def test_exposed_state():
    cases.check_exposed_state("RNN", 1)


@pytest.mark.parametrize(("body", "shapes", "tops", "message"), cases.WRONG)
def test_what_does_not_fit(body, shapes, tops, message):
    with pytest.raises(LayerError, match=message):
        make("RNN", f"recurrent_param {{ {body} }}", *shapes, tops=tops)
