"""Image files to arrays, with the channels and bytes that OpenCV gives Caffe. Decoding is Pillow's."""

from __future__ import annotations

import functools
import io
import os
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdcaffe import reading
from sdcaffe.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
MAX_PIXELS = 1 << 27  # a picture of 11,585 x 11,585; more is refused before it is decoded
MAX_SIDE = 1 << 20  # pixels of a picture that is made; each takes numbers that say what it is made of
MAX_BYTES = 1 << 29  # of an image file, or a list of them; MAX_PIXELS in colour, not compressed, are less

# What OpenCV reads too. Others of Pillow's start programs: an EPS file is one that Ghostscript would run.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "PPM", "TIFF", "WEBP", "JPEG2000", "GIF", "SUN")

# PIL mode -> the mode decoded to where the file's own channels are kept; others become RGB.
_NATIVE = {"1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "LA": "RGBA", "PA": "RGBA"}


def decode_image(data: bytes, color: str, where: str) -> NDArray[np.uint8]:
    """Bytes of an image file -> (C, H, W) bytes, channels blue, green, red (and alpha).

    `color` is "native" (the file's own channels, as OpenCV's IMREAD_UNCHANGED), "color" (always 3) or
    "gray" (always 1). As in OpenCV, the two last turn the picture as its EXIF orientation says. Samples
    of 16 bits keep their high byte. Raises DataError, at `where`.
    """
    try:
        with _pillow().open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"an image of {width}x{height} pixels; at most {MAX_PIXELS} are read", where)
            return _pixels(image, color)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on broken files, SyntaxError among them
        reason = " ".join(str(error).split()) or type(error).__name__
        if "cannot identify image file" in reason:
            reason = "no image format that is known"
        raise DataError(f"cannot decode the image: {reason}", where) from error


@functools.cache
def _pillow() -> ModuleType:
    """PIL.Image; brought in when a picture is there to be read."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
    return Image


def too_large(height: int, width: int) -> str | None:
    """What to say of a picture that is to be made, where no picture is read of that size; else None."""
    if height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE:
        return None
    return f"a picture of {width} x {height} pixels; at most {MAX_PIXELS} are made, {MAX_SIDE} to a side"


def check_size(height: int, width: int, where: str = "") -> None:
    """Raise DataError, at `where`, for a picture that is `too_large`."""
    if words := too_large(height, width):
        raise DataError(words, where)


def read_image(path: str, *, color: bool) -> NDArray[np.uint8]:
    """An image file -> (C, H, W) bytes, 3 channels blue, green, red or 1 gray. Raises DataError."""
    return decode_image(read_bytes(path), "color" if color else "gray", path)


def pictures_below(folder: str) -> list[str]:
    """The image files of a folder and of those below it, told by their endings, in order. Raises DataError for none."""
    found = []
    for inner, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(inner, name) for name in sorted(names) if name.lower().endswith(ENDINGS)]
    if not found:
        raise DataError(f"holds no pictures ({', '.join(ENDINGS)})", folder)
    return found


def read_bytes(path: str, what: str = "the image") -> bytes:
    """What a file holds, not decoded. Raises DataError for one of more than 512 MiB, and as `reading.read`."""
    return reading.read(path, DataError, what, MAX_BYTES)


def _pixels(image: Image.Image, color: str) -> NDArray[np.uint8]:
    png = image.format == "PNG"
    if color == "gray":
        image.draft("L", None)  # a JPEG's own luminance, as OpenCV's decoder takes it
    image.load()
    deep = image.mode.startswith("I")
    if color == "native":
        mode = _native_mode(image)
    else:
        from PIL import ImageOps

        ImageOps.exif_transpose(image, in_place=True)
        mode = "L" if color == "gray" else "RGB"
    if deep:
        gray = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.broadcast_to(gray, (3 if mode == "RGB" else 1, *gray.shape)).copy()
    if mode == "L" and image.mode not in ("L", "1"):
        return _luminance(np.asarray(image.convert("RGB")), png)
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    if pixels.ndim == 2:
        return pixels[None].copy()
    planes = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes[::-1] if len(planes) == 3 else planes[[2, 1, 0, 3]])


def _native_mode(image: Image.Image) -> str:
    if image.mode.startswith("I"):
        return "L"
    if image.mode == "P":
        return "RGBA" if "transparency" in image.info else "RGB"
    return _NATIVE.get(image.mode, "RGB")


def _luminance(rgb: NDArray[np.uint8], png: bool) -> NDArray[np.uint8]:
    """0.299 red + 0.587 green + 0.114 blue, (H, W, 3) -> (1, H, W), in the fixed point that OpenCV's
    decoders use: libpng's truncating 15 bits for PNG, 14 bits and rounding for the others."""
    if png:
        gray = rgb @ np.array([9797, 19234, 3737], np.uint32) >> 15
    else:
        gray = rgb @ np.array([4899, 9617, 1868], np.uint32) + (1 << 13) >> 14
    return gray.astype(np.uint8)[None]
