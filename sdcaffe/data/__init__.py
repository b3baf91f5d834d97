"""Where batches come from: sources of images, their order, Caffe's transformer, and prefetch.

Nothing here knows nets: the data layers in `sdcaffe.layers` are thin faces on this package.
"""

from __future__ import annotations

from sdcaffe.data.feed import Feed
from sdcaffe.data.order import Order, random_draws, shard
from sdcaffe.data.source import Source, open_source
from sdcaffe.data.transformer import Transformer

__all__ = ["Feed", "Order", "Source", "Transformer", "open_source", "random_draws", "shard"]
