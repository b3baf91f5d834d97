"""Backward of the recurrent layers against numeric differences, over shapes and options that hypothesis picks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_building import few, gradients_agree, make, normal, whole

size = st.integers(1, 3)


@pytest.mark.parametrize("type_name", ["LSTM", "RNN"])
@settings(few, max_examples=5)
@given(
    steps=size, streams=size, inputs=st.lists(size, min_size=1, max_size=2), static=st.booleans(), expose=st.booleans()
)
def test_inputs_static_inputs_and_blobs(type_name, steps, streams, inputs, static, expose):
    states = (2 if type_name == "LSTM" else 1) if expose else 0
    x = normal(steps, streams, *inputs)
    cont = whole(0, 2, steps, streams)
    cont[0] = 0  # else each pass would begin where the one before ended
    bottoms = [x, cont] + [normal(streams, 2)] * static
    hidden = [normal(1, streams, 2, seed=i).detach() for i in range(states)]
    torch.manual_seed(0)
    filler = '{ type: "uniform" min: -1 max: 1 }'
    body = f"num_output: 2 weight_filler {filler} bias_filler {filler} expose_hidden: {str(expose).lower()}"
    shapes = [tuple(bottom.shape) for bottom in bottoms + hidden]
    layer = make(type_name, f"recurrent_param {{ {body} }}", *shapes, tops=1 + states)
    assert gradients_agree(layer, *bottoms, *hidden)


@few
@given(streams=size, cells=size)
def test_lstm_unit(streams, cells):
    cell, gates = normal(1, streams, cells), normal(1, streams, 4 * cells)
    cont = whole(0, 2, 1, streams)
    layer = make("LSTMUnit", "", cell.shape, gates.shape, cont.shape, tops=2)
    assert gradients_agree(layer, cell, gates, cont)
