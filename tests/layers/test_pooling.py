"""Pooling against loops in float64 numpy, what STOCHASTIC draws, and the checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import reference
import torch
from golden import build, close, one_layer, run
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sdcaffe.errors import LayerError

Sizes = tuple[int, int]
pairs = st.tuples(st.integers(1, 5), st.integers(1, 5))


def body(method: str, kernel: Sizes, stride: Sizes, pad: Sizes, floor: bool) -> str:
    fields = f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]}"
    mode = "FLOOR" if floor else "CEIL"
    return f"pooling_param {{ pool: {method} {fields} pad_h: {pad[0]} pad_w: {pad[1]} round_mode: {mode} }}"


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@gradients.few
@example(size=(5, 7), kernel=(2, 2), stride=(3, 4), pads=(0, 0), floor=False)  # stride over kernel
@example(size=(4, 4), kernel=(1, 1), stride=(2, 5), pads=(0, 0), floor=False)
@example(size=(6, 5), kernel=(3, 4), stride=(2, 2), pads=(2, 3), floor=False)  # pad over half a kernel
@example(size=(6, 5), kernel=(3, 4), stride=(1, 3), pads=(2, 3), floor=True)
@example(size=(2, 2), kernel=(3, 3), stride=(2, 2), pads=(0, 0), floor=False)  # kernel over image
@given(size=pairs, kernel=pairs, stride=pairs, pads=pairs, floor=st.booleans())
def test_any_windows(method: str, size: Sizes, kernel: Sizes, stride: Sizes, pads: Sizes, floor: bool) -> None:
    pad = min(pads[0], kernel[0] - 1), min(pads[1], kernel[1] - 1)
    sizes = [
        reference.pooled_size(n, k, s, p, floor=floor) for n, k, s, p in zip(size, kernel, stride, pad, strict=True)
    ]
    assume(min(sizes) >= 1)
    bottom = gradients.distinct((2, 2, *size))
    text = one_layer("Pooling", body(method, kernel, stride, pad, floor), tops=1 + (method == "MAX"))
    layer, (tensor,) = gradients.double(text, [bottom])
    top, mask = reference.pool(bottom, method, kernel, stride, pad, floor=floor)
    ours = run(layer, [tensor])
    assert layer.top_shapes == [top.shape] * len(ours)
    close(ours[0], top, tolerance=1e-12)
    if method == "MAX":
        close(ours[1], mask, tolerance=0)
        alone = gradients.double(one_layer("Pooling", body(method, kernel, stride, pad, floor)), [bottom])[0]
        close(alone(tensor), top, tolerance=0)


@gradients.few
@given(size=pairs, kernel=pairs, stride=pairs, floor=st.booleans())
def test_stochastic_pooling_is_the_expectation_in_the_test_phase(
    size: Sizes, kernel: Sizes, stride: Sizes, floor: bool
) -> None:
    sizes = [reference.pooled_size(n, k, s, 0, floor=floor) for n, k, s in zip(size, kernel, stride, strict=True)]
    assume(min(sizes) >= 1)
    bottom = gradients.positive((2, 3, *size))
    bottom[0, 0] = 0
    text = one_layer("Pooling", body("STOCHASTIC", kernel, stride, (0, 0), floor))
    layer, (tensor,) = gradients.double(text, [bottom], "TEST")
    top, _ = reference.pool(bottom, "STOCHASTIC", kernel, stride, (0, 0), floor=floor)
    close(layer(tensor), top, tolerance=1e-12)


def test_stochastic_pooling_draws_in_proportion_to_the_values() -> None:
    window = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    bottom = window.repeat(20000, 1, 1, 1)
    layer = build(one_layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }"), [bottom.shape])
    torch.manual_seed(0)
    drawn = layer(bottom).flatten()
    for value in (1.0, 3.0, 4.0):
        probability = value / 8
        deviation = (probability * (1 - probability) / len(drawn)) ** 0.5
        assert abs(float((drawn == value).double().mean()) - probability) < 5 * deviation
    assert set(drawn.tolist()) == {1.0, 3.0, 4.0}


def test_stochastic_pooling_draws_only_from_its_window_and_sends_the_gradient_there() -> None:
    bottom = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5).requires_grad_()
    layer = build(one_layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }"), [(1, 1, 5, 5)])
    top = layer(bottom)
    assert top.shape == (1, 1, 3, 3)
    top.sum().backward()
    picked = torch.zeros(5, 5)
    for row in range(3):
        for column in range(3):
            value = top[0, 0, row, column].item()
            window = bottom[0, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert value in window.flatten().tolist()
            picked.view(-1)[int(value) - 1] += 1
    assert torch.equal(bottom.grad[0, 0], picked)


def test_two_passes_of_stochastic_pooling_differ_but_a_seed_repeats_them() -> None:
    bottom = torch.rand(4, 4, 8, 8)
    layer = build(one_layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }"), [bottom.shape])
    torch.manual_seed(3)
    first, second = layer(bottom), layer(bottom)
    torch.manual_seed(3)
    assert torch.equal(layer(bottom), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 2), (3, 1, 0)])
def test_the_gradient_of_equals_goes_to_the_first(kernel: int, stride: int, pad: int, channels_last: bool) -> None:
    bottom = np.random.RandomState(0).randint(0, 3, (2, 5, 7, 6)).astype(np.float64)
    sizes = (kernel, kernel), (stride, stride), (pad, pad)
    tensor = torch.tensor(bottom)
    if channels_last:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    layer, _ = gradients.double(one_layer("Pooling", body("MAX", *sizes, False)), [bottom])
    layer(tensor.requires_grad_()).sum().backward()
    _, mask = reference.pool(bottom, "MAX", *sizes)
    expected = np.zeros(bottom.shape)
    for n, c in np.ndindex(2, 5):
        np.add.at(expected[n, c].reshape(-1), mask[n, c].astype(int).ravel(), 1)
    close(tensor.grad, expected, tolerance=0)


def test_global_pooling_follows_the_image() -> None:
    layer = build(one_layer("Pooling", "pooling_param { pool: AVE global_pooling: true }"), [(1, 2, 3, 4)])
    assert layer.setup([(1, 2, 7, 5)]) == [(1, 2, 1, 1)]
    bottom = torch.rand(1, 2, 7, 5)
    close(layer(bottom), bottom.double().numpy().mean((2, 3), keepdims=True), tolerance=1e-6)


@pytest.mark.parametrize("engine", ["DEFAULT", "CAFFE", "CUDNN"])
def test_engines_are_accepted(engine: str) -> None:
    layer = build(one_layer("Pooling", f"pooling_param {{ kernel_size: 2 engine: {engine} }}"), [(1, 1, 3, 3)])
    assert layer.top_shapes == [(1, 1, 2, 2)]


WRONG = [
    ("", 1, "kernel_size, or kernel_h and kernel_w, is required"),
    ("kernel_size: 2 kernel_h: 2 kernel_w: 2", 1, "not both"),
    ("kernel_h: 2", 1, "kernel_h and kernel_w go together"),
    ("kernel_size: 2 stride_h: 2", 1, "stride_h and stride_w go together"),
    ("kernel_size: 2 pad_w: 1", 1, "pad_h and pad_w go together"),
    ("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1", 1, "give pad or pad_h and pad_w, not both"),
    ("kernel_size: 0", 1, "kernel_h (=0)"),
    ("kernel_size: 2 stride: 0", 1, "stride_h (=0)"),
    ("kernel_size: 2 pad: 2", 1, "pad_h (=2) must be less than kernel_h (=2)"),
    ("kernel_size: 6", 1, "kernel_h (=6) does not fit bottom 1 1 4 4 (16) with pad 0"),
    ("global_pooling: true kernel_size: 2", 1, "global_pooling takes no kernel_size"),
    ("global_pooling: true stride: 2", 1, "global_pooling needs pad 0"),
    ("pool: STOCHASTIC kernel_size: 3 pad: 1", 1, "only MAX and AVE pooling take a pad"),
    ("pool: AVE kernel_size: 2", 2, "only MAX pooling has a second top"),
]


@pytest.mark.parametrize(("text", "tops", "message"), WRONG)
def test_a_wrong_prototxt_is_refused(text: str, tops: int, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer("Pooling", f"pooling_param {{ {text} }}", tops=tops), [(1, 1, 4, 4)])
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["Pooling", "SPP", "LRN"])
def test_only_4d_bottoms_are_taken(kind: str) -> None:
    bodies = {"Pooling": "pooling_param { kernel_size: 1 }", "SPP": "spp_param { pyramid_height: 1 }", "LRN": ""}
    with pytest.raises(LayerError, match="must have 4 axes"):
        build(one_layer(kind, bodies[kind]), [(2, 3, 4)])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_windows_of_one_value_give_a_top_of_its_own_in_channels_last_memory(method: str, stride: int) -> None:
    bottom = torch.randn(2, 3, 7, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    layer = build(
        one_layer("Pooling", f"pooling_param {{ pool: {method} kernel_size: 1 stride: {stride} }}"), [bottom.shape]
    )
    top = layer(bottom)
    assert top.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(top, bottom[:, :, ::stride, ::stride])
    assert top.data_ptr() != bottom.data_ptr()
    seed = torch.randn(top.shape)
    top.backward(seed)
    assert torch.equal(bottom.grad[:, :, ::stride, ::stride], seed)
    assert bottom.grad.is_contiguous(memory_format=torch.channels_last)
    assert bottom.grad.count_nonzero() == seed.numel()
