import pytest
import torch
from layer_building import make

from sdcaffe.errors import LayerError

CPU = torch.device("cpu")
MIXED = """dummy_data_param {
  shape { dim: 2 dim: 3 dim: 4 dim: 5 } shape { dim: 2000 }
  data_filler { type: "constant" value: 7 } data_filler { type: "gaussian" mean: 3 std: 0.5 }
}"""


def test_constants_are_made_once_and_the_rest_for_each_batch():
    layer = make("DummyData", MIXED, tops=2)
    first, again = layer.next_batch(CPU), layer.next_batch(CPU)
    assert layer.top_shapes == [tuple(top.shape) for top in first] == [(2, 3, 4, 5), (2000,)]
    assert first[0] is again[0]
    assert (first[0] == 7).all()
    assert not torch.equal(first[1], again[1])
    assert abs(first[1].mean() - 3) < 0.06  # five standard errors
    assert abs(first[1].std() - 0.5) < 0.04
    assert layer.cursor == 2


def test_a_batch_follows_from_the_seed_and_the_cursor_alone():
    layer = make("DummyData", MIXED, tops=2)
    torch.manual_seed(3)
    batches = [layer.next_batch(CPU)[1] for _ in range(3)]
    other = make("DummyData", MIXED, tops=2)
    other.cursor = 2
    torch.manual_seed(3)
    torch.rand(5)
    assert torch.equal(other.next_batch(CPU)[1], batches[2])
    other.cursor = 2
    torch.manual_seed(4)
    assert not torch.equal(other.next_batch(CPU)[1], batches[2])


def test_other_random_numbers_are_not_disturbed():
    layer = make("DummyData", MIXED, tops=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    layer.next_batch(CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("shape { dim: 2 dim: 3 }", [(2, 3), (2, 3)]),
        ("num: 2 channels: 3 height: 4 width: 5", [(2, 3, 4, 5)] * 2),
        ("num: 2 num: 6 channels: 3 channels: 1 height: 4 width: 5 width: 1", [(2, 3, 4, 5), (6, 1, 4, 1)]),
    ],
)
def test_shapes_and_the_older_four_numbers(body, shapes):
    layer = make("DummyData", f"dummy_data_param {{ {body} }}", tops=2)
    assert layer.top_shapes == shapes
    for top, shape in zip(layer.next_batch(CPU), shapes, strict=True):
        assert top.shape == shape
        assert not top.any()  # no filler: zeros


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "0 x shape for 3 tops"),
        ("shape { dim: 1 } shape { dim: 1 }", "2 x shape for 3 tops"),
        ("shape { dim: -1 }", "negative size"),
        ("shape { dim: 1 } num: 1", "not both"),
        ("num: 1 channels: 1 height: 1", "0 x width for 3 tops"),
        ("shape { dim: 1 } data_filler { } data_filler { }", "2 x data_filler for 3 tops"),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("DummyData", f"dummy_data_param {{ {body} }}", tops=3)
