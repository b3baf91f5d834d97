from layer_building import make, normal


def test_bottoms_end_here():
    layer = make("Silence", "", (2, 3), (4,), tops=0)
    assert layer.top_shapes == []
    assert layer(normal(2, 3), normal(4)) == ()
