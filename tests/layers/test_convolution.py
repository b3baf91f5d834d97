"""Convolution, Deconvolution and Im2col against loops in float64 numpy, and their checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import reference
import torch
from geometries import Case, cases
from golden import build, close, one_layer, run
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sdcaffe.errors import LayerError

KINDS = {"Convolution": reference.convolution, "Deconvolution": reference.deconvolution}


def images(case: Case) -> np.ndarray:
    """A bottom of random values; every axis before the channels taken as one."""
    return np.random.RandomState(3).randn(*case.bottom)


def flat(case: Case, values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *case.bottom[case.axes_before :])


def fitting(kind: str, case: Case) -> bool:
    sizes = reference.deconvolved_sizes if kind == "Deconvolution" else reference.convolved_sizes
    return min(sizes(*case.sizes)) >= 1


DILATED = Case((1, 2, 3, 4), 1, [3, 2], [2, 3], [1, 0], [2, 2], 2, 4, True)
FOUR_AXES = Case((1, 4, 2, 3, 2, 2), 1, [2, 2, 1, 2], [2, 1, 1, 2], [1, 0, 0, 1], [1, 2, 1, 1], 2, 2, True)
NO_BATCH_AXIS = Case((2, 4, 3), 0, [2, 2], [1, 2], [0, 1], [1, 1], 1, 3, True)


@pytest.mark.parametrize("kind", KINDS)
@gradients.few
@example(DILATED)
@example(FOUR_AXES)
@example(NO_BATCH_AXIS)
@given(cases(axes=(0, 4), most=40))
def test_any_geometry(kind: str, case: Case) -> None:
    assume(not case.kernel or fitting(kind, case))
    bottom = images(case)
    layer, (tensor,) = gradients.double(one_layer(kind, case.body()), [bottom])
    weight = layer.blobs[0].detach().numpy()
    top = KINDS[kind](flat(case, bottom), weight, case.stride, case.pad, case.dilation, case.group)
    if case.bias:
        top = top + layer.blobs[1].detach().numpy().reshape(-1, *[1] * len(case.kernel))
    top = top.reshape(*case.bottom[: case.axes_before], *top.shape[1:])
    assert layer.top_shapes == [top.shape]
    close(layer(tensor), top, tolerance=1e-12)


@gradients.few
@example(DILATED)
@example(FOUR_AXES)
@given(cases(axes=(1, 4), most=40))
def test_im2col_of_any_geometry(case: Case) -> None:
    assume(fitting("Im2col", case))
    bottom = images(case)
    layer, (tensor,) = gradients.double(one_layer("Im2col", case.body()), [bottom])
    top = reference.im2col(flat(case, bottom), *case.sizes[1:])
    top = top.reshape(*case.bottom[: case.axes_before], *top.shape[1:])
    assert layer.top_shapes == [top.shape]
    close(layer(tensor), top, tolerance=0)


def test_a_kernel_beyond_the_image_reads_zeros_where_the_stride_reaches_over() -> None:
    """Caffe's (2 - 3) / 2 + 1 is 1, as C rounds to 0: one window, its last row and column outside."""
    bottom = np.random.RandomState(0).randn(1, 2, 2, 2)
    for kind, body in (("Convolution", "num_output: 1"), ("Im2col", "")):
        text = one_layer(kind, f"convolution_param {{ kernel_size: 3 stride: 2 {body} }}")
        layer, (tensor,) = gradients.double(text, [bottom])
        if kind == "Im2col":
            expected = reference.im2col(bottom, (3, 3), (2, 2), (0, 0), (1, 1))
        else:
            weight = layer.blobs[0].detach().numpy()
            expected = reference.convolution(bottom, weight, (2, 2), (0, 0), (1, 1))
            expected = expected + layer.blobs[1].detach().numpy().reshape(1, 1, 1, 1)
        close(layer(tensor), expected, tolerance=1e-12)


SAME = [
    ("kernel_size: 3", "kernel_h: 3 kernel_w: 3"),
    ("kernel_size: 3 stride: 2", "kernel_size: 3 kernel_size: 3 stride_h: 2 stride_w: 2"),
    ("kernel_size: 2 pad: 1", "kernel_size: 2 pad_h: 1 pad_w: 1"),
    ("kernel_size: 3", "kernel_size: 3 engine: CUDNN"),
    ("kernel_size: 3", "kernel_size: 3 engine: CAFFE force_nd_im2col: true"),
    ("kernel_size: 3 dilation: 2", "kernel_size: 3 dilation: 2 dilation: 2 axis: -3"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("kind", KINDS)
def test_two_ways_to_say_one_geometry(kind: str, one: str, other: str) -> None:
    bottom = np.random.RandomState(0).randn(1, 2, 6, 7)
    tops = []
    for body in (one, other):
        text = one_layer(kind, f"convolution_param {{ num_output: 2 {body} }}")
        layer, (tensor,) = gradients.double(text, [bottom])
        tops.append(layer(tensor))
    assert torch.equal(*tops)


def test_blobs_have_caffes_shapes() -> None:
    for kind, weight in (("Convolution", (6, 2, 3, 5)), ("Deconvolution", (4, 3, 3, 5))):
        body = "convolution_param { num_output: 6 group: 2 kernel_h: 3 kernel_w: 5 }"
        layer = build(one_layer(kind, body), [(1, 4, 8, 8)])
        assert [tuple(blob.shape) for blob in layer.blobs] == [weight, (6,)]


def test_fillers_are_used() -> None:
    body = """convolution_param { num_output: 2 kernel_size: 1
        weight_filler { type: "constant" value: 3 } bias_filler { type: "constant" value: 4 } }"""
    layer = build(one_layer("Convolution", body), [(1, 1, 1, 1)])
    assert [set(blob.flatten().tolist()) for blob in layer.blobs] == [{3.0}, {4.0}]


def test_a_second_setup_keeps_the_blobs() -> None:
    layer = build(one_layer("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }"), [(1, 3, 5, 5)])
    weight = layer.blobs[0]
    assert layer.setup([(4, 3, 9, 7)]) == [(4, 2, 7, 5)]
    assert layer.blobs[0] is weight
    assert run(layer, [torch.zeros(4, 3, 9, 7)])[0].shape == (4, 2, 7, 5)


def test_the_top_stays_channels_last() -> None:
    layer = build(one_layer("Convolution", "convolution_param { num_output: 8 kernel_size: 3 }"), [(2, 4, 6, 6)])
    bottom = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    assert layer(bottom).is_contiguous(memory_format=torch.channels_last)


WRONG = [
    ("num_output: 4", "kernel_size is given 0 times"),
    ("kernel_size: 3", "num_output must be at least 1"),
    ("num_output: 4 kernel_size: 0", "kernel_size (=0) must be at least 1"),
    ("num_output: 4 kernel_size: 3 kernel_size: 3 kernel_size: 3", "kernel_size is given 3 times"),
    ("num_output: 4 kernel_size: 3 kernel_h: 3", "give kernel_size or kernel_h and kernel_w, not both"),
    ("num_output: 4 kernel_h: 3", "kernel_size (=3, 0) must be at least 1"),
    ("num_output: 4 kernel_size: 3 stride: 0", "stride (=0) must be at least 1"),
    ("num_output: 4 kernel_size: 3 stride: 1 stride_h: 1", "give stride or stride_h and stride_w, not both"),
    ("num_output: 4 kernel_size: 3 pad: 1 pad_w: 1", "give pad or pad_h and pad_w, not both"),
    ("num_output: 4 kernel_size: 3 dilation: 0", "dilation (=0) must be at least 1"),
    ("num_output: 4 kernel_size: 3 group: 3", "channels (=4) and num_output (=4) must be multiples of group (=3)"),
    ("num_output: 4 kernel_size: 3 axis: 4", "axis 4 is out of range"),
    ("num_output: 4 kernel_size: 9", "the kernel does not fit"),
    ("num_output: 4 kernel_h: 3 kernel_w: 3 axis: 0", "need 2 spatial axes, not 3"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
@pytest.mark.parametrize("kind", ["Convolution"])
def test_a_wrong_prototxt_is_refused(kind: str, body: str, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer(kind, f"convolution_param {{ {body} }}"), [(1, 4, 6, 6)])
    assert message in str(caught.value)
    assert 'layer "x"' in str(caught.value)


def test_a_deconvolution_that_pads_everything_away_is_refused() -> None:
    text = one_layer("Deconvolution", "convolution_param { num_output: 1 kernel_size: 1 pad: 2 }")
    with pytest.raises(LayerError, match="does not fit"):
        build(text, [(1, 1, 3, 3)])


def test_bottoms_of_two_shapes_are_refused() -> None:
    text = one_layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }", bottoms=2, tops=2)
    with pytest.raises(LayerError, match="one shape"):
        build(text, [(1, 1, 3, 3), (1, 1, 3, 4)])


def test_im2col_needs_a_spatial_axis() -> None:
    with pytest.raises(LayerError, match="no spatial axis"):
        build(one_layer("Im2col", "convolution_param { kernel_size: 1 }"), [(2, 3)])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_more_axes_than_torch_has_work_without_gradients_too(mode: type) -> None:
    bottom = images(FOUR_AXES)
    layer, (tensor,) = gradients.double(one_layer("Deconvolution", FOUR_AXES.body()), [bottom])
    expected = layer(tensor).detach()
    with mode():
        torch.testing.assert_close(layer(tensor), expected)


@gradients.few
@given(st.integers(1, 5), st.integers(1, 4))
def test_without_spatial_axes_it_is_a_matrix_product(channels: int, outputs: int) -> None:
    bottom = np.random.RandomState(1).randn(3, channels)
    text = one_layer("Convolution", f"convolution_param {{ num_output: {outputs} kernel_size: 1 }}")
    layer, (tensor,) = gradients.double(text, [bottom])
    weight, bias = (blob.detach().numpy() for blob in layer.blobs)
    close(layer(tensor), bottom @ weight.T + bias, tolerance=1e-12)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "Im2col"])
@pytest.mark.parametrize("shape", [(1, 2, 0, 5), (1, 2, 5, 0), (1, 0, 5, 5)])
def test_images_without_values_are_refused_in_words(kind, shape):
    param = f"convolution_param {{ kernel_size: 3 pad: 2 {'' if kind == 'Im2col' else 'num_output: 2'} }}"
    with pytest.raises(LayerError, match="has no values to take windows of"):
        build(one_layer(kind, param), [shape])
