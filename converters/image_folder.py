"""A database of images to a folder of image files and a list of their labels."""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image as Picture

from sdcaffe.converters.encode import encode_image
from sdcaffe.converters.folder import new_folder
from sdcaffe.converters.image_mean import backend_of
from sdcaffe.data.database import DatumSource
from sdcaffe.data.decode import FORMATS, decode_image
from sdcaffe.data.opening import open_source
from sdcaffe.data.source import Source
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, no_tick

LIST = "list.txt"
ORDERS = ("bgr", "rgb")

# Pillow's names of formats -> endings; others would be files that no reader of images knows.
_ENDINGS = {
    **{"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "BMP": "bmp", "GIF": "gif"},
    **{"PPM": "ppm", "TIFF": "tif", "WEBP": "webp", "JPEG2000": "jp2"},
}


def convert(
    database: str, folder: str, backend: str | None = None, *, channel_order: str = "bgr", tick: Tick = no_tick
) -> int:
    """Write image i of `database` to FOLDER/LABEL/%08d.ENDING, and FOLDER/list.txt with a path and a label a line.

    Encoded images are written as they are, raw ones as PNG; `channel_order` says how raw pixels lie (CIFAR's are rgb).
    Names are made of numbers alone: nothing that the database holds is used in one. `backend` None: as the database's
    files say. Returns how many; raises DataError, and leaves no folder, for a record that is no image of 1 or 3
    channels of bytes, and where `folder` is there already.
    """
    source = open_source(database, (backend or backend_of(database)).upper())
    try:
        with new_folder(folder, "folder") as temporary:
            lines = []
            for i in range(len(source)):
                data, ending, label = _file(source, i, channel_order)
                name = f"{label}/{i:08d}.{ending}"
                os.makedirs(os.path.join(temporary, str(label)), exist_ok=True)
                with open(os.path.join(temporary, name), "wb") as file:
                    file.write(data)
                lines.append(f"{name} {label}\n")
                tick(i + 1, len(source))
            with open(os.path.join(temporary, LIST), "w", encoding="ascii") as file:
                file.writelines(lines)
    finally:
        source.close()
    return len(lines)


def _file(source: Source, index: int, channel_order: str) -> tuple[bytes, str, int]:
    """An image file of record `index`, its ending, and its label."""
    where = f"{source.where}, {source.name(index)}"
    if isinstance(source, DatumSource) and (stored := source.encoded_file(index)) is not None:
        data, label = stored
        decode_image(data, "native", where)  # a file that is no image is written nowhere
        with Picture.open(io.BytesIO(data), formats=FORMATS) as picture:
            ending = _ENDINGS.get(picture.format or "")
        if ending is None:
            raise DataError(f"is an image of the format {picture.format}, which is not written", where)
        return data, ending, label
    image, label = source.read(index)
    if image.dtype != np.uint8 or len(image) not in (1, 3):
        kind = "bytes" if image.dtype == np.uint8 else "floats"
        raise DataError(f"holds {len(image)} channels of {kind}; an image file takes 1 or 3 of bytes", where)
    pixels = image.astype(np.uint8, copy=False)
    return encode_image(pixels if channel_order == "bgr" else pixels[::-1], "png"), "png", label
