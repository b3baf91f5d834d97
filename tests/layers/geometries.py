"""Hypothesis picks what a ConvolutionParameter can say of kernels, strides, pads, dilations, groups and axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st


@dataclass
class Case:
    """A bottom's shape and a geometry for it; `axes_before` batch axes come before the channels."""

    bottom: tuple[int, ...]
    axes_before: int
    kernel: list[int]
    stride: list[int]
    pad: list[int]
    dilation: list[int]
    group: int
    outputs: int
    bias: bool

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.bottom[self.axes_before + 1 :]

    @property
    def sizes(self) -> tuple[tuple[int, ...], list[int], list[int], list[int], list[int]]:
        return self.spatial, self.kernel, self.stride, self.pad, self.dilation

    def body(self) -> str:
        """Each size once per axis: Caffe's form for any number of axes."""
        fields = {"kernel_size": self.kernel, "stride": self.stride, "pad": self.pad, "dilation": self.dilation}
        sizes = " ".join(f"{name}: {n}" for name, values in fields.items() for n in values)
        rest = f"num_output: {self.outputs} group: {self.group} bias_term: {str(self.bias).lower()}"
        return f"convolution_param {{ {sizes} {rest} axis: {self.axes_before} }}"


@st.composite
def cases(draw: st.DrawFn, axes: tuple[int, int], most: int) -> Case:
    """Geometries over `axes` (from, to) spatial axes of at most `most` values in all."""
    count = draw(st.integers(*axes))
    spatial = [draw(st.integers(2, 5 if count < 3 else 3)) for _ in range(count)]
    assume(math.prod(spatial) <= most)

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(count)]

    group = draw(st.sampled_from([1, 1, 2]))
    before = draw(st.sampled_from([[2], [2], [], [2, 1]]))
    channels = group * draw(st.integers(1, 2))
    return Case(
        bottom=(*before, channels, *spatial),
        axes_before=len(before),
        kernel=each(1, 3 if count < 3 else 2),
        stride=each(1, 3),
        pad=each(0, 2 if count < 3 else 1),
        dilation=each(1, 2),
        group=group,
        outputs=group * draw(st.integers(1, 2)),
        bias=draw(st.booleans()),
    )
