"""Exponential moving averages of a net's weights, and the net with these in the place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sdcaffe.net import Net


class Average:
    """average = decay * average + (1 - decay) * blob after each update, of every blob of a net.

    It begins as the blobs are. Statistics of norms are averaged too, so that they fit the averaged weights.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self._blobs = [blob.detach() for blob in net.parameters()]
        self._decay = decay
        self._values = [blob.clone() for blob in self._blobs]
        self._in_use = False

    @torch.no_grad()
    def update(self) -> None:
        """Take in what the blobs are now."""
        torch._foreach_lerp_(self._values, self._blobs, 1 - self._decay)

    def restart(self) -> None:
        """Begin anew from what the blobs are now."""
        torch._foreach_copy_(self._values, self._blobs)

    @contextmanager
    def used(self, used: bool = True) -> Iterator[None]:
        """While the context lasts the net's blobs hold the averages, or with `used` False its own weights."""
        changes = used != self._in_use
        if changes:
            self._exchange()
        try:
            yield
        finally:
            if changes:
                self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Each holds the numbers of the other. The memory stays whose it was: a recorded step reads it."""
        before = [blob.clone() for blob in self._blobs]
        torch._foreach_copy_(self._blobs, self._values)
        torch._foreach_copy_(self._values, before)
        self._in_use = not self._in_use
