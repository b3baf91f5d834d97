import pytest
from layer_building import make

from sdcaffe.errors import LayerError


def test_one_shape_for_each_top_or_one_for_all():
    both = make("Input", "input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } }", tops=2)
    assert both.top_shapes == [(2, 3), (4,)]
    assert make("Input", "input_param { shape { dim: 2 dim: 3 } }", tops=2).top_shapes == [(2, 3)] * 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "0 shapes for 3 tops"),
        ("shape { dim: 1 } shape { dim: 2 }", "2 shapes for 3 tops"),
        ("shape { dim: -1 }", "negative size"),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("Input", f"input_param {{ {body} }}", tops=3)


def test_only_the_caller_gives_the_tops():
    with pytest.raises(LayerError, match="the caller of the net gives its tops: t0"):
        make("Input", "input_param { shape { dim: 1 } }")()
