"""Errors that arise within a layer's code name the layer, and the line of its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sdcaffe.errors import NetError, SdcaffeError
from sdcaffe.layers.layer import Layer
from sdcaffe.plugins import file_of, place


@contextmanager
def blamed_on(layer: Layer) -> Iterator[None]:
    """What goes wrong inside names the layer, as `blamed` says."""
    try:
        yield
    except Exception as error:
        found = blamed(layer, error)
        if found is error:
            raise
        raise found from error


def blamed(layer: Layer, error: Exception) -> Exception:
    """What to raise for an error within a layer: one of sdcaffe's own as it is, a LayerError with the place for others.

    It names the layer; of want of memory it says what helps.
    """
    if isinstance(error, NetError):
        error.layer = error.layer or layer.name
    if isinstance(error, SdcaffeError):
        return error
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error):
        return layer.error("there is not enough memory for it; make batch_size or the layer smaller")
    return layer.error(f"{type(error).__name__}: {error} ({place(error, file_of(type(layer)))})")
