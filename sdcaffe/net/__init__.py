"""A phase's net: its layers assembled, what runs as one planned, and its weights brought in."""

from sdcaffe.net.assembly import Assembled
from sdcaffe.net.net import Batch, Net

__all__ = ["Assembled", "Batch", "Net"]
