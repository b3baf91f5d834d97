"""Plain JPEGs to arrays by torchvision's decoder, which lets other threads run; all other pictures as `decode` does.

The bytes are the same either way. Here so that `decode` is usable without torch.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdcaffe.data import decode

_MODES = {"native": 0, "gray": 1, "color": 3}  # torchvision.io.ImageReadMode
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential and progressive: how nearly all JPEGs are coded
_EXIF, _ADOBE = 0xE1, 0xEE  # segments that may turn the picture or change the meaning of its channels


def decode_image(data: bytes, color: str, where: str) -> NDArray[np.uint8]:
    """As `decode.decode_image`, except that the array may be a view of pixels stored row by row, channels last."""
    if _is_plain(data) and (operator := _operator()) is not None:
        try:
            image = operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), _MODES[color], False).numpy()
        except RuntimeError:  # damaged: Pillow says what of it
            return decode.decode_image(data, color, where)
        blue_green_red: NDArray[np.uint8] = image[::-1]
        return blue_green_red
    return decode.decode_image(data, color, where)


@functools.cache
def _operator() -> Any:
    """The operator beneath torchvision.io.decode_jpeg, which is announced to go: where it is gone, Pillow decodes."""
    importlib.import_module("torchvision.io")  # registers it; here, as it takes as long to import as torch
    return getattr(torch.ops.image, "decode_jpeg", None)


def _is_plain(data: bytes) -> bool:
    """Whether this is a JPEG of 8 bits, gray or YCbCr, of a size that is read, which nothing says to turn."""
    if data[:2] != b"\xff\xd8":
        return False
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return data[at + 4] == 8 and data[at + 9] in (1, 3) and 0 < height * width <= decode.MAX_PIXELS
        if marker in (_EXIF, _ADOBE) or not (0xE0 <= marker <= 0xEF or marker in (0xDB, 0xC4, 0xDD, 0xFE)):
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
