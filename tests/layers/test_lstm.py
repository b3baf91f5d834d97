import pytest
import recurrent_cases as cases
import torch
from layer_building import make, normal

from sdcaffe.errors import LayerError


def test_one_sequence_is_torchs_lstm():
    layer = cases.recurrent("LSTM", (5, 2, 4), (5, 2))
    assert [tuple(blob.shape) for blob in layer.blobs] == [(12, 4), (12,), (12, 3)]
    other = torch.nn.LSTM(4, 3).double()

    def reordered(blob):
        i, f, o, g = blob.chunk(4)
        return torch.cat([i, f, g, o])

    with torch.no_grad():
        other.weight_ih_l0.copy_(reordered(layer.blobs[0]))
        other.bias_ih_l0.copy_(reordered(layer.blobs[1]))
        other.weight_hh_l0.copy_(reordered(layer.blobs[2]))
        other.bias_hh_l0.zero_()
    x = normal(5, 2, 4)
    top, expected = layer(x, cases.flags("01111", "01111")), other(x)[0]
    assert torch.allclose(top, expected, rtol=1e-12)
    weight = normal(5, 2, 3, seed=1)
    ours, theirs = (torch.autograd.grad(h, x, weight)[0] for h in (top, expected))
    assert torch.allclose(ours, theirs, rtol=1e-10)


def test_a_new_sequence_forgets():
    cases.check_a_new_sequence_forgets("LSTM")


def test_state_carries_over_to_the_next_pass():
    cases.check_state_carries_over("LSTM")


def test_static_input():
    cases.check_static_input("LSTM", 4)


def test_exposed_state():
    cases.check_exposed_state("LSTM", 2)


def test_another_number_of_streams_begins_anew():
    layer = cases.recurrent("LSTM", (3, 2, 4), (3, 2))
    layer(normal(3, 2, 4), torch.ones(3, 2))
    layer.setup([(3, 1, 4), (3, 1)])
    x = normal(3, 1, 4)
    assert torch.equal(layer(x, torch.ones(3, 1)), layer(x, cases.flags("011")))


@pytest.mark.parametrize(("body", "shapes", "tops", "message"), cases.WRONG)
def test_what_does_not_fit(body, shapes, tops, message):
    with pytest.raises(LayerError, match=message):
        make("LSTM", f"recurrent_param {{ {body} }}", *shapes, tops=tops)


def test_an_exposed_state_of_the_wrong_shape():
    with pytest.raises(LayerError, match=r"hidden state must have shape 1 2 3 \(6\), not 1 2 4 \(8\)"):
        cases.recurrent("LSTM", (3, 2, 4), (3, 2), (1, 2, 3), (1, 2, 4), expose=2)
