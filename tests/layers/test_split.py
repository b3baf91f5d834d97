from layer_building import backward, make, normal


def test_tops_are_the_bottom_and_gradients_add_up():
    bottom = normal(2, 3)
    layer = make("Split", "", (2, 3), tops=3)
    tops = layer(bottom)
    assert layer.top_shapes == [(2, 3)] * 3
    assert all(top is bottom for top in tops)
    assert (backward(tops[0] + 2 * tops[1] + 4 * tops[2], bottom)[0] == 7).all()
