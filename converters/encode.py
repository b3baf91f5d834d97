"""Images to the bytes of image files, as OpenCV writes them for Caffe; PNG byte for byte."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import DataError

_JPEG_QUALITY = 95  # OpenCV's default
_PNG_PIECE = 8192  # libpng's buffer: the most bytes of one IDAT chunk
_NONE, _SUB = 0, 1  # PNG filters; SUB takes from each byte the one a pixel before


# Endings of file names -> Pillow's name of the format, and what makes it write as OpenCV does.
_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "bmp": ("BMP", {}),
    "jpeg": ("JPEG", {}),
    "jpg": ("JPEG", {}),
    "pgm": ("PPM", {}),
    "ppm": ("PPM", {}),
    "tif": ("TIFF", {}),
    "tiff": ("TIFF", {}),
    "webp": ("WEBP", {"lossless": True}),
}
TYPES = ("png", *_FORMATS)


def encode_image(image: NDArray[np.uint8], kind: str, quality: int = _JPEG_QUALITY) -> bytes:
    """(C, H, W) bytes, 3 channels blue, green, red or 1 gray -> an image file of type `kind`, one of TYPES.

    `quality` is a JPEG's, 0 to 100. Raises DataError for another type.
    """
    pixels = np.ascontiguousarray((image[::-1] if len(image) == 3 else image).transpose(1, 2, 0))
    if kind == "png":
        return _png(pixels)
    if kind not in _FORMATS:
        raise DataError(f'no image can be encoded as "{kind}"; there are {", ".join(TYPES)}')
    from PIL import Image  # here: layers that may write pictures begin without

    name, options = _FORMATS[kind]
    if name == "JPEG":
        options = {"quality": quality}
    file = io.BytesIO()
    Image.fromarray(pixels if len(image) == 3 else pixels[:, :, 0]).save(file, name, **options)
    return file.getvalue()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, C), gray or RGB. OpenCV's choices: the SUB filter, zlib's fastest level, run lengths only."""
    height, width, channels = pixels.shape
    rows = pixels.copy()
    rows[:, 1:] -= pixels[:, :-1]
    filtered = np.insert(rows.reshape(height, -1), 0, _SUB if width > 1 else _NONE, axis=1).tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 8, zlib.Z_RLE)
    window = min(15, max(8, (len(filtered) - 1).bit_length()))  # libpng names no larger one than the data needs
    method = (window - 8) << 12 | 8 << 8
    packed = struct.pack(">H", method + 31 - method % 31) + packer.compress(filtered) + packer.flush()
    packed += struct.pack(">I", zlib.adler32(filtered))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    pieces = [packed[i : i + _PNG_PIECE] for i in range(0, len(packed), _PNG_PIECE)]
    chunks = [_chunk(b"IHDR", header), *(_chunk(b"IDAT", piece) for piece in pieces), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
