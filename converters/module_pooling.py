"""Pooling as an expression of PyTorch, with Caffe's windows."""

from __future__ import annotations

from typing import Any

from sdcaffe.converters.module_text import call, pair

from sdcaffe.layers.windows import Windows, ave_pool, max_pool


def pooled(layer: Any, windows: Windows) -> str:
    """MAX or AVE of `{0}`. Raises LayerError for other methods."""
    if layer.pool not in (max_pool, ave_pool):
        raise layer.error("STOCHASTIC pooling cannot be written as a PyTorch module")
    maximum = layer.pool is max_pool
    if layer.type == "Pooling" and layer.param.global_pooling:
        return f"torch.{'amax' if maximum else 'mean'}({{0}}, (2, 3), keepdim=True)"
    function = "F.max_pool2d" if maximum else "F.avg_pool2d"
    stride = None if windows.stride == windows.kernel else pair(windows.stride)
    ceil = "True" if windows.ceil else None
    if not windows.wide:
        padding = pair(windows.pad) if any(windows.pad) else None
        return call(function, "{0}", pair(windows.kernel), stride=stride, padding=padding, ceil_mode=ceil)
    h, w = windows.pad  # more than half a kernel, which torch does not take; then the windows behind go
    value = 'float("-inf")' if maximum else None
    padded = call("F.pad", "{0}", f"({w}, {w}, {h}, {h})", value=value)
    rows, columns = windows.pooled
    return (
        call(function, padded, pair(windows.kernel), stride=stride, ceil_mode="True") + f"[:, :, :{rows}, :{columns}]"
    )


def spatial_pyramid(layer: Any) -> str:
    """The levels of an SPP side by side."""
    levels = [pooled(layer, windows) for windows in layer.levels]
    if len(levels) == 1:
        return levels[0]
    return f"torch.cat(({', '.join(f'torch.flatten({level}, 1)' for level in levels)}), 1)"
