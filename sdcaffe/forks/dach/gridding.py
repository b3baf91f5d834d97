"""Gridding: weighted sums over windows of channels, height and width, the weights belonging to places."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class GriddingParameter:
    gridding: str = "incomplete_gridding"
    kernel_c: int = 1
    kernel_h: int = 1
    kernel_w: int = 1
    stride_c: int = 1
    stride_h: int = 1
    stride_w: int = 1
    bias_term: bool = True
    weight_filler: proto.FillerParameter
    bias_filler: proto.FillerParameter


class GridLayer(Layer):
    """What Gridding and Degridding share: a weight for every place of a window, (1 or windows of c, of h, of w).

    Blob 0 is the weight (c, h, w). Of an "incomplete" grid windows that overlap share the weights of the places that
    they share; of a "complete" one each window has its own; of a "shared" one all windows have the same.
    """

    torch_names = (("weight", "bias"), ("weight",))
    yields = True

    kernel: list[int]
    stride: list[int]

    def sizes(self, stem: str) -> list[int]:
        """The fields `stem`_c, `stem`_h and `stem`_w, of which kernels and strides must be at least 1."""
        found = [int(getattr(self.param, f"{stem}_{axis}")) for axis in "chw"]
        for axis, size in zip("chw", found, strict=True):
            if size < 1 and stem != "cutoff":
                raise self.error(f"{stem}_{axis} must be at least 1", f"{stem}_{axis}")
        return found

    def configure(self, grid: str, name: str, windows: list[int], size: list[int], bias: Shape) -> None:
        """Make the blobs: `windows` of each axis lie over `size` places of it, the last perhaps cut off."""
        kinds = [f"{kind}_{name}" for kind in ("incomplete", "complete", "shared")]
        if grid not in kinds:
            raise self.error(f'{name} must be "{kinds[0]}", "{kinds[1]}" or "{kinds[2]}", not "{grid}"', name)
        self.grid, self.windows, self.size = grid.partition("_")[0], windows, size
        weight = []
        for k, s, t, n in zip(self.kernel, self.stride, windows, size, strict=True):
            apart = {"incomplete": min(k, s), "complete": k, "shared": 0}[self.grid]
            last = n if self.grid == "shared" else n - (t - 1) * s
            weight.append((t - 1) * apart + min(k, last))
        self.blob(0, weight, self.param.weight_filler)
        if self.param.bias_term:
            self.blob(1, bias, self.param.bias_filler)

    @property
    def _weights_lie(self) -> tuple[list[int], list[int]]:
        """On each axis, how far apart the weights of two windows are, and how many windows have their own."""
        apart = self.kernel
        if self.grid == "incomplete":
            apart = [min(k, s) for k, s in zip(self.kernel, self.stride, strict=True)]
        return apart, [1, 1, 1] if self.grid == "shared" else self.windows

    def computed(self, part: Callable[..., Tensor], bottom: Tensor, size: list[int]) -> Tensor:
        """`part` of the bottom and the weights, plus the bias."""
        weights = source_parts.grid_windows(self.blobs[0].unsqueeze(0), self.kernel, *self._weights_lie)
        top: Tensor = part(bottom, weights, self.kernel, self.stride, size)
        return top + self.blobs[1] if len(self.blobs) > 1 else top

    def written(self, builder: SourceBuilder, part: Callable[..., Tensor], size: list[int]) -> Source:
        """`computed` as source."""
        apart, windows = self._weights_lie
        name, cls = builder.part(source_parts.grid_windows), builder.part(source_parts.GridBlobs)
        weights = f"{name}({{self}}.weight.unsqueeze(0), {self.kernel}, {apart}, {windows})"
        top = f"{builder.part(part)}({{0}}, {weights}, {self.kernel}, {self.stride}, {size})"
        shapes = ", ".join(str(list(blob.shape)) for blob in self.blobs)
        return Source(f"{top} + {{self}}.bias" if len(self.blobs) > 1 else top, f"{cls}({shapes})", nests=False)


@register("Gridding", field="gridding_param", number=150)
class Gridding(GridLayer):
    """The sum of each window of a bottom (n, c, h, w), its values weighted, plus a bias.

    Blob 0 is the weights (c, h, w), as many on each axis as the grid has, blob 1 the bias, (top c, h, w).

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826). Windows begin every stride_* places, as many as begin and do
    not lie within the one before; the last may reach beyond the bottom, where there are zeros. The gradient is the
    true one; the fork's for a shared grid reads behind its arrays where the kernel is larger than the stride.
    """

    param: proto.GriddingParameter
    Param = GriddingParameter
    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if len(bottom) != 4:
            raise self.error(f"the bottom must have 4 axes (n, c, h, w): {show_shape(bottom)}")
        self.kernel, self.stride = self.sizes("kernel"), self.sizes("stride")
        tops = []
        for n, k, s in zip(bottom[1:], self.kernel, self.stride, strict=True):
            whole, rest = divmod(max(0, n - k), s)
            tops.append(whole + 1 + (rest > 0 and (whole + 1) * s < n))
        self.configure(self.param.gridding, "gridding", tops, list(bottom[1:]), tuple(tops))
        return [(bottom[0], *tops)]

    def forward(self, bottom: Tensor) -> Tensor:
        return self.computed(source_parts.gridded, bottom, self.windows)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return self.written(builder, source_parts.gridded, self.windows)
