"""Gradients of the vision layers, over shapes and parameters that no recording has."""

from __future__ import annotations

import gradients
import reference
from geometries import Case, cases
from golden import one_layer
from hypothesis import assume, given
from hypothesis import strategies as st

few = gradients.few


@few
@given(cases(axes=(1, 4), most=16))
def test_convolution(case: Case) -> None:
    assume(min(reference.convolved_sizes(*case.sizes)) >= 1)
    gradients.check(one_layer("Convolution", case.body()), [gradients.distinct(case.bottom)])


@few
@given(cases(axes=(1, 4), most=16))
def test_deconvolution(case: Case) -> None:
    assume(min(reference.deconvolved_sizes(*case.sizes)) >= 1)
    gradients.check(one_layer("Deconvolution", case.body()), [gradients.distinct(case.bottom)])


@few
@given(cases(axes=(1, 4), most=16))
def test_im2col(case: Case) -> None:
    assume(min(reference.convolved_sizes(*case.sizes)) >= 1)
    gradients.check(one_layer("Im2col", case.body()), [gradients.distinct(case.bottom)])


def test_convolution_with_several_bottoms() -> None:
    bottoms = [gradients.distinct((1, 2, 4, 3), seed) for seed in range(3)]
    text = one_layer("Convolution", "convolution_param { num_output: 2 kernel_size: 2 }", bottoms=3, tops=3)
    gradients.check(text, bottoms)


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, ...], str]:
    """A 4-D shape and the body of a pooling_param for it."""
    size = [draw(st.integers(2, 6)) for _ in "hw"]
    kernel = [draw(st.integers(1, n)) for n in size]
    stride = [draw(st.integers(1, 4)) for _ in "hw"]
    pad = [draw(st.integers(0, k - 1)) for k in kernel]
    mode = draw(st.sampled_from(["CEIL", "FLOOR"]))
    sides = [f"kernel_{s}: {k} stride_{s}: {t}" for s, k, t in zip("hw", kernel, stride, strict=True)]
    pads = f"pad_h: {pad[0]} pad_w: {pad[1]}"
    return (draw(st.integers(1, 2)), 2, *size), f"{' '.join(sides)} {pads} round_mode: {mode}"


@few
@given(poolings())
def test_max_pooling(case: tuple[tuple[int, ...], str]) -> None:
    shape, body = case
    gradients.check(one_layer("Pooling", f"pooling_param {{ pool: MAX {body} }}"), [gradients.distinct(shape)])


@few
@given(poolings())
def test_max_pooling_with_mask(case: tuple[tuple[int, ...], str]) -> None:
    shape, body = case
    text = one_layer("Pooling", f"pooling_param {{ pool: MAX {body} }}", tops=2)
    gradients.check(text, [gradients.distinct(shape)])


@few
@given(poolings())
def test_average_pooling(case: tuple[tuple[int, ...], str]) -> None:
    shape, body = case
    gradients.check(one_layer("Pooling", f"pooling_param {{ pool: AVE {body} }}"), [gradients.distinct(shape)])


@few
@given(
    st.tuples(st.integers(2, 5), st.integers(2, 5)),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from(["TRAIN", "TEST"]),
)
def test_stochastic_pooling(size: tuple[int, int], kernel: int, stride: int, phase: str) -> None:
    text = one_layer("Pooling", f"pooling_param {{ pool: STOCHASTIC kernel_size: {kernel} stride: {stride} }}")
    # Differences of a step of 1e-6 do not move which value is drawn.
    gradients.check(text, [gradients.positive((2, 2, *size))], phase)


@few
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([0.0, 1e-4, 0.8]),
    st.sampled_from([0.0, 0.5, 0.75, 1.3]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
)
def test_lrn(shape: tuple[int, ...], size: int, alpha: float, beta: float, k: float, region: str) -> None:
    body = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} norm_region: {region} }}"
    gradients.check(one_layer("LRN", body), [gradients.distinct(shape)])


@few
@given(st.tuples(st.integers(3, 6), st.integers(3, 6)), st.integers(1, 2), st.sampled_from(["MAX", "AVE"]))
def test_spp(size: tuple[int, int], height: int, pool: str) -> None:
    text = one_layer("SPP", f"spp_param {{ pyramid_height: {height} pool: {pool} }}")
    gradients.check(text, [gradients.distinct((1, 2, *size))])


@few
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 2), st.integers(0, 1)), min_size=1, max_size=4), st.data())
def test_crop(cuts: list[tuple[int, int, int]], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(cuts), len(cuts) - 1))
    start = axis % len(cuts)
    bottom = [sum(cut) for cut in cuts]
    size = bottom[:start] + [cut[1] for cut in cuts[start:]]
    offsets = " ".join(f"offset: {before}" for before, _, _ in cuts[start:])
    text = one_layer("Crop", f"crop_param {{ axis: {axis} {offsets} }}", bottoms=2)
    gradients.check(text, [gradients.distinct(bottom), gradients.distinct(size)], constant=[1])
