"""Where batches come from: sources of images, their order, Caffe's transformer, and prefetch.

Nothing here knows nets: the data layers in `sdcaffe.layers` are thin faces on this package. Names are resolved when
first used, so that a picture is decoded and resized without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe.data.feed import Feed
    from sdcaffe.data.opening import open_source
    from sdcaffe.data.order import Order, random_draws, shard
    from sdcaffe.data.source import Source
    from sdcaffe.data.transformer import Transformer

__all__ = ["Feed", "Order", "Source", "Transformer", "open_source", "random_draws", "shard"]

_HOMES = {
    "Feed": "feed",
    "Order": "order",
    "Source": "source",
    "Transformer": "transformer",
    "open_source": "opening",
    "random_draws": "order",
    "shard": "order",
}


if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
