import numpy as np
import pytest
import torch
from layer_building import make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("", (2, 60)),
        ("axis: 0", (120,)),
        ("axis: 0 end_axis: 1", (6, 4, 5)),
        ("axis: -2", (2, 3, 20)),
        ("axis: 2 end_axis: -2", (2, 3, 4, 5)),
        ("axis: 2 end_axis: 1", (2, 3, 1, 4, 5)),  # an empty run of axes makes an axis of one, as in Caffe
    ],
)
def test_a_run_of_axes_becomes_one_in_nchw_order(body, shape):
    bottom = normal(2, 3, 4, 5)
    layer = make("Flatten", f"flatten_param {{ {body} }}", (2, 3, 4, 5))
    top = layer(bottom.contiguous(memory_format=torch.channels_last))
    assert layer.top_shapes == [shape]
    np.testing.assert_array_equal(top.detach(), bottom.detach().numpy().reshape(shape))


def test_the_end_may_not_come_before_the_start():
    with pytest.raises(LayerError, match=r"end_axis \(=0\) comes before axis \(=2\)"):
        make("Flatten", "flatten_param { axis: 2 end_axis: 0 }", (2, 3, 4))
    with pytest.raises(LayerError, match="axis 3 is out of range"):
        make("Flatten", "flatten_param { axis: 3 }", (2, 3, 4))
