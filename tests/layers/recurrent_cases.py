"""What LSTM and RNN have in common to be tested: sequences, state between passes, static input."""

import torch
from layer_building import make, normal

BODY = 'recurrent_param { num_output: 3 weight_filler { type: "uniform" min: -0.5 max: 0.5 } %s }'


def recurrent(type_name, *shapes, expose=0):
    """A layer of 3 outputs with weights and biases that are not zero."""
    torch.manual_seed(0)
    body = BODY % ('bias_filler { type: "uniform" }' + (" expose_hidden: true" if expose else ""))
    return make(type_name, body, *shapes, tops=1 + expose)


def flags(*rows):
    """Continuation flags (steps, streams) from one string of 0s and 1s for each stream."""
    return torch.tensor([[float(c) for c in row] for row in rows], dtype=torch.float64).t().contiguous()


def check_a_new_sequence_forgets(type_name):
    """A flag of 0 in the middle: the rest is as if it came first."""
    layer = recurrent(type_name, (5, 2, 4), (5, 2))
    x = normal(5, 2, 4)
    whole = layer(x, flags("01011", "01011"))
    assert torch.allclose(layer(x[2:], flags("011", "011")), whole[2:], rtol=1e-12)
    mixed = layer(x, flags("01111", "01011"))
    assert torch.allclose(mixed[:, 1], whole[:, 1], rtol=1e-12)
    assert not torch.allclose(mixed[2:, 0], whole[2:, 0])


def check_state_carries_over(type_name):
    """Two passes of 3 steps are one of 6, where the flags say that sequences go on; gradients stay within a pass."""
    x = normal(6, 2, 4)
    together = recurrent(type_name, (6, 2, 4), (6, 2))(x, flags("011111", "011111"))
    layer = recurrent(type_name, (3, 2, 4), (3, 2))
    first, second = layer(x[:3], flags("011", "011")), layer(x[3:], flags("111", "111"))
    assert torch.allclose(torch.cat([first, second]), together, rtol=1e-12)
    (gradient,) = torch.autograd.grad(second.sum(), x)
    assert not gradient[:3].any()
    assert gradient[3:].any()


def check_static_input(type_name, gates):
    """A static input is one more vector beside each step's x."""
    layer = recurrent(type_name, (3, 2, 4), (3, 2), (2, 5))
    joined = recurrent(type_name, (3, 2, 9), (3, 2))
    x, static = normal(3, 2, 4), normal(2, 5)
    assert layer.static
    assert layer.blobs[2].shape == (3 * gates, 5)
    with torch.no_grad():
        joined.blobs[0].copy_(torch.cat([layer.blobs[0], layer.blobs[2]], 1))
        for mine, other in zip(list(joined.blobs)[1:], [layer.blobs[1], *list(layer.blobs)[3:]], strict=True):
            mine.copy_(other)
    beside = torch.cat([x, static.expand(3, 2, 5)], 2)
    cont = flags("011", "001")
    assert torch.allclose(layer(x, cont, static), joined(beside, cont), rtol=1e-12)


def check_exposed_state(type_name, states):
    """The exposed state of one pass given to the next is the state carried over; no gradient goes through it."""
    shapes = [(3, 2, 4), (3, 2)] + [(1, 2, 3)] * states
    layer = recurrent(type_name, *shapes, expose=states)
    assert layer.top_shapes == [(3, 2, 3)] + [(1, 2, 3)] * states
    x, cont = normal(6, 2, 4), flags("111111", "111111")
    zeros = [torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(states)]
    first, *state = layer(x[:3], cont[:3], *zeros)
    second, *_ = layer(x[3:], cont[3:], *state)
    together = recurrent(type_name, (6, 2, 4), (6, 2))(x, cont)
    assert torch.allclose(torch.cat([first, second]), together, rtol=1e-12)
    assert not any(blob.requires_grad for blob in state)
    assert torch.autograd.grad(first.sum(), zeros, allow_unused=True) == (None,) * states


WRONG = [
    ("num_output: 0", [(3, 2, 4), (3, 2)], 1, r"num_output \(=0\) must be positive"),
    ("num_output: 3", [(3, 2), (3, 2)], 1, "at least 3 axes"),
    ("num_output: 3", [(3, 2, 4), (2, 3)], 1, r"bottom 1 must have shape 3 2 \(6\)"),
    ("num_output: 3", [(3, 2, 4), (3, 2), (3, 4)], 1, "one row for each of the 2 streams"),
    ("num_output: 3", [(3, 2, 4), (3, 2), (2, 4), (2, 4)], 1, "needs 2 or 3 bottoms, not 4"),
    ("num_output: 3", [(3, 2, 4), (3, 2)], 2, "needs 1 tops, not 2"),
]
