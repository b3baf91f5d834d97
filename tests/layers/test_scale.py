"""Scale and Bias: which axes the blob spans, in float64 numpy; fillers; the checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import torch
from golden import build, close, one_layer

from sdcaffe.errors import LayerError

SPANS = [  # body, shape of the blob, the same with its axes in place
    ("", (3,), (1, 3, 1, 1)),
    ("axis: 0", (2,), (2, 1, 1, 1)),
    ("axis: -1", (5,), (1, 1, 1, 5)),
    ("axis: 2 num_axes: 2", (4, 5), (1, 1, 4, 5)),
    ("axis: 1 num_axes: -1", (3, 4, 5), (1, 3, 4, 5)),
    ("axis: 0 num_axes: -1", (2, 3, 4, 5), (2, 3, 4, 5)),
    ("num_axes: 0", (), ()),
]
BOTTOM = np.random.RandomState(0).randn(2, 3, 4, 5)


@pytest.mark.parametrize(("body", "blob", "view"), SPANS)
def test_scale_and_bias_span_axes(body: str, blob: tuple[int, ...], view: tuple[int, ...]) -> None:
    layer, (bottom,) = gradients.double(one_layer("Scale", f"scale_param {{ {body} bias_term: true }}"), [BOTTOM])
    assert [tuple(b.shape) for b in layer.blobs] == [blob, blob]
    scale, bias = (b.detach().numpy().reshape(view) for b in layer.blobs)
    close(layer(bottom), BOTTOM * scale + bias, tolerance=1e-12)


@pytest.mark.parametrize(("body", "blob", "view"), SPANS)
def test_bias_spans_axes(body: str, blob: tuple[int, ...], view: tuple[int, ...]) -> None:
    layer, (bottom,) = gradients.double(one_layer("Bias", f"bias_param {{ {body} }}"), [BOTTOM])
    assert [tuple(b.shape) for b in layer.blobs] == [blob]
    close(layer(bottom), BOTTOM + layer.blobs[0].detach().numpy().reshape(view), tolerance=1e-12)


@pytest.mark.parametrize("bias_term", [False, True])
@pytest.mark.parametrize(("body", "blob", "view"), SPANS)
def test_a_second_bottom_says_which_axes_by_its_shape(
    body: str, blob: tuple[int, ...], view: tuple[int, ...], bias_term: bool
) -> None:
    body = body.split("num_axes")[0]
    operand = np.random.RandomState(1).randn(*blob)
    text = one_layer("Scale", f"scale_param {{ {body} bias_term: {str(bias_term).lower()} }}", bottoms=2)
    layer, tensors = gradients.double(text, [BOTTOM, np.asarray(operand)])
    expected = BOTTOM * np.reshape(operand, view)
    if bias_term:
        expected = expected + layer.blobs[0].detach().numpy().reshape(view)
    assert len(layer.blobs) == bias_term
    close(layer(*tensors), expected, tolerance=1e-12)


def test_without_fillers_a_scale_is_1_and_a_bias_0() -> None:
    layer = build(one_layer("Scale", "scale_param { bias_term: true }"), [(2, 3)])
    assert [blob.tolist() for blob in layer.blobs] == [[1, 1, 1], [0, 0, 0]]


def test_fillers_are_used() -> None:
    body = "filler { value: 2 } bias_term: true bias_filler { value: 5 }"
    layer = build(one_layer("Scale", f"scale_param {{ {body} }}"), [(2, 3)])
    assert [blob.tolist() for blob in layer.blobs] == [[2, 2, 2], [5, 5, 5]]
    assert build(one_layer("Bias", "bias_param { filler { value: 7 } }"), [(2, 1)]).blobs[0].tolist() == [7]


def test_the_top_stays_channels_last() -> None:
    bottom = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    for kind, body in (("Scale", "scale_param { bias_term: true }"), ("Scale", ""), ("Bias", "")):
        layer = build(one_layer(kind, body), [bottom.shape])
        assert layer(bottom).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("axis: 4", "axis 4 is out of range"),
        ("axis: 2 num_axes: 3", "axis 2 and num_axes 3 reach beyond a bottom of 4 axes"),
        ("num_axes: -2", "num_axes (=-2)"),
    ],
)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_a_wrong_span_is_refused(kind: str, body: str, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer(kind, f"{kind.lower()}_param {{ {body} }}"), [(2, 3, 4, 5)])
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize("operand", [(4,), (3, 5), (3, 4, 5, 6)])
def test_a_second_bottom_that_does_not_match_is_refused(kind: str, operand: tuple[int, ...]) -> None:
    says = r"of shape [\d ]+\(\d+\) does not match bottom 2 3 4 5 \(120\) from axis 1 on"
    with pytest.raises(LayerError, match=says):
        build(one_layer(kind, bottoms=2), [(2, 3, 4, 5), operand])
