"""What Synopsys' two resizing layers share: the size of the top, and where its pixels come from. Holds no layer type.

Places are computed in float32, as the fork does, on which the rounding hangs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, show_shape

Floats = npt.NDArray[np.float32]


class ResizingLayer(Layer):
    """A layer that resizes two axes: 1 and 2 where data_format is NHWC, the default, else 2 and 3."""

    fixes = "size"
    modes: tuple[str, ...] = ()

    def top_size(self, bottom: Shape) -> tuple[int, int, int]:
        """The first of the two axes, and both sizes of the top. Raises LayerError where they cannot be."""
        param = self.param
        if len(bottom) != 4:
            raise self.error(f"needs a bottom of 4 axes, not {show_shape(bottom)}")
        given = [mode for mode in self.modes if getattr(param, mode)]
        if len(given) > 1:
            raise self.error(f"{' and '.join(given)} exclude each other", given[1])
        axis = 1 if param.data_format == "NHWC" else 2
        sizes = []
        for name, size in (("height", bottom[axis]), ("width", bottom[axis + 1])):
            field, scale = f"output_{name}", getattr(param, f"scale_{name}")
            wanted = (
                getattr(param, field) if param.HasField(field) else int(np.floor(np.float32(size) * np.float32(scale)))
            )
            if wanted < 1:
                raise self.error(f"the top's {name} would be {wanted}; give {field} or scale_{name}", field)
            sizes.append(wanted)
        return axis, sizes[0], sizes[1]

    def steps(self, wanted: int, size: int) -> tuple[Floats, np.float32]:
        """0, 1, ... `wanted` - 1, and how many pixels of the bottom each is worth."""
        few = self.param.align_corners and wanted > 1
        scale = np.float32(size - 1) / np.float32(wanted - 1) if few else np.float32(size) / np.float32(wanted)
        return np.arange(wanted, dtype=np.float32), scale


def gathered(x: Tensor, axis: int, rows: list[int], columns: list[int]) -> Tensor:
    """The pixels at these places of two axes."""
    x = x.index_select(axis, torch.tensor(rows, device=x.device))
    return x.index_select(axis + 1, torch.tensor(columns, device=x.device))


def lerped(x: Tensor, axis: int, rows: list[tuple[int, int, float]], columns: list[tuple[int, int, float]]) -> Tensor:
    """Pixels between those of two axes: each place is the lower one, the upper one and the upper one's weight."""
    for own, places in ((axis + 1, columns), (axis, rows)):
        low = x.index_select(own, torch.tensor([place[0] for place in places], device=x.device))
        high = x.index_select(own, torch.tensor([place[1] for place in places], device=x.device))
        weight = torch.tensor([place[2] for place in places], device=x.device).to(x.dtype)
        x = low + (high - low) * weight.reshape([-1] + [1] * (x.dim() - 1 - own))
    return x
